"""Disk errors: translate OSError, and check free space."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from podpass.errors import Error

_PROBLEMS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EIO: "the disk reports an I/O error",
}


# SQLite may need this much for one write and its journal.
_MIN_FREE_BYTES = 4 * 1024 * 1024


class DiskNotWritable(Error):
    """A file cannot be written because of the disk."""

    code = "disk_not_writable"
    hint = "free disk space or make the disk writable, or use another directory with --data-dir D"


@contextmanager
def translate_disk_errors() -> Iterator[None]:
    """Raise DiskNotWritable for an OSError of the disk; other errors pass unchanged.

    Raises DiskNotWritable.
    """
    try:
        yield
    except OSError as exc:
        if exc.errno not in _PROBLEMS:
            raise
        file = f": {exc.filename}" if exc.filename else ""
        raise DiskNotWritable(f"{_PROBLEMS[exc.errno]}{file}") from exc


def find_disk_problem(folder: Path) -> str | None:
    """Return the problem of the disk that contains the folder, None if there is none."""
    found = os.statvfs(folder)
    if found.f_flag & os.ST_RDONLY:
        return _PROBLEMS[errno.EROFS]
    if found.f_bavail * found.f_frsize < _MIN_FREE_BYTES:
        return "the disk is nearly full" if found.f_bavail else _PROBLEMS[errno.ENOSPC]
    return None
