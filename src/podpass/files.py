"""Small private files that must be durable: keys, references to other files, state.

A reader reads either the complete old content or the complete new content. When a write returns, the content
is on the disk, except in the process of an instance for tests, whose data is deleted after the tests.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700
_is_durable = True


def skip_sync() -> None:
    """Never wait for the disk in this process, because its data is deleted after tests."""
    global _is_durable
    _is_durable = False


def is_durable() -> bool:
    """Return whether writes of this process are on the disk before they are acknowledged."""
    return _is_durable


def _sync(descriptor: int) -> None:
    if _is_durable:
        os.fsync(descriptor)


def create_private_folder(folder: Path) -> None:
    """Create a directory and its parents, accessible only to the owner."""
    folder.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)


def write_private(path: Path, data: bytes) -> None:
    """Write a file atomically with mode 0600, and return when it would survive a power failure.

    Raises OSError; the old content is then unchanged.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        _write_part(part, data)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_private_pair(first: tuple[Path, bytes], second: tuple[Path, bytes]) -> None:
    """Write two files of a folder, as `write_private` does; for microseconds, a reader can find a mixed pair.

    A crash in between leaves a mixed pair, which the next start must detect.

    Raises OSError.
    """
    parts = [(path.with_name(f".{path.name}.part"), path, data) for path, data in (first, second)]
    try:
        for part, _, data in parts:
            _write_part(part, data)
        for part, path, _ in parts:
            part.replace(path)
    except OSError:
        for part, _, _ in parts:
            part.unlink(missing_ok=True)
        raise
    sync_folder(first[0].parent)


def _write_part(part: Path, data: bytes) -> None:
    # Deleted first, because O_CREAT would keep the mode of a file that remained after a crash.
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE)
    with os.fdopen(handle, "wb") as stream:
        stream.write(data)
        stream.flush()
        _sync(stream.fileno())


def create_private(path: Path, data: bytes) -> bool:
    """Write a new file atomically with mode 0600; return False, and change nothing, if the file exists.

    Raises OSError.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.part")
    write_private(part, data)
    try:
        # A link, unlike a rename, never replaces an existing file.
        path.hardlink_to(part)
    except FileExistsError:
        return False
    finally:
        remove(part)
    return True


def open_private(path: Path) -> BinaryIO:
    """Open a file for appending, and set its mode to 0600, even if it exists with another mode."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
    os.fchmod(handle, PRIVATE_FILE)
    return os.fdopen(handle, "ab")


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Read a small regular file; refuse a FIFO, a device or a directory without blocking.

    Raises OSError with a `strerror` that says what is wrong.
    """
    # Without O_NONBLOCK, opening a FIFO waits for a writer.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        with os.fdopen(handle, "rb", closefd=False) as stream:
            data = stream.read(max_bytes + 1)
    finally:
        os.close(handle)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, f"larger than {max_bytes} bytes", str(path))
    return data


def is_world_accessible(path: Path) -> bool:
    """Return whether others than a file's owner and group have access; False if it does not exist."""
    try:
        return bool(path.stat().st_mode & 0o007)
    except OSError:
        return False


def is_world_writable(path: Path) -> bool:
    """Return whether others than a file's owner and group may write to it; False if it does not exist."""
    try:
        return bool(path.stat().st_mode & 0o002)
    except OSError:
        return False


def remove(path: Path) -> None:
    """Delete a file durably, if it exists."""
    path.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync(path: Path) -> None:
    """Sync a file and its directory to the disk."""
    with path.open("rb") as stream:
        _sync(stream.fileno())
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Sync a directory to the disk; a rename in it is durable only after that."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _sync(handle)
    finally:
        os.close(handle)
