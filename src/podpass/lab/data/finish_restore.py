"""Finish a pending restore: move the restored files into the data directory before any file is opened.

The folder has its final name only when it is complete. If the process is killed here, the folder remains and
the next start finishes the restore.
"""

import shutil
from pathlib import Path

from podpass import files
from podpass.lab.data.datadir import DataDir


def pending_folder(data_dir: DataDir) -> Path:
    """Return the folder of a pending restore."""
    return data_dir.path("restore")


def finish(data_dir: DataDir) -> None:
    """Move the files of a pending restore into place, if there is one; the caller holds the lock."""
    pending = pending_folder(data_dir)
    if not pending.exists():
        return
    for found in sorted(pending.iterdir()):
        target = data_dir.path(found.name)
        if found.is_dir():
            shutil.rmtree(target, ignore_errors=True)
        elif target.suffix == ".db":
            # SQLite would apply the journals of the old database to the new one.
            for suffix in ("-wal", "-shm"):
                target.with_name(target.name + suffix).unlink(missing_ok=True)
        found.replace(target)
    files.sync_folder(data_dir.root)
    pending.rmdir()
    files.sync_folder(data_dir.root)
