"""A disk that does not take what an instance has to write, told as such."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from podpass.errors import Error

_FAULTS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EIO: "the disk fails",
}


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
