"""A disk that does not take what an instance has to write, told as such."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from podpass.errors import Error

_FAULTS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EIO: "the disk fails",
}


# Less than what SQLite may want for one write and its journal.
_LITTLE_BYTES = 4 * 1024 * 1024


class DiskUnfit(Error):
    """A file cannot be written, and the program is not to blame."""

    code = "disk_unfit"
    hint = "free space there or make it writable, or choose another place with --data-dir DIR"


@contextmanager
def telling() -> Iterator[None]:
    """Tell of a disk that cannot be written as an error of ours; other faults pass.

    Errors:  DiskUnfit.
    """
    try:
        yield
    except OSError as exc:
        if exc.errno not in _FAULTS:
            raise
        where = f": {exc.filename}" if exc.filename else ""
        raise DiskUnfit(f"{_FAULTS[exc.errno]}{where}") from exc


def fault(folder: Path) -> str | None:
    """Tell what is wrong with the disk a folder lies on, if anything is."""
    found = os.statvfs(folder)
    if found.f_flag & os.ST_RDONLY:
        return _FAULTS[errno.EROFS]
    if found.f_bavail * found.f_frsize < _LITTLE_BYTES:
        return "the disk is nearly full" if found.f_bavail else _FAULTS[errno.ENOSPC]
    return None
