"""Connect the programs in pods that ignore proxy variables: a hosts file, and port 443 of an address.

In a pod with its own mounts, the hosts file maps Azure's names to a loopback address of this instance. If the
process may listen on port 443 there, the gateway serves these names. If not, connections are refused: no
program reaches the real Azure by accident.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from podpass.database import DatabaseFailed
from podpass.http.server import PortInUse, bind
from podpass.lab.data.datadir import InstanceConfig
from podpass.lab.gateway import gateway

_log = logging.getLogger(__name__)

HTTPS = 443
ListHosts = Callable[[], Awaitable[Iterable[str]]]

_SYSTEM_HOSTS = Path("/etc/hosts")
_MIN_SECONDS = 1.0  # between two updates; a seed makes many changes


def choose_address(hosts_file: Path) -> str:
    """Return the loopback address of the instance with this hosts file, the same on every start.

    An address in 127.254.0.0/16, which other programs do not use.
    """
    first, second = hashlib.sha256(str(hosts_file).encode()).digest()[:2]
    return f"127.254.{first}.{1 + second % 254}"


def try_listen(address: str) -> socket.socket | None:
    """Listen on port 443 of an address; return None if this process may not, or if the port is in use.

    Root may listen on it; in most containers every user may: see `net.ipv4.ip_unprivileged_port_start`.
    """
    try:
        return bind(address, HTTPS)
    except PortInUse as exc:
        _log.warning("direct_tls_unavailable", extra={"address": address, "reason": exc.message})
        return None


def build_hosts(address: str, hosts: Iterable[str], system: str) -> str:
    """Return the content of the hosts file: these hosts, then the lines of the system's file."""
    lines = [f"{address} {host}\n" for host in sorted(set(hosts))]
    return "".join(["# podpass: names that this instance serves\n", *lines, system])


class HostsFile:
    """Keeps a hosts file current while the context is open.

    `list_hosts` returns the current names; the owner calls `changed` after a change.
    """

    def __init__(self, path: Path, address: str, list_hosts: ListHosts) -> None:
        self.path, self._address, self._list_hosts = path, address, list_hosts
        self._event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        # Called after an update: pods have copies of the file.
        self.on_update: Callable[[], None] = lambda: None

    async def __aenter__(self) -> "HostsFile":
        await self._update()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def changed(self) -> None:
        """Update the file soon, because a name may have been added or removed."""
        self._event.set()

    async def _run(self) -> None:
        while True:
            await self._event.wait()
            self._event.clear()
            try:
                await self._update()
            except DatabaseFailed as exc:
                # No traceback: it adds only the text of the SQL statement.
                facts = {"reason": exc.message, **exc.facts, "fix": exc.hint}
                _log.error("hosts_file_update_failed", extra=facts)
            except Exception:  # noqa: BLE001 the next change tries again
                _log.exception("hosts_file_update_failed")
            await asyncio.sleep(_MIN_SECONDS)

    async def _update(self) -> None:
        system = ""
        with contextlib.suppress(FileNotFoundError):
            system = _SYSTEM_HOSTS.read_text("utf-8", "surrogateescape")
        text = build_hosts(self._address, await self._list_hosts(), system)
        _write_in_place(self.path, text.encode("utf-8", "surrogateescape"))
        self.on_update()


def _write_in_place(path: Path, content: bytes) -> None:
    """Write a file without replacing it, because running pods have mounted this file and not its name."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if os.pread(descriptor, len(content) + 1, 0) != content:
            os.pwrite(descriptor, content, 0)
            os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectTls:
    """The socket for programs that ignore proxy variables (or None), its address, and the hosts file."""

    address: str
    socket: socket.socket | None
    hosts: HostsFile


@contextlib.asynccontextmanager
async def run_direct_tls(
    path: Path, config: InstanceConfig, list_more: ListHosts
) -> AsyncIterator[DirectTls]:
    """Open the socket, and keep the hosts file at `path` current until the context ends.

    `list_more` lists the hosts of the services.
    """
    fixed = [name for name in gateway.routes(config.ports) if not name.startswith("*.")]
    fixed.append(urlsplit(config.issuer).netloc)

    async def list_hosts() -> list[str]:
        return [*fixed, *await list_more()]

    address = choose_address(path)
    sock = try_listen(address)
    try:
        async with HostsFile(path, address, list_hosts) as hosts:
            yield DirectTls(address=address, socket=sock, hosts=hosts)
    finally:
        if sock is not None:
            sock.close()
