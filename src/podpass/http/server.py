"""An HTTP server on raw ASGI: listening sockets, size limits of bodies, JSON responses, connection draining.

A server runs in an event loop that already runs. The process that owns the loop handles signals.
"""

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from uvicorn.server import ServerState

from podpass.errors import Error
from podpass.http.acceptor import Acceptor, ConnectionFilter, FindClient
from podpass.http.connection import Config, Connection, FastPathHandler, Scope
from podpass.http.content_coding import BodyRefused, BodyTooLarge, decode, parse_coding
from podpass.http.limits import LIMITS, Limits
from podpass.http.proxy_headers import Network
from podpass.http.reply import Reply
from podpass.http.request_validation import Headers
from podpass.http.slow_readers import SlowReaderCheck

__all__ = [
    "JSON",
    "App",
    "BodyRefused",
    "BodyTooLarge",
    "FastPathHandler",
    "Headers",
    "Limits",
    "PortInUse",
    "Receive",
    "Reply",
    "Scope",
    "Send",
    "bind",
    "header",
    "header_values",
    "read_body",
    "read_decoded_body",
    "respond",
    "server_context",
    "server_tls",
    "serving",
    "validate_request_id",
]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON = (b"content-type", b"application/json")
_REQUEST_ID = re.compile(r"[0-9A-Za-z_.-]{1,64}")


class PortInUse(Error):
    """Another program already listens on this address and port."""

    code = "port_in_use"


def bind(host: str, port: int, *, otherwise: str = "choose another port") -> socket.socket:
    """Open a listening socket; port 0 selects a free port.

    `otherwise` is an alternative resolution of a port conflict, for the hint of the error. Raises PortInUse.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio disables Nagle's algorithm only for a socket that names its protocol.
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if host == "::":  # all interfaces, IPv4 and IPv6
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((host, port))
        sock.listen(1024)
        sock.setblocking(False)
    except OSError as exc:
        sock.close()
        shown = f"[{host}]" if ":" in host else host
        raise PortInUse(
            f"cannot listen on {shown}:{port}: {exc.strerror}",
            hint=f"stop the program that uses this port, or {otherwise}",
            port=port,
        ) from exc
    return sock


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """The duration of connection draining when a server stops.

    Units: seconds. During `keepalive_seconds` each keep-alive connection may send one more request, and the
    response closes it: so the server does not close a connection on which a request is arriving.
    `grace_seconds` is the time for requests in flight after that.
    """

    keepalive_seconds: float = 0.0
    grace_seconds: float = 2.0


DRAIN = Drain()


class _Server:
    """Accept connections on one socket, and drain them when it stops.

    It replaces `uvicorn.Server`, which wakes up every 0.1 s while it runs and while it drains, and sleeps 0.1
    s at each stop. This class only waits for events, so a stop is complete when the last connection ends.
    """

    def __init__(
        self,
        config: Config,
        sock: socket.socket,
        drain: Drain,
        connection_filter: ConnectionFilter | None,
        find_client: FindClient | None,
    ) -> None:
        config.load()
        self.state = ServerState()
        self._config = config
        self._drain = drain
        self._limit = config.limits.connections
        connections: Any = self.state.connections
        self._slow_readers = SlowReaderCheck(
            connections, lambda: self._acceptor.handshakes, config.limits.write_seconds
        )
        self._acceptor = Acceptor(
            sock,
            self._new_connection,
            config.ssl,
            connection_filter=connection_filter,
            is_full=self._is_full,
            limits=config.limits,
            proxies=config.proxies,
            find_client=find_client,
        )

    async def stop(self) -> None:
        """Drain the connections, then abort those that are still open.

        After this method returns or is cancelled, the application gets no further request, so the caller may
        close its resources.
        """
        connections: Any = self.state.connections
        try:
            self._acceptor.close()
            self._close_after_next_response()
            await _wait_until_empty(self._open_connections, self._drain.keepalive_seconds)
            for connection in tuple(connections):
                connection.shutdown()
            if not await _wait_until_empty(self._unfinished, self._drain.grace_seconds):
                for task in tuple(self.state.tasks):
                    task.cancel("the grace period of the stop is over")
        finally:
            self._acceptor.abort()
            self._slow_readers.stop()
            for connection in tuple(connections):
                connection.transport.abort()

    def replace_tls(self, tls: ssl.SSLContext) -> None:
        """Use another TLS configuration; each open connection is closed after its next response."""
        self._acceptor.use_tls(tls)
        last: Any = connection_close_middleware(self._config.loaded_app)
        connections: Any = self.state.connections
        for connection in connections:
            connection.close_after_next_response(last)

    def _new_connection(self) -> Connection:
        self._slow_readers.start()
        return Connection(config=self._config, server_state=self.state, app_state={})

    def _is_full(self, handshakes: int) -> bool:
        return handshakes + len(self.state.connections) >= self._limit

    def _close_after_next_response(self) -> None:
        """Make the next response of each connection its last one."""
        last: Any = connection_close_middleware(self._config.loaded_app)
        self._config.loaded_app, self._config.fast_path = last, None
        connections: Any = self.state.connections
        for connection in connections:
            connection.close_after_next_response(last)

    def _open_connections(self) -> set[asyncio.Future[None]]:
        """Return a future for each connection and each handshake, which is done when it ends."""
        connections: Any = self.state.connections
        return self._acceptor.handshakes | {each.wait_lost() for each in connections}

    def _unfinished(self) -> set[asyncio.Future[None]]:
        """Return a future for each connection, each handshake and each request in flight."""
        return self._open_connections() | self.state.tasks


class RunningServer:
    """The counters and the TLS configuration of a running server."""

    def __init__(self, server: _Server) -> None:
        self._server = server

    @property
    def connections(self) -> int:
        """Return the number of open connections."""
        return len(self._server.state.connections)

    @property
    def in_flight(self) -> int:
        """Return the number of requests without a complete response."""
        return len(self._server.state.tasks)

    def replace_tls(self, tls: ssl.SSLContext) -> None:
        """Use another TLS configuration; each open connection is closed after its next response."""
        self._server.replace_tls(tls)


async def _wait_until_empty(
    pending: Callable[[], set[asyncio.Future[None]]], seconds: float
) -> bool:
    """Wait until nothing is pending or the time ends; return True if nothing is pending.

    `pending` is called again after each wait, because a handshake that ends may create a connection.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while waiting := pending():
        remaining = deadline - loop.time()
        if remaining <= 0:
            return False
        await asyncio.wait(waiting, timeout=remaining)
    return True


def connection_close_middleware(app: App) -> App:
    """Add `connection: close` to each response of an application."""

    async def closing_app(scope: Scope, receive: Receive, send: Send) -> None:
        async def closing_send(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        await app(scope, receive, closing_send)

    return closing_app


@asynccontextmanager
async def serving(
    app: App,
    sock: socket.socket,
    tls: ssl.SSLContext | None = None,
    *,
    limits: Limits = LIMITS,
    proxies: Sequence[Network] = (),
    connection_filter: ConnectionFilter | None = None,
    find_client: FindClient | None = None,
    drain: Drain = DRAIN,
) -> AsyncIterator[RunningServer]:
    """Serve an ASGI application on a socket until the context ends, then drain and close the socket.

    A method `fast_path` of the application is used as `connection` describes; the addresses that peers in
    `proxies` forward replace their own; `connection_filter` is called before TLS and before each request;
    `find_client` finds the client behind a peer that only relays bytes, which is then the client of the
    connection's requests and share.
    """
    config = Config(
        app,
        http=Connection,
        interface="asgi3",  # because uvicorn detects this incorrectly for a bound method
        proxy_headers=False,  # `Connection` reads them, and only from trusted proxies
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=limits.keep_alive_seconds,
        ssl_context_factory=(lambda _config, _default: tls) if tls is not None else None,
    )
    config.limits, config.proxies = limits, proxies
    config.fast_path = getattr(app, "fast_path", None)
    for name in ("fast_path_method", "fast_path_max_bytes"):
        setattr(config, name, getattr(app, name, getattr(Config, name)))
    config.allow_request = None if connection_filter is None else connection_filter.allow_request
    try:
        server = _Server(config, sock, drain, connection_filter, find_client)
        try:
            yield RunningServer(server)
        finally:
            await server.stop()
    finally:
        sock.close()


def server_tls(certificate: str, key: str, *, client_ca: str | None = None) -> ssl.SSLContext:
    """Return a server context for TLS 1.2 and later; with `client_ca`, clients may send a certificate."""
    context = server_context(client_ca=client_ca)
    context.load_cert_chain(certificate, key)
    return context


def server_context(
    *, client_ca: str | None = None, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
) -> ssl.SSLContext:
    """Return a server context without a certificate; every handshake fails until one is loaded."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum
    context.set_alpn_protocols(["http/1.1"])
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


async def read_body(
    receive: Receive, limit: int, on_size: Callable[[int], None] | None = None
) -> bytes:
    """Read a whole request body of at most `limit` bytes.

    `on_size` is called with the size so far after each part, and may raise. Raises BodyTooLarge, as soon as
    the limit is exceeded.
    """
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise asyncio.CancelledError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge(f"the body is longer than {limit} bytes", limit=limit)
        if on_size is not None:
            on_size(size)
        chunks.append(chunk)
        if not message.get("more_body"):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def read_decoded_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """Read a whole request body and decode it; `limit` applies to the encoded and the decoded body.

    Raises BodyRefused: BodyTooLarge, UnsupportedCoding, InvalidCoding.
    """
    coding = parse_coding(header_values(scope, b"content-encoding"))
    return decode(coding, await read_body(receive, limit), limit)


async def respond(send: Send, status: int, body: bytes, headers: Headers = (JSON,)) -> None:
    """Send a response with a complete body."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first value of a request header; `name` in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value).decode("latin-1")
    return None


def header_values(scope: Scope, name: bytes) -> list[str]:
    """Return all values of a request header; `name` in lower case."""
    return [bytes(value).decode("latin-1") for key, value in scope["headers"] if key == name]


def validate_request_id(given: str | None) -> str | None:
    """Return a caller's request ID if it is safe in headers and logs, otherwise None."""
    return given if given is not None and _REQUEST_ID.fullmatch(given) else None


logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
