"""Small files that must survive a crash and stay private: keys, pointers, state.

A reader sees the old content or the new one, never a part; what was acknowledged is on the disk.
"""

import os
from pathlib import Path
from typing import BinaryIO

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


def private_folder(folder: Path) -> None:
    """Make a folder, and those above it, that only its owner may enter."""
    folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)


def write_private(path: Path, data: bytes) -> None:
    """Write a file whole, mode 0600, and return when it would survive a power cut.

    Errors:  OSError, with the old content untouched.
    """
    part = path.with_name(f".{path.name}.part")
    # Unlinked first: O_CREAT on a file left behind by a crash would keep that file's mode.
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def create_private(path: Path, data: bytes) -> bool:
    """Write a new file whole, mode 0600; False, with what is there untouched, if somebody was quicker.

    Errors:  OSError.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    write_private(part, data)
    try:
        # A link, unlike a rename, never takes the place of what is there.
        path.hardlink_to(part)
    except FileExistsError:
        return False
    finally:
        remove(part)
    return True


def open_private(path: Path) -> BinaryIO:
    """Open a file to append to, mode 0600, also one that an older version left readable to others."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
    os.fchmod(handle, PRIVATE_FILE)
    return os.fdopen(handle, "ab")


def is_open_to_all(path: Path) -> bool:
    """Tell whether more than a file's owner and group may read or write it; False if it is not there."""
    try:
        return bool(path.stat().st_mode & 0o007)
    except OSError:
        return False


def remove(path: Path) -> None:
    """Delete a file for good, if it is there."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on the disk: a rename is not durable before that."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
