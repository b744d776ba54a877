"""Private files and folders, accessible only to their owner."""

import os
from pathlib import Path


def create_private_folder(folder: Path) -> None:
    """Create a directory and its parents with mode 0700."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_private(path: Path, data: bytes) -> None:
    """Write a file with mode 0600; a reader gets the old content or the new content, never a part.

    Raises OSError: the old content is unchanged.
    """
    part = path.with_name(f".{path.name}.part")
    # Deleted first, because O_CREAT would keep the mode of a file that remained after a crash.
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(data)
    part.replace(path)
