"""Ports for servers that start later, often in another process.

If a test closed a free port and bound it later, another process could take it in between. So each port stays
reserved until the test process exits: a socket is bound to it with SO_REUSEADDR and never listens. The kernel
does not select this port for other sockets, and a server that sets SO_REUSEADDR can still bind it.
"""

import atexit
import contextlib
import errno
import fcntl
import os
import socket
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

_HOST = "127.0.0.1"
_BASES = range(20000, 30000, 50)
_reserved: list[socket.socket] = []


@atexit.register
def _release() -> None:
    """Close the reserved sockets; the interpreter would report them as unclosed."""
    for each in _reserved:
        each.close()


def free_port() -> int:
    """Reserve a free loopback port and return it; nothing listens on it."""
    reserved = _reserve([0])
    return int(reserved[0].getsockname()[1])


def free_base(count: int) -> int:
    """Reserve `count` consecutive free loopback ports and return the first."""
    for base in _BASES:
        try:
            _reserve(range(base, base + count))
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise
        else:
            return base
    raise AssertionError("no free ports")


@contextlib.contextmanager
def exclusive_port(port: int) -> Iterator[None]:
    """Hold a port for a program that can use no other one; other test runs of this user wait."""
    lock = Path(tempfile.gettempdir(), f"kubeling-tests-{os.getuid()}-port-{port}.lock")
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _reserve(ports: Iterable[int]) -> list[socket.socket]:
    with contextlib.ExitStack() as stack:
        sockets = []
        for port in ports:
            sock = stack.enter_context(socket.socket())
            if port:
                _check_unused(port)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((_HOST, port))
            sockets.append(sock)
        stack.pop_all()
    _reserved.extend(sockets)
    return sockets


def _check_unused(port: int) -> None:
    """Raise EADDRINUSE if a socket uses or reserves the port; a bind with SO_REUSEADDR would not fail."""
    with socket.socket() as probe:
        probe.bind((_HOST, port))
