"""Limits of a process: open files, connections, memory, and core dumps."""

import logging
import resource
from dataclasses import replace
from pathlib import Path

from podpass.http.limits import LIMITS, Limits

_log = logging.getLogger(__name__)

_MAX_FILES = 65536
_RESERVED_FILES = 64
_UNLIMITED = 1 << 60  # cgroup v1 writes a number near the maximum for no limit
_CGROUPS = Path("/sys/fs/cgroup")
# The measured memory of a connection whose client sends the largest heads over TLS and reads nothing.
_CONNECTION_BYTES = 1024 * 1024


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


def memory_limit(root: Path = _CGROUPS, groups: Path = Path("/proc/self/cgroup")) -> int | None:
    """Return the memory limit of this process's control group in bytes; None if there is none.

    In a container, the root is the container's own group, and the path may be that of the host. So the limits
    of all groups on the path that exist are read, and the smallest is returned.
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:  # a system without control groups
        return None
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top, name = (
            (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        )
        group = top / path.strip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(top) and (file := folder / name).is_file():
                text = file.read_text().strip()
                found += [int(text)] if text.isdecimal() else []  # cgroup v2 writes `max`
    limit = min(found, default=_UNLIMITED)
    return limit if limit < _UNLIMITED else None


def source_share(connections: int, memory: int | None, total: int, least: int = 1) -> int:
    """Return how many connections one address may have: at most half of all, and of the memory. Pure.

    `connections` is the configured number, 0 for no limit; `memory` is the limit in bytes, if any; `total` is
    the number of connections of all addresses; `least` is what an address needs in any case.
    """
    if not connections:
        return 0
    fitting = connections if memory is None else memory // 2 // _CONNECTION_BYTES
    return max(min(connections, total // 2, fitting), least)


def shared_limits() -> Limits:
    """Return the default limits with a share for each address, for servers that other machines reach."""
    most = LIMITS.connections
    return replace(LIMITS, source_connections=source_share(most, memory_limit(), most))
