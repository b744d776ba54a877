"""What a restore made ready beside a data dir's own files: put in their place before anything is opened.

The folder has its name only when it is whole. A kill in here leaves it there, and the next start goes on.
"""

import shutil
from pathlib import Path

from podpass import files
from podpass.local.datadir import DataDir

_JOURNALS = ("-wal", "-shm")


def folder(data_dir: DataDir) -> Path:
    """Name where a restore lies that is ready."""
    return data_dir.path("restore")


def finish(data_dir: DataDir) -> None:
    """Put a restore in place, if one is ready; only for whoever holds the data dir's lock."""
    ready = folder(data_dir)
    if not ready.exists():
        return
    for found in sorted(ready.iterdir()):
        target = data_dir.path(found.name)
        if found.is_dir():
            shutil.rmtree(target, ignore_errors=True)
        elif target.suffix == ".db":
            # The old one's: what is in them would be written into the new.
            _remove(target, _JOURNALS)
        found.replace(target)
    # An older podpass had the vault in a file of its own.
    _remove(data_dir.path("vault.db"), ("", *_JOURNALS))
    files.sync_folder(data_dir.root)
    ready.rmdir()
    files.sync_folder(data_dir.root)


def _remove(path: Path, ends: tuple[str, ...]) -> None:
    for end in ends:
        path.with_name(path.name + end).unlink(missing_ok=True)
