"""A network namespace for an instance and its pods, in which 169.254.169.254 is an address of the loopback.

The namespace has no route: a client that ignores its variables cannot ask a real metadata service. A server
at that address answers instead and names itself, so the error of such a client shows which address it asked.
"""

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.installation import find_tool

METADATA_ADDRESS = "169.254.169.254"
_SERVER = Path(__file__).with_name("metadata_server.py")
_NEW_NET = 0x40000000


@dataclass(frozen=True)
class PrivateNetwork:
    """A network namespace, named by a process that runs in it."""

    pid: int

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Move the calling thread into the namespace: its connections and its child processes."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        there = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _set_namespace(there)
            try:
                yield
            finally:
                _set_namespace(before)
        finally:
            os.close(there)
            os.close(before)


@contextmanager
def private_network(program: Path = _SERVER) -> Iterator[PrivateNetwork]:
    """Create a namespace with a server at the metadata address; the kernel removes it with its last process.

    `program` is the server: it listens on port 80 of its first argument, and prints `ready`.
    """
    unshare, ip = find_tool("unshare"), find_tool("ip")
    script = (
        f"{ip} link set lo up && {ip} address add {METADATA_ADDRESS}/32 dev lo"
        f" && exec {sys.executable} -I {program} {METADATA_ADDRESS}"
    )
    with subprocess.Popen(
        [unshare, "--net", shutil.which("sh") or "sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            assert server.stderr is not None
            if server.stdout.readline() != "ready\n":
                said = server.stderr.read().strip()
                if "Operation not permitted" in said:
                    pytest.skip(f"a network namespace needs root: {said}")
                pytest.fail(f"the namespace cannot be created: {said}")
            yield PrivateNetwork(server.pid)
        finally:
            server.kill()


def _set_namespace(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _NEW_NET):
        raise OSError(ctypes.get_errno(), "setns")
