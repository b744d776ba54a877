"""Limits of a process: open files, connections, and core dumps."""

import logging
import resource

_log = logging.getLogger(__name__)

_MAX_FILES = 65536
_RESERVED_FILES = 64


def raise_file_limit() -> None:
    """Raise the limit of open files as far as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = _MAX_FILES if hard == resource.RLIM_INFINITY else min(_MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))


def disable_core_dumps() -> None:
    """Disable core dumps, because the memory of this process contains private keys."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def limit_connections(connections: int) -> int:
    """Return the number of connections, reduced to the file limit minus a reserve."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or connections <= limit - _RESERVED_FILES:
        return connections
    allowed = max(limit - _RESERVED_FILES, 1)
    _log.warning("connection_limit_reduced", extra={"connections": allowed, "open_files": limit})
    return allowed
