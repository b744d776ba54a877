"""How many files a process may open, how many connections it can afford by that, and what a crash leaves."""

import logging
import resource

_log = logging.getLogger(__name__)

_WANTED = 65536
_OTHERS = 64


def raise_file_limit() -> None:
    """Take as many as the system gives without asking."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def leave_no_core() -> None:
    """Leave nothing of this process's memory when it crashes: it holds private keys in the clear."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def affordable(connections: int) -> int:
    """Bound connections by the files this process may open, some of which others need."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or connections <= limit - _OTHERS:
        return connections
    most = max(limit - _OTHERS, 1)
    _log.warning("connections_bounded", extra={"connections": most, "open_files": limit})
    return most
