"""One instance, one process: an flock on the data dir, which ends with the process however it ends."""

import fcntl
import os
import time
from pathlib import Path

_PATIENCE_SECONDS = 0.3


class Lock:
    """The right to run an instance. The file holds the owner's process id, for people and `down`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Take the lock, or tell that another process has it."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            if _locked(descriptor) and _is_still(self._path, descriptor):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, f"{os.getpid()}\n".encode())
                self._descriptor = descriptor
                return True
            os.close(descriptor)
            # `holder` takes the lock for an instant to look; that is no reason to give up.
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)

    def release(self) -> None:
        """Give the lock back and remove its file."""
        if self._descriptor is not None:
            # Unlinked while still held: whoever opened the old file finds out in `_is_still`.
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


def holder(path: Path) -> int | None:
    """Tell which process runs the instance: its id, 0 while it has not said, None when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if _locked(descriptor, shared=True):
            return None
        text = os.read(descriptor, 20).decode("ascii", "replace").strip()
        return int(text) if text.isdecimal() else 0
    finally:
        os.close(descriptor)


def _locked(descriptor: int, *, shared: bool = False) -> bool:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
