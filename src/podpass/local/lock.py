"""The lock of a data directory: an flock, so that only one process runs the instance."""

import fcntl
import os
import time
from pathlib import Path

_ACQUIRE_SECONDS = 0.3


class Lock:
    """The lock of an instance. The file contains the process id of the holder, for `podpass down`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Acquire the lock; return False if another process holds it."""
        deadline = time.monotonic() + _ACQUIRE_SECONDS
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            if _try_lock(descriptor) and _is_current_file(self._path, descriptor):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
                self._descriptor = descriptor
                return True
            os.close(descriptor)
            # `lock_holder` takes the lock for a short time to test it, so retry.
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)

    def release(self) -> None:
        """Release the lock and remove its file."""
        if self._descriptor is not None:
            # Unlink before the release: a process that opened the old file notices in `_is_current_file`.
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


def lock_holder(path: Path) -> int | None:
    """Return the process id of the lock holder, 0 if it is not written yet, None if there is no holder."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if _try_lock(descriptor, shared=True):
            return None
        text = os.read(descriptor, 20).decode("ascii", "replace").strip()
        return int(text) if text.isdecimal() else 0
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, *, shared: bool = False) -> bool:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_current_file(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
