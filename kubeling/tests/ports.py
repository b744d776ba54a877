"""Ports for servers that start later, often in another process.

If a test closed a free port and bound it later, another process could take it in between. So each port stays
reserved until the test process exits: a socket is bound to it on all addresses, sets SO_REUSEADDR afterwards
and never listens. A server that sets SO_REUSEADDR can still bind it. The ports are below those that the
kernel selects for connections: a connection from another address of the machine would stop such a server.
"""

import atexit
import contextlib
import errno
import fcntl
import os
import random
import socket
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

_PORTS, _BASES = range(10000, 20000), range(20000, 30000, 50)
_reserved: list[socket.socket] = []


@atexit.register
def _release() -> None:
    """Close the reserved sockets; the interpreter would report them as unclosed."""
    for each in _reserved:
        each.close()


def free_port() -> int:
    """Reserve a free port and return it; nothing listens on it."""
    return _first_free(random.sample(_PORTS, len(_PORTS)), 1)


def free_base(count: int) -> int:
    """Reserve `count` consecutive free ports and return the first."""
    return _first_free(_BASES, count)


def _first_free(bases: Iterable[int], count: int) -> int:
    for base in bases:
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


def _reserve(ports: Iterable[int]) -> None:
    with contextlib.ExitStack() as stack:
        sockets = []
        for port in ports:
            sock = stack.enter_context(socket.socket())
            # Without SO_REUSEADDR, so that the bind fails if another test process has reserved the port.
            sock.bind(("", port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sockets.append(sock)
        stack.pop_all()
    _reserved.extend(sockets)
