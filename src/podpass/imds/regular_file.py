"""Read a small file that something else replaces while the sidecar runs: a token or a CA."""

import os
import stat
from pathlib import Path


def read_regular_file(path: Path, limit: int) -> bytes:
    """Read at most `limit` bytes of a file; never block on a pipe or a device.

    Errors:  OSError; its `strerror` is one phrase.
    """
    # O_NONBLOCK: without it, opening a FIFO waits for a writer, and every request with it.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(0, "not a regular file")
        parts, size = [], 0
        while size < limit and (part := os.read(handle, limit - size)):
            parts.append(part)
            size += len(part)
        return b"".join(parts)
    finally:
        os.close(handle)
