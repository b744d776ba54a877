"""A thin layer over uvicorn and raw ASGI: listeners, bounded bodies, JSON answers, clean stops.

Servers run inside a loop that already runs; signals belong to the process that owns the loop.
"""

import asyncio
import contextlib
import logging
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn

from podpass.errors import Error
from podpass.http.acceptor import Acceptor, Door
from podpass.http.connection import (
    LIMITS,
    Config,
    Connection,
    Headers,
    Limits,
    Quick,
    Reply,
    Scope,
)
from podpass.http.proxy_headers import Network

__all__ = [
    "JSON",
    "App",
    "BodyTooLarge",
    "Headers",
    "Limits",
    "PortInUse",
    "Quick",
    "Receive",
    "Reply",
    "Scope",
    "Send",
    "bind",
    "fit_request_id",
    "header",
    "header_values",
    "read_body",
    "respond",
    "server_context",
    "server_tls",
    "serving",
]

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

JSON = (b"content-type", b"application/json")
_LOOK_SECONDS = 0.02
_REQUEST_ID = re.compile(r"[0-9A-Za-z_.-]{1,64}")


class PortInUse(Error):
    """Another program listens where we were asked to."""

    code = "port_in_use"


class BodyTooLarge(Error):
    """A request body is over its limit."""

    code = "body_too_large"
    status = 413


def bind(host: str, port: int, *, otherwise: str = "choose another port") -> socket.socket:
    """Open a listening socket; port 0 takes a free one.

    Shapes:  `otherwise` says what to do where it is taken, beside freeing it.
    Errors:  PortInUse.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if host == "::":  # every interface, of both families
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((host, port))
        sock.listen(1024)
        sock.setblocking(False)
    except OSError as exc:
        sock.close()
        raise PortInUse(
            f"cannot listen on {host}:{port}: {exc.strerror}",
            hint=f"stop the program that does, or {otherwise}",
            port=port,
        ) from exc
    return sock


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """How a server stops.

    Units:   seconds. For `linger`, connections that are kept open may ask once more and are told then that
             it was the last time, so that no request crosses a goodbye on the wire; `patience` is for
             answers under way.
    """

    linger: float = 0.0
    patience: float = 2.0


DRAIN = Drain()


class Serving:
    """A server that runs."""

    def __init__(self, server: "_Server") -> None:
        self._state = server.server_state

    @property
    def connections(self) -> int:
        return len(self._state.connections)

    @property
    def under_way(self) -> int:
        """How many requests wait for their answer."""
        return len(self._state.tasks)


class _Server(uvicorn.Server):
    """uvicorn's server, with an acceptor of ours, asleep until it is told to stop.

    Its own loop wakes ten times a second.
    """

    def __init__(self, config: Config, drain: Drain, door: Door | None) -> None:
        super().__init__(config)
        self._told = asyncio.Event()
        self._drain = drain
        self._door = door
        self._limit = config.limits.connections

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        tls = self.config.ssl
        self.servers: list[Any] = [
            Acceptor(sock, self._connection, tls, door=self._door, full=self._is_full)
            for sock in sockets or ()
        ]
        self.started = True

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._told.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for acceptor in self.servers:
            acceptor.close()
        await self._see_off()
        await super().shutdown(sockets)
        # Whoever stops us may close what the application needs.
        for acceptor in self.servers:
            acceptor.abort()
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()

    def stop(self) -> None:
        self.should_exit = True
        self._told.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def _connection(self) -> Connection:
        return Connection(config=self.config, server_state=self.server_state, app_state={})

    def _is_full(self, handshakes: int) -> bool:
        return handshakes + len(self.server_state.connections) >= self._limit

    async def _see_off(self) -> None:
        """Tell each connection with its next answer that it was the last."""
        last: Any = closing(self.config.loaded_app)
        self.config.loaded_app, self.config.quick = last, None  # type: ignore[attr-defined]
        connections: Any = self.server_state.connections
        for connection in connections:
            connection.answer_once_more(last)
        for _ in range(round(self._drain.linger / _LOOK_SECONDS)):
            if not connections and not any(acceptor.handshakes for acceptor in self.servers):
                return
            await asyncio.sleep(_LOOK_SECONDS)


def closing(app: App) -> App:
    """Make each answer of an application the last of its connection."""

    async def last(scope: Scope, receive: Receive, send: Send) -> None:
        async def tell(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
            await send(message)

        await app(scope, receive, tell)

    return last


@asynccontextmanager
async def serving(
    app: App,
    sock: socket.socket,
    tls: ssl.SSLContext | None = None,
    *,
    keep_alive_seconds: int = 75,
    limits: Limits = LIMITS,
    proxies: Sequence[Network] = (),
    door: Door | None = None,
    drain: Drain = DRAIN,
) -> AsyncIterator[Serving]:
    """Serve an ASGI application on a socket for as long as the context lasts, then drain.

    Shapes:  an application's attribute `quick` is its second door, see `connection`; of peers in `proxies`
             the address they forward for counts; `door` is asked before TLS and
             before each request.
    Errors:  RuntimeError if the server ends by itself.
    """
    config = Config(
        app,
        http=Connection,
        interface="asgi3",  # told, since a guess takes bound methods for something else
        proxy_headers=False,  # the connection reads them, where they are true
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=keep_alive_seconds,
        # Whole seconds, says its type; it is handed to asyncio, which takes parts too.
        timeout_graceful_shutdown=drain.patience,  # type: ignore[arg-type]
        ssl_context_factory=(lambda _config, _default: tls) if tls is not None else None,
    )
    config.limits, config.proxies = limits, proxies
    config.quick = getattr(app, "quick", None)
    config.hears = None if door is None else door.hears
    server = _Server(config, drain, door)
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        while not server.started:
            if task.done():
                raise RuntimeError("the server stopped while starting") from task.exception()
            await asyncio.sleep(0.001)
        yield Serving(server)
    finally:
        server.stop()
        await task
        sock.close()


def server_tls(certificate: str, key: str, *, client_ca: str | None = None) -> ssl.SSLContext:
    """Make a TLS 1.2+ server context; with `client_ca`, clients may present certificates."""
    context = server_context(client_ca=client_ca)
    context.load_cert_chain(certificate, key)
    return context


def server_context(
    *,
    client_ca: str | None = None,
    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
) -> ssl.SSLContext:
    """Make a server context that has no certificate yet: until it has, every handshake fails."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum
    context.set_alpn_protocols(["http/1.1"])
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


async def read_body(
    receive: Receive, limit: int, grew: Callable[[int], None] | None = None
) -> bytes:
    """Read a whole request body of at most `limit` bytes.

    Shapes:  `grew` is told how long it is by now, and may refuse it.
    Errors:  BodyTooLarge, as soon as the limit is passed.
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
        if grew is not None:
            grew(size)
        chunks.append(chunk)
        if not message.get("more_body"):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def respond(send: Send, status: int, body: bytes, headers: Headers = (JSON,)) -> None:
    """Answer with a whole body and its length."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


def header(scope: Scope, name: bytes) -> str | None:
    """Give a request header's first value; `name` in lower case."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value).decode("latin-1")
    return None


def header_values(scope: Scope, name: bytes) -> list[str]:
    """Give every value of a request header; `name` in lower case."""
    return [bytes(value).decode("latin-1") for key, value in scope["headers"] if key == name]


def fit_request_id(given: str | None) -> str | None:
    """Give a caller's request id if it may be echoed into headers and logs: if it looks like one."""
    return given if given is not None and _REQUEST_ID.fullmatch(given) else None


logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
