"""The lock of a data directory: an flock, so that only one process runs the instance.

The holder locks the file and the folder: without the second lock, a user who removes the file could start
another instance on the same databases.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from podpass.errors import Error

_ACQUIRE_SECONDS = 0.3


class AlreadyRunning(Error):
    """Another process is running in this data directory."""

    code = "already_running"


class LockRemoved(Error):
    """A running process holds the lock, and its file was removed."""

    code = "lock_removed"


class Lock:
    """The lock of an instance. The file contains the process id of the holder, for `podpass down`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._folder: int | None = None

    def acquire(self) -> bool:
        """Acquire the lock; return False if another process holds it."""
        deadline = time.monotonic() + _ACQUIRE_SECONDS
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            has_file = _try_lock(descriptor) and _is_current_file(self._path, descriptor)
            if has_file and self._lock_folder():
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
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None

    def _lock_folder(self) -> bool:
        self._folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if _try_lock(self._folder):
                return True
        except OSError:
            return True  # NFS locks no folder; the lock of the file remains
        os.close(self._folder)
        self._folder = None
        return False


@contextlib.contextmanager
def hold_lock(path: Path, problem: str, hint: str) -> Iterator[None]:
    """Hold the lock of an instance until the context ends.

    Raises AlreadyRunning with the problem and the hint; LockRemoved.
    """
    lock = Lock(path)
    if not lock.acquire():
        check_lock_file(path)
        raise AlreadyRunning(problem, hint=hint)
    try:
        yield
    finally:
        lock.release()


def check_lock_file(path: Path) -> None:
    """Check that the file was not removed while its lock was held; without it, no command finds the holder.

    Raises LockRemoved.
    """
    if lock_holder(path) is None and _is_folder_locked(path.parent):
        raise LockRemoved(
            f"a running process uses {path.parent}, but its file {path.name} was removed",
            hint=f"end that process; {path.parent}/status.json has its ID, under pids",
        )


def _is_folder_locked(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        return not _try_lock(descriptor, shared=True)
    except OSError:
        return False
    finally:
        os.close(descriptor)


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
