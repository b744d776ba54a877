"""The gateway: a CONNECT proxy on loopback that leads Azure's names to the services of this instance.

It relays bytes and never ends TLS itself: for an Azure host the bytes go to the loopback port of the
service, which holds the leaf; every other host is connected to and left alone.
"""

import asyncio
import contextlib
import ipaddress
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakSet

from podpass import names
from podpass.errors import Error

_log = logging.getLogger(__name__)

Address = tuple[str, int]
KnowsVault = Callable[[str], Awaitable[bool]]

HTTPS = 443
MAX_HEAD_BYTES = 16 * 1024
HEAD_SECONDS = 10.0
CONNECT_SECONDS = 15.0
MAX_TUNNELS = 2000
_CHUNK = 64 * 1024
_STOP_SECONDS = 1.0
_TLS_PORTS_ONLY = "the gateway serves this name on port 443 only"


class BadRequest(Error):
    """What came in is no CONNECT request."""

    code = "bad_proxy_request"
    status = 400


class NoWay(Error):
    """The host that was asked for cannot be reached."""

    code = "unreachable"
    status = 502


class UnknownVault(NoWay):
    """A vault of this name does not exist; at the real Azure its name would not resolve."""

    code = "unknown_vault"


def routes(ports: Mapping[str, int], host: str = "127.0.0.1") -> dict[str, Address]:
    """Say which service answers for which name; `*.` stands for one label, as in the certificate."""
    table = dict.fromkeys(names.LOGIN_ALIASES, "authority")
    table |= {
        names.ARM_HOST: "azure",
        names.GRAPH_HOST: "azure",
        names.VAULT_SUFFIX: "vault",
        f"*.{names.VAULT_SUFFIX}": "vault",
        f"*.{names.ISSUER_SUFFIX}": "issuer",
    }
    return {name: (host, ports[service]) for name, service in table.items()}


def route(table: Mapping[str, Address], host: str) -> Address | None:
    """Find the service for a host, or None for a host that is not Azure's.

    Shapes:  names are compared in lower case, without the dot at their end.
    """
    name = host.lower().removesuffix(".")
    return table.get(name) or table.get("*." + name.partition(".")[2])


def vault_of(host: str) -> str | None:
    """Take a vault's name out of its host name, None for a host that is no vault's."""
    vault, _, suffix = host.lower().removesuffix(".").partition(".")
    return vault if vault and suffix == names.VAULT_SUFFIX else None


def split_target(target: str) -> tuple[str, int]:
    """Split `host:port` or `[address]:port`.

    Errors:  BadRequest.
    """
    host, colon, port = target.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not (colon and host and port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise BadRequest("CONNECT wants host:port")
    return host, int(port)


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a proxy request."""

    method: str
    target: str


def parse_head(head: bytes) -> Head:
    """Read the request line; the headers of a CONNECT say nothing that we need.

    Errors:  BadRequest.
    """
    line = head.split(b"\r\n", 1)[0].decode("latin-1")
    parts = line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or not parts[0].isalpha():
        raise BadRequest("this is not an HTTP/1.1 request")
    return Head(parts[0], parts[1])


class Gateway:
    """Tunnels between clients and services or hosts."""

    def __init__(
        self,
        table: Mapping[str, Address],
        own: Address,
        *,
        knows_vault: KnowsVault | None,
        head_seconds: float,
        max_tunnels: int,
    ) -> None:
        self._table = table
        self._own = own
        self._knows_vault = knows_vault
        self._head_seconds = head_seconds
        self._max_tunnels = max_tunnels
        self._tunnels: set[asyncio.Task[None]] = set()
        self._stopping = False
        # Beyond their task's end, transports live on while a slow side still takes what is buffered.
        self._transports: WeakSet[asyncio.WriteTransport] = WeakSet()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client from its request to the end of its tunnel."""
        task = asyncio.current_task()
        assert task is not None
        self._tunnels.add(task)
        self._transports.add(writer.transport)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client left; nobody is there to be told
        except asyncio.CancelledError:
            # NOTE: not raised again by `stop`: asyncio's streams would log their own failure over it.
            if not self._stopping:
                raise
        finally:
            self._tunnels.discard(task)
            _abort(writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._head_seconds):
                head = parse_head(await reader.readuntil(b"\r\n\r\n"))
            if head.method != "CONNECT":
                return await _answer_plain(writer, head)
            remote = await self._open(*split_target(head.target))
        except TimeoutError:
            return await _answer(writer, 408, "no whole request came in time")
        except asyncio.LimitOverrunError:
            return await _answer(writer, 431, "the request's headers are too long")
        except UnknownVault as exc:
            # Clients print the phrase of a refused tunnel and never its body.
            return await _answer(writer, exc.status, exc.message, phrase=exc.message)
        except (BadRequest, NoWay) as exc:
            return await _answer(writer, exc.status, exc.message)
        try:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _relay((reader, writer), remote)
        finally:
            _abort(remote[1])

    async def _open(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if len(self._tunnels) > self._max_tunnels:
            raise NoWay(f"{self._max_tunnels} tunnels are open already")
        service = route(self._table, host)
        # Another port of an Azure name must not lead out: the request may carry a token of ours.
        if service is not None and port != HTTPS:
            raise NoWay(f"{host}:{port}: {_TLS_PORTS_ONLY}")
        if service is not None:
            await self._check_vault(host)
        address = service or (host, port)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(*address, limit=_CHUNK)
        except TimeoutError as exc:
            raise NoWay(f"{host}:{port} did not answer in {CONNECT_SECONDS:.0f} s") from exc
        except (OSError, UnicodeError) as exc:
            raise NoWay(f"cannot connect to {host}:{port}: {_reason(exc)}") from exc
        # A tunnel into the gateway would let one request open thousands.
        if _plain(writer.get_extra_info("peername")) == self._own:
            _abort(writer)
            raise NoWay("the gateway does not connect to itself")
        self._transports.add(writer.transport)
        _log.debug("tunnel_opened", extra={"host": host, "port": port, "served": bool(service)})
        return reader, writer

    async def _check_vault(self, host: str) -> None:
        vault = vault_of(host)
        if vault is None or self._knows_vault is None or await self._knows_vault(vault):
            return
        # What a client asked for goes into our status line, so only what can stand in a line of HTTP.
        shown = "".join(sign for sign in vault if sign.isascii() and sign.isprintable())
        refused = UnknownVault(f"there is no vault {shown} here, see `podpass vault list`")
        _log.warning(
            "vault_unknown", extra={"host": host, "vault": shown, "cause": refused.message}
        )
        raise refused

    async def stop(self) -> None:
        """End every tunnel that is still open."""
        self._stopping = True
        tunnels = list(self._tunnels)
        for task in tunnels:
            task.cancel()
        if tunnels:
            await asyncio.wait(tunnels, timeout=_STOP_SECONDS)
        for transport in list(self._transports):
            transport.abort()


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _relay(client: Stream, remote: Stream) -> None:
    """Copy both ways until both have ended; an error on one side ends both."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(client[0], remote[1]))
            group.create_task(_copy(remote[0], client[1]))
    except* OSError:
        pass


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK):
        sink.write(data)
        # Wait for the slower side, so that no tunnel holds more than a buffer of a fast one.
        await sink.drain()
    if sink.can_write_eof() and not sink.is_closing():
        sink.write_eof()


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close for good: flush what can be flushed, wait for nobody."""
    if not writer.transport.is_closing():
        writer.close()


def _plain(peer: tuple[str, int]) -> Address:
    """Write an IPv4 address that came as IPv6 (::ffff:127.0.0.1) as what it is."""
    mapped = getattr(ipaddress.ip_address(peer[0].partition("%")[0]), "ipv4_mapped", None)
    return (str(mapped) if mapped else peer[0]), peer[1]


def _reason(exc: Exception) -> str:
    if isinstance(exc, socket.gaierror | UnicodeError):
        return "the name is not known"
    if isinstance(exc, OSError) and exc.errno:
        return os.strerror(exc.errno)
    return "no address of it answers"


async def _answer_plain(writer: asyncio.StreamWriter, head: Head) -> None:
    if head.target == "/healthz" and head.method in ("GET", "HEAD"):
        await _answer(writer, 200, "ok" if head.method == "GET" else "")
    elif head.target.lower().startswith("http://"):
        await _answer(
            writer, 501, "podpass carries HTTPS only (CONNECT); unset HTTP_PROXY for plain HTTP"
        )
    else:
        await _answer(writer, 405, "this is podpass's gateway, a proxy: set it as HTTPS_PROXY")


_PHRASES = {
    200: "OK",
    400: "Bad Request",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    502: "Bad Gateway",
}


async def _answer(
    writer: asyncio.StreamWriter, status: int, text: str, *, phrase: str | None = None
) -> None:
    body = (text + "\n").encode() if text else b""
    allow = "Allow: CONNECT\r\n" if status == 405 else ""
    head = (
        f"HTTP/1.1 {status} {phrase or _PHRASES[status]}\r\n{allow}"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_STOP_SECONDS):
            await writer.drain()


@asynccontextmanager
async def running(
    sock: socket.socket,
    table: Mapping[str, Address],
    *,
    knows_vault: KnowsVault | None = None,
    head_seconds: float = HEAD_SECONDS,
    max_tunnels: int = MAX_TUNNELS,
) -> AsyncIterator[Gateway]:
    """Run a gateway on a listening socket for as long as the context lasts.

    Shapes:  `knows_vault` tells whether there is a vault of a name; without it every one is taken to be.
    """
    own = sock.getsockname()[:2]
    gateway = Gateway(
        table, own, knows_vault=knows_vault, head_seconds=head_seconds, max_tunnels=max_tunnels
    )
    server = await asyncio.start_server(gateway.handle, sock=sock, limit=MAX_HEAD_BYTES)
    try:
        yield gateway
    finally:
        server.close()
        await gateway.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await server.wait_closed()
