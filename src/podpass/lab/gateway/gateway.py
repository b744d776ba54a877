"""The gateway: a CONNECT proxy on loopback that serves Azure's host names from this instance.

Clients that ignore proxy variables, and the pods of a cluster, connect to its second socket, and the server
name of TLS selects the service. The gateway relays bytes and does not terminate TLS. Connections to an Azure
host go to the loopback port of the service. Connections to other hosts are tunnelled unchanged.
"""

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from weakref import WeakSet

from podpass import names
from podpass.clock import Clock, system
from podpass.errors import Error
from podpass.http.limits import source_network
from podpass.http.proxy_headers import unmap_ipv4
from podpass.http.resolver import NameNotResolved
from podpass.http.shares import ShareExceeded, Shares
from podpass.lab.gateway import sni, sockets
from podpass.lab.gateway.failure_log import FailureLog
from podpass.lab.gateway.pod_targets import Address, PodTargets, TargetRefused, may_reach
from podpass.lab.gateway.proxy_request import BadProxyRequest, parse_head, split_target
from podpass.lab.gateway.proxy_response import respond, respond_without_tunnel
from podpass.lab.gateway.refused_hosts import RefusedHosts
from podpass.lab.gateway.tunnel import (
    CHUNK_BYTES,
    HALF_OPEN_SECONDS,
    MAX_HEAD_BYTES,
    STALL_SECONDS,
    Stream,
    connect,
    connect_service,
    describe_error,
    read_hello,
    relay,
)
from podpass.lab.gateway.tunnel_sources import TunnelSources
from podpass.settings.local import ALL_ADDRESSES

_log = logging.getLogger(__name__)

HostExists = Callable[[str], Awaitable[bool]]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
FindTargets = Callable[[str, int], Awaitable[Sequence[Address]]]

HTTPS = 443
CONNECT_SECONDS = 15.0
_STOP_SECONDS = 1.0
_TLS_PORTS_ONLY = "the gateway serves this name on port 443 only"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLimits:
    """Limits of a gateway.

    `tunnels` and `waiting` are for all source addresses, each of which has a share; `waiting` are the
    connections that have not sent their request or ClientHello, which a client sends at once. A tunnel of
    which one direction has ended ends when no data has passed for `half_open_seconds`, and each tunnel when
    a side accepts no data for `stall_seconds`.
    """

    tunnels: int = 2000
    waiting: int = 1024
    head_seconds: float = 10.0
    hello_seconds: float = 3.0
    half_open_seconds: float = HALF_OPEN_SECONDS
    stall_seconds: float = STALL_SECONDS


LIMITS = GatewayLimits()


class HostUnreachable(Error):
    """The requested host cannot be reached."""

    code = "unreachable"
    status = 502


class NameNotServed(HostUnreachable):
    """The gateway does not serve the requested host."""


class UnknownVault(NameNotServed):
    """The vault does not exist; in Azure its host name would not resolve."""

    code = "unknown_vault"


_SERVICES = {
    **dict.fromkeys(names.LOGIN_ALIASES, "authority"),
    names.ARM_HOST: "azure",
    names.GRAPH_HOST: "azure",
    names.PORTAL_HOST: "azure",
    names.VAULT_SUFFIX: "vault",
    f"*.{names.VAULT_SUFFIX}": "vault",
    f"*.{names.ISSUER_SUFFIX}": "issuer",
}
# What the cloud half serves; the issuer belongs to the cluster half.
SERVED_NAMES = tuple(name for name, service in _SERVICES.items() if service != "issuer")


def storage_names(services: Iterable[str]) -> tuple[str, ...]:
    """Return the names of storage accounts: one for each of `blob`, `queue` and `table` that is served."""
    return tuple(f"*.{each}.{names.STORAGE_SUFFIX}" for each in services)


def list_served_names(storage: Iterable[str]) -> tuple[str, ...]:
    """Return the names that the cloud half serves, with those of the services of storage accounts."""
    return (*SERVED_NAMES, *storage_names(storage))


def routes(
    ports: Mapping[str, int], host: str = "127.0.0.1", storage: Iterable[str] = ()
) -> dict[str, Address]:
    """Return the routing table from host names to services; `*.` matches one label, as in a certificate.

    It has the names of the services that have a port. `storage` are the services of storage accounts that are
    served: `blob`, `queue`, `table`.
    """
    table = _SERVICES | dict.fromkeys(storage_names(storage), "storage")
    return {name: (host, ports[service]) for name, service in table.items() if service in ports}


def route(table: Mapping[str, Address], host: str) -> Address | None:
    """Return the service address for a host, None for a host outside Azure.

    The comparison ignores case and a trailing dot.
    """
    name = host.lower().removesuffix(".")
    return table.get(name) or table.get("*." + name.partition(".")[2])


def vault_name(host: str) -> str | None:
    """Return the vault name in a host name, None if the host is not a vault."""
    vault, _, suffix = host.lower().removesuffix(".").partition(".")
    return vault if vault and suffix == names.VAULT_SUFFIX else None


class Gateway:
    """Tunnels from clients to services of the instance or to other hosts.

    Each source address has a share of the tunnels, and of the connections that have not sent their request.
    """

    def __init__(
        self,
        table: Mapping[str, Address],
        own: Address,
        *,
        host_exists: HostExists | None,
        limits: GatewayLimits = LIMITS,
        sources: TunnelSources | None = None,
        clock: Clock = system,
    ) -> None:
        self._table = table
        self._own = own
        self._host_exists = host_exists
        self._limits = limits
        self._shares = Shares("tunnels of the gateway", limits.tunnels)
        self._waiting = Shares("connections without a request", limits.waiting)
        self._sources = TunnelSources() if sources is None else sources
        self._refused = FailureLog(_log, clock)
        self._refused_hosts = RefusedHosts(clock)
        self._pod_targets = PodTargets()
        self._tunnels: set[asyncio.Task[None]] = set()
        self._stopping = False
        # A transport may outlive its task while its buffer drains to a slow peer.
        self._transports: WeakSet[asyncio.WriteTransport] = WeakSet()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client, its request and its tunnel; limit another host like a pod with a network."""
        is_local = ipaddress.ip_address(writer.get_extra_info("sockname")[0]).is_loopback
        await self._handle(reader, writer, self._serve if is_local else self._serve_pod)

    async def handle_tls(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client that connects to an Azure host directly."""
        await self._handle(reader, writer, self._serve_tls)

    async def handle_pod(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client in a pod with its own network; it reaches no address of this machine."""
        await self._handle(reader, writer, self._serve_pod)

    async def _handle(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, serve: Serve
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tunnels.add(task)
        self._transports.add(writer.transport)
        sockets.limit_unsent(writer.get_extra_info("socket"), self._limits.stall_seconds)
        try:
            await serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client disconnected
        except asyncio.CancelledError:
            # NOTE: not re-raised after `stop`, because asyncio's streams would log it as an error.
            if not self._stopping:
                raise
        finally:
            self._tunnels.discard(task)
            writer.close()

    async def _serve_pod(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._serve(reader, writer, self._pod_targets.find)

    async def _serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        find: FindTargets | None = None,
    ) -> None:
        source = _source_of(writer)
        async with AsyncExitStack() as stack:
            try:
                with self._waiting.hold(source_network(source[0])):
                    async with asyncio.timeout(self._limits.head_seconds):
                        head = parse_head(await reader.readuntil(b"\r\n\r\n"))
                if head.method != "CONNECT":
                    return await respond_without_tunnel(writer, head)
                opening = self._open(*split_target(head.target), source, find=find)
                remote = await stack.enter_async_context(opening)
            except TimeoutError:
                return await respond(writer, 408, "the request was not complete in time")
            except asyncio.LimitOverrunError:
                return await respond(writer, 431, "the request headers are too long")
            except ShareExceeded as exc:
                self._refused.report("tunnels_refused", exc)
                return await respond(writer, exc.status, exc.message, phrase=exc.message)
            except UnknownVault as exc:
                # Clients print only the reason phrase of a refused tunnel, not the body.
                return await respond(writer, exc.status, exc.message, phrase=exc.message)
            except (BadProxyRequest, HostUnreachable, TargetRefused) as exc:
                return await respond(writer, exc.status, exc.message)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await self._relay((reader, writer), remote)
        return None

    async def _serve_tls(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source = _source_of(writer)
        async with AsyncExitStack() as stack:
            try:
                with self._waiting.hold(source_network(source[0])):
                    async with asyncio.timeout(self._limits.hello_seconds):
                        host, hello = await read_hello(reader)
                opening = self._open(host, HTTPS, source, served_only=True)
                remote = await stack.enter_async_context(opening)
            except (sni.BadHello, NameNotServed):
                writer.write(sni.UNRECOGNIZED_NAME)
                return
            except (TimeoutError, HostUnreachable, ShareExceeded) as exc:
                # The name may be right: clients would report `unrecognized_name` as a wrong one.
                writer.write(sni.INTERNAL_ERROR)
                if isinstance(exc, ShareExceeded):
                    self._refused.report("tunnels_refused", exc)
                return
            remote[1].write(hello)
            await self._relay((reader, writer), remote)

    async def _relay(self, client: Stream, remote: Stream) -> None:
        limits = self._limits
        await relay(
            client,
            remote,
            half_open_seconds=limits.half_open_seconds,
            stall_seconds=limits.stall_seconds,
        )

    @asynccontextmanager
    async def _open(
        self,
        host: str,
        port: int,
        source: Address,
        *,
        served_only: bool = False,
        find: FindTargets | None = None,
    ) -> AsyncIterator[Stream]:
        """Open a tunnel to a host until the context ends.

        Raises HostUnreachable, TargetRefused, ShareExceeded.
        """
        with self._shares.hold(source_network(source[0])), contextlib.ExitStack() as stack:

            def record(own: Address, service: Address) -> None:
                stack.enter_context(self._sources.record(own, service, source))

            try:
                reader, writer = await self._connect(
                    host, port, record, served_only=served_only, find=find
                )
            except UnknownVault:
                raise  # it has a log line of its own
            except (HostUnreachable, TargetRefused) as exc:
                if route(self._table, host) is None:
                    self._refused_hosts.report(host, port, source[0], exc.message)
                raise
            if route(self._table, host) is None:
                self._refused_hosts.report_connected(host, port, source[0])
            stack.callback(writer.close)
            yield reader, writer

    async def _connect(
        self,
        host: str,
        port: int,
        record: Callable[[Address, Address], None],
        *,
        served_only: bool,
        find: FindTargets | None,
    ) -> Stream:
        service = route(self._table, host)
        # Never forward another port of an Azure host: the request may contain a token of this instance.
        if service is not None and port != HTTPS:
            raise HostUnreachable(f"{host}:{port}: {_TLS_PORTS_ONLY}")
        if service is not None:
            await self._check_vault(host)
        elif served_only:
            raise NameNotServed(f"the gateway does not serve {host}")
        addresses: Sequence[Address] = [(host, port)]
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                if service is not None:
                    reader, writer = await connect_service(
                        service, lambda own: record(own, service)
                    )
                else:
                    if find is not None:
                        addresses = await find(host, port)
                    reader, writer = await connect(addresses)
        except TimeoutError as exc:
            raise HostUnreachable(
                f"{host}:{port} did not respond within {CONNECT_SECONDS:.0f} seconds"
            ) from exc
        except (OSError, UnicodeError, NameNotResolved) as exc:
            raise HostUnreachable(
                f"cannot connect to {host}:{port}: {describe_error(exc)}"
            ) from exc
        # A tunnel to the gateway itself would let one request open thousands of tunnels.
        peer = writer.get_extra_info("peername")
        if peer is None:  # the host has reset the connection
            writer.close()
            raise HostUnreachable(f"{host}:{port} has closed the connection")
        if self._is_own(unmap_ipv4(peer[0]), peer[1]):
            writer.close()
            raise HostUnreachable("the gateway does not connect to itself")
        self._transports.add(writer.transport)
        sockets.limit_unsent(writer.get_extra_info("socket"), self._limits.stall_seconds)
        _log.debug("tunnel_opened", extra={"host": host, "port": port, "served": bool(service)})
        return reader, writer

    def _is_own(self, peer_host: str, peer_port: int) -> bool:
        """Return whether an address is that of the gateway's own socket."""
        host, port = self._own
        is_own = peer_host == host or (host == ALL_ADDRESSES and not may_reach(peer_host))
        return peer_port == port and is_own

    async def _check_vault(self, host: str) -> None:
        vault = vault_name(host)
        if vault is None or self._host_exists is None:
            return
        if await self._host_exists(f"{vault}.{names.VAULT_SUFFIX}"):
            return
        # The name goes into the status line, so only printable ASCII is allowed.
        shown = "".join(char for char in vault if char.isascii() and char.isprintable())
        refused = UnknownVault(f"vault {shown} does not exist, see `podpass vault list`")
        facts = {"host": host, "vault": shown, "cause": refused.message}
        _log.warning("vault_unknown", extra=facts)
        raise refused

    async def stop(self) -> None:
        """Close all open tunnels."""
        self._stopping = True
        tunnels = list(self._tunnels)
        for task in tunnels:
            task.cancel()
        if tunnels:
            await asyncio.wait(tunnels, timeout=_STOP_SECONDS)
        for transport in list(self._transports):
            transport.abort()


def _source_of(writer: asyncio.StreamWriter) -> Address:
    """Return the address of a client. Raises ConnectionError if it has reset the connection."""
    peer = writer.get_extra_info("peername")
    if peer is None:
        raise ConnectionResetError("the client has reset the connection")
    return unmap_ipv4(peer[0]), peer[1]


@asynccontextmanager
async def run_gateway(
    sock: socket.socket,
    table: Mapping[str, Address],
    *,
    pods: socket.socket | None = None,
    direct: socket.socket | None = None,
    host_exists: HostExists | None = None,
    limits: GatewayLimits = LIMITS,
    sources: TunnelSources | None = None,
    clock: Clock = system,
) -> AsyncIterator[Gateway]:
    """Run a gateway on a listening socket until the context ends.

    `pods` is a listening socket for pods with their own network, `direct` one for clients without proxy
    settings; `host_exists` returns whether the vault of a host (in lower case, without a trailing dot)
    exists; without it the gateway accepts every vault name. The gateway records the client of each tunnel
    to a service in `sources`.
    """
    own = sock.getsockname()[:2]
    gateway = Gateway(
        table, own, host_exists=host_exists, limits=limits, sources=sources, clock=clock
    )
    servers = [await asyncio.start_server(gateway.handle, sock=sock, limit=MAX_HEAD_BYTES)]
    if pods is not None:
        handle = gateway.handle_pod
        servers.append(await asyncio.start_server(handle, sock=pods, limit=MAX_HEAD_BYTES))
    if direct is not None:
        servers.append(
            await asyncio.start_server(gateway.handle_tls, sock=direct, limit=CHUNK_BYTES)
        )
    try:
        yield gateway
    finally:
        for server in servers:
            server.close()
        await gateway.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                for server in servers:
                    await server.wait_closed()
