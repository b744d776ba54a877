"""The resolver of the cloud: answers for the names that the gateway serves, with the gateway's address.

A vault or storage account that does not exist has no name, as in Azure, and a new one has a name at once.
Names of DNS zones that users have created have their records. Other names are refused, or forwarded to
another server if one is given. Served names never wait for that server, and each client has a share of the
queries and connections.
"""

import asyncio
import contextlib
import ipaddress
import logging
import secrets
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import dns.rcode

from podpass.clock import Clock, system
from podpass.http.limits import source_network
from podpass.http.shares import ShareExceeded, Shares
from podpass.lab.gateway import sockets
from podpass.lab.gateway.failure_log import FailureLog
from podpass.lab.names.messages import (
    MAX_QUERY_BYTES,
    Address,
    Query,
    build_answer,
    build_error,
    is_query,
    is_reply_to,
    limit_datagram,
    read_query,
    with_number,
)
from podpass.lab.names.served_names import find_zone, is_served, list_zones, normalize

_log = logging.getLogger(__name__)

HostExists = Callable[[str], Awaitable[bool]]
AnswerName = Callable[[Query, Callable[[str], bool]], Awaitable[bytes | None]]
"""Return the reply to a query for a name that users have created, None for another name.

The function is given whether a name is reserved, which it must not answer for.
"""
Upstream = tuple[str, int]

# MAX_IN_FLIGHT includes forwarded queries; the rest is reserved for names that the resolver itself serves.
MAX_IN_FLIGHT = 1024
MAX_FORWARDED = 512
MAX_CONNECTIONS = 256
MAX_SAME_QUESTION = 64
# The maximum number of queries of one TCP connection in memory: a reply may have 64 KiB.
MAX_CONNECTION_QUERIES = 8
_IDLE_SECONDS = 10.0
_UPSTREAM_SECONDS = 5.0
_PORT_TRIES = 20
_LENGTH = struct.Struct("!H")


class CloudResolver:
    """Answers queries for the served names.

    `served` are names as in the table of the gateway; `addresses` are those of the gateway, or none for the
    address of this machine that the client reaches; `host_exists` returns whether a served name belongs to
    something that exists; `answer_name` answers for other names that users have created; `reserved` are
    domains that it does not answer for; `upstream` is the server for all other names, None to refuse them.
    """

    def __init__(
        self,
        served: Collection[str],
        addresses: Sequence[Address],
        *,
        host_exists: HostExists,
        answer_name: AnswerName | None = None,
        reserved: Collection[str] = (),
        upstream: Upstream | None = None,
        clock: Clock = system,
    ) -> None:
        self._served = frozenset(map(normalize, served))
        self._zones = list_zones(served)
        self._addresses = addresses
        self._host_exists, self._answer_name = host_exists, answer_name
        # An alias must not lead to a zone with a name of Azure, which the gateway serves.
        self._reserved = frozenset((*map(normalize, reserved), *self._zones))
        self._upstream = upstream
        self._questions: Counter[tuple[str, bytes]] = Counter()
        self._forwarded: set[bytes] = set()
        self._in_flight = Shares("DNS queries", MAX_IN_FLIGHT)
        self._forwards = Shares("forwarded DNS queries", MAX_FORWARDED)
        self._failures = FailureLog(_log, clock)

    async def answer(self, wire: bytes, client: str, *, tcp: bool) -> bytes | None:
        """Return the reply to a packet from the address of a client, None for no reply."""
        try:
            with self._in_flight.hold(source_network(client)):
                return await self._reply(wire, client, tcp=tcp)
        except ShareExceeded as exc:
            self.report("dns_queries_refused", exc)
            return None

    def report(self, event: str, exc: Exception) -> None:
        """Log a failure, at most once a minute."""
        self._failures.report(event, exc)

    async def _reply(self, wire: bytes, client: str, *, tcp: bool) -> bytes | None:
        query = read_query(wire)
        if not isinstance(query, Query):
            return query
        try:
            return await self._answer(query, client, tcp=tcp)
        except ShareExceeded as exc:
            self.report("dns_queries_refused", exc)
        except (OSError, EOFError, TimeoutError) as exc:
            self.report("dns_upstream_failed", exc)
        except Exception as exc:  # noqa: BLE001 an internal error becomes a reply, so clients need not wait
            self.report("dns_query_failed", exc)
        return build_error(query, dns.rcode.SERVFAIL)

    async def _answer(self, query: Query, client: str, *, tcp: bool) -> bytes:
        zone = find_zone(query.name, self._zones)
        if zone is not None and query.is_internet:
            exists = is_served(query.name, self._served) and await self._host_exists(query.name)
            found = self._addresses or [find_own_address(client)] if exists else None
            return build_answer(query, zone, found)
        if query.is_internet and self._answer_name is not None:
            wire = await self._answer_name(query, self._is_reserved)
            if wire is not None:
                return wire if tcp else limit_datagram(wire, query)
        if self._upstream is None or zone is not None:
            return build_error(query, dns.rcode.REFUSED)
        source = source_network(client)
        with self._forwards.hold(source):
            return await self._forward(self._upstream, query, source, tcp=tcp)

    def _is_reserved(self, name: str) -> bool:
        return find_zone(name, self._reserved) is not None

    async def _forward(self, upstream: Upstream, query: Query, source: str, *, tcp: bool) -> bytes:
        # A server that forwards to this resolver would create a loop.
        if query.wire in self._forwarded:
            return build_error(query, dns.rcode.REFUSED)
        # In a loop through another forwarder, which changes the number, queries are only counted. Each source
        # has its own count: otherwise one client could use up the limit of a name for all.
        asked = (source, query.question)
        if self._questions[asked] >= MAX_SAME_QUESTION:
            return build_error(query, dns.rcode.SERVFAIL)
        number = secrets.randbits(16)
        sent = with_number(query.wire, number)
        self._forwarded.add(sent)
        self._questions[asked] += 1
        try:
            async with asyncio.timeout(_UPSTREAM_SECONDS):
                forward = _forward_tcp if tcp else _forward_udp
                return await forward(upstream, query, number)
        finally:
            self._forwarded.discard(sent)
            self._questions[asked] -= 1
            if not self._questions[asked]:
                del self._questions[asked]


def find_own_address(client: str) -> Address:
    """Return the address of this machine from which it reaches a client, so that the client reaches it.

    Raises OSError if there is no route.
    """
    family = socket.AF_INET6 if ":" in client else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((client, 1))  # of a datagram socket, this sends nothing
        own = ipaddress.ip_address(sock.getsockname()[0].partition("%")[0])
    return getattr(own, "ipv4_mapped", None) or own


async def _forward_udp(upstream: Upstream, query: Query, number: int) -> bytes:
    # A socket for each query has a port of its own, which is as hard to guess as the number.
    loop = asyncio.get_running_loop()
    reply: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _UpstreamReply(reply, query, number), remote_addr=upstream
    )
    try:
        transport.sendto(with_number(query.wire, number))
        return limit_datagram(with_number(await reply, _number(query)), query)
    finally:
        transport.close()


class _UpstreamReply(asyncio.DatagramProtocol):
    """Waits for the reply of the other server; ignores other packets."""

    def __init__(self, reply: "asyncio.Future[bytes]", query: Query, number: int) -> None:
        self._reply, self._query, self._number = reply, query, number

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002
        if not self._reply.done() and is_reply_to(data, self._query, self._number):
            self._reply.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._reply.done():
            self._reply.set_exception(exc)


async def _forward_tcp(upstream: Upstream, query: Query, number: int) -> bytes:
    reader, writer = await asyncio.open_connection(*upstream)
    try:
        writer.write(_LENGTH.pack(len(query.wire)) + with_number(query.wire, number))
        (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        data = await reader.readexactly(size)
        if not is_reply_to(data, query, number):
            raise ConnectionError("the reply is for another query")
        return with_number(data, _number(query))
    finally:
        writer.close()


def _number(query: Query) -> int:
    return int.from_bytes(query.wire[:2], "big")


class _Datagrams(asyncio.DatagramProtocol):
    """Answers UDP packets; drops those above a client's share, which clients send again."""

    def __init__(self, resolver: CloudResolver) -> None:
        self._resolver = resolver
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        task = asyncio.create_task(self._answer(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, data: bytes, client: Any) -> None:
        reply = await self._resolver.answer(data, client[0], tcp=False)
        if reply is not None and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(reply, client)

    async def stop(self) -> None:
        """Stop receiving, and cancel the queries in flight."""
        if self._transport is not None:
            self._transport.close()
        await _cancel(self._tasks)


class _Connections:
    """Answers queries of TCP connections, each as soon as its reply is known (RFC 7766, section 7)."""

    def __init__(self, resolver: CloudResolver) -> None:
        self._resolver = resolver
        self._shares = Shares("DNS connections", MAX_CONNECTIONS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until the client closes it, is idle, or sends too large a query."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            # Without an address, the client has reset the connection.
            if (peer := writer.get_extra_info("peername")) is not None:
                sockets.limit_unsent(writer.get_extra_info("socket"), _IDLE_SECONDS)
                with self._shares.hold(source_network(peer[0])):
                    await self._serve(reader, writer, peer[0])
                    # The attack: a client that reads nothing keeps a connection outside of its share.
                    await sockets.close(writer, _IDLE_SECONDS)
        except ShareExceeded as exc:
            self._resolver.report("dns_connections_refused", exc)
        except asyncio.CancelledError:
            # NOTE: not re-raised after `stop`, because asyncio's streams would log it as an error.
            if not self._stopping:
                raise
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, client: str
    ) -> None:
        slots = asyncio.Semaphore(MAX_CONNECTION_QUERIES)
        try:
            async with asyncio.TaskGroup() as answers:
                with contextlib.suppress(EOFError, TimeoutError):
                    while await slots.acquire() and (query := await _read_query(reader)):
                        task = answers.create_task(self._answer(query, client, writer))
                        task.add_done_callback(lambda _: slots.release())
        except* OSError:  # the client has disconnected, or does not read
            pass

    async def _answer(self, query: bytes, client: str, writer: asyncio.StreamWriter) -> None:
        reply = await self._resolver.answer(query, client, tcp=True)
        if reply is None:
            writer.close()
            return
        writer.write(_LENGTH.pack(len(reply)) + reply)
        async with asyncio.timeout(_IDLE_SECONDS):
            await writer.drain()

    async def stop(self) -> None:
        """Close all connections."""
        self._stopping = True
        await _cancel(self._tasks)


async def _read_query(reader: asyncio.StreamReader) -> bytes:
    """Read a packet after its length; return b"" for a packet that ends the connection.

    Raises EOFError, TimeoutError, OSError.
    """
    async with asyncio.timeout(_IDLE_SECONDS):
        (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        wire = await reader.readexactly(size) if size <= MAX_QUERY_BYTES else b""
    return wire if is_query(wire) else b""


async def _cancel(tasks: Collection["asyncio.Task[None]"]) -> None:
    running = list(tasks)
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running)


@asynccontextmanager
async def run_resolver(
    resolver: CloudResolver, udp: socket.socket, tcp: socket.socket
) -> AsyncIterator[None]:
    """Answer queries on a UDP socket and a listening TCP socket until the context ends."""
    udp.setblocking(False)
    connections = _Connections(resolver)
    loop = asyncio.get_running_loop()
    _, datagrams = await loop.create_datagram_endpoint(lambda: _Datagrams(resolver), sock=udp)
    server = await asyncio.start_server(connections.handle, sock=tcp, limit=2 * MAX_QUERY_BYTES)
    try:
        yield
    finally:
        server.close()
        await datagrams.stop()
        await connections.stop()
        with contextlib.suppress(OSError):
            await server.wait_closed()


def bind(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Return a UDP socket and a listening TCP socket on one port; 0 selects a free one. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for left in reversed(range(_PORT_TRIES)):
        with contextlib.ExitStack() as stack:
            tcp = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            udp = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tcp.bind((host, port))
            try:
                udp.bind((host, tcp.getsockname()[1]))
            except OSError:
                # A port that is free for TCP may be in use for UDP.
                if port or not left:
                    raise
                continue
            tcp.listen(MAX_CONNECTIONS)
            stack.pop_all()
            break
    return udp, tcp
