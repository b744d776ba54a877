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
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from podpass.errors import Error

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
_STOP_SECONDS = 2
_REQUEST_ID = re.compile(r"[0-9A-Za-z_.-]{1,64}")


class PortInUse(Error):
    """Another program listens where we were asked to."""

    code = "port_in_use"
    hint = "stop that program, or choose other ports with --port-base N (0 takes free ones)"


class BodyTooLarge(Error):
    """A request body is over its limit."""

    code = "body_too_large"
    status = 413


def bind(host: str, port: int) -> socket.socket:
    """Open a listening socket; port 0 takes a free one.

    Errors:  PortInUse.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(1024)
        sock.setblocking(False)
    except OSError as exc:
        sock.close()
        raise PortInUse(f"cannot listen on {host}:{port}: {exc.strerror}", port=port) from exc
    return sock


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much and how long a client may take to send a request; answers may take as long as they like.

    Units:   `head_seconds` from a connection, or the first byte of a later request, to the end of that
             request's head; `body_seconds` without a byte of the body; `connections` at a time.
    """

    head_bytes: int = 64 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    connections: int = 4096


class _Config(uvicorn.Config):
    """uvicorn's configuration, with limits of ours."""

    limits = Limits()


_IDLE, _HEAD, _BODY, _REFUSED = range(4)
_TOO_LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which also bounds what it reads and tells the client's certificate (DER).

    uvicorn times only a connection that waits for another request, and holds a head of any length: a
    head sent by the byte would hold its connection for ever, one sent by the megabyte all memory.

    One timer a connection, not one a request: it is moved only when it fires, or when it would fire late.
    """

    _phase = _IDLE
    _unread = 0  # bytes that came since the parser last gave us something whole
    _due: float | None = None
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        assert isinstance(self.config, _Config)
        self._limits = self.config.limits
        if len(self.connections) > self._limits.connections:
            transport.abort()
        else:
            self._expect(self._limits.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due, self._phase = None, _REFUSED
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._phase == _REFUSED:
            return
        self._unread += len(data)
        super().data_received(data)
        if self._phase != _REFUSED and self._unread > self._limits.head_bytes:
            self._refuse()
        elif self._phase == _IDLE and self._due is None and self._answered():
            # A bare line break begins no request, and has ended uvicorn's own patience.
            self._expect(self._limits.head_seconds)

    def on_message_begin(self) -> None:
        self._phase = _HEAD
        self._expect(self._limits.head_seconds)
        super().on_message_begin()
        tls = self.transport.get_extra_info("ssl_object")
        if tls is not None:
            self.scope["extensions"] = {"tls": {"client_cert": tls.getpeercert(binary_form=True)}}

    def on_headers_complete(self) -> None:
        # Rarely counted: what came is most often less than the limit as a whole.
        if self._unread > self._limits.head_bytes and self._head_size() > self._limits.head_bytes:
            self._refuse()
        if self._phase == _REFUSED:
            return
        self._phase, self._unread = _BODY, 0
        self._expect(self._limits.body_seconds)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._phase == _BODY:
            self._unread = 0
            self._due = self.loop.time() + self._limits.body_seconds
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._phase == _BODY:
            self._phase, self._unread, self._due = _IDLE, 0, None
            super().on_message_complete()

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _refuse(self) -> None:
        in_head = self._phase != _BODY and self._answered()
        self._phase = _REFUSED
        if in_head and not self.transport.is_closing():
            self.transport.write(_TOO_LONG)
        self.transport.close()

    def _expect(self, seconds: float) -> None:
        """Give the client so long for what is awaited now."""
        self._due = due = self.loop.time() + seconds
        if self._timer is not None and self._timer.when() > due:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self.loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._due is None or self.transport.is_closing():
            return
        # Not the client's fault: we stopped reading, or the head was sent ahead of an answer.
        waits = self.flow.read_paused or (self._phase != _BODY and not self._answered())
        now = self.loop.time()
        if waits:
            self._due = max(self._due, now + self._limits.head_seconds)
        if now < self._due:
            self._timer = self.loop.call_at(self._due, self._look)
        else:
            self.transport.abort()


class _Server(uvicorn.Server):
    """uvicorn's server, asleep until it is told to stop: its own loop wakes ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = asyncio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._told.wait()

    def stop(self) -> None:
        self.should_exit = True
        self._told.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(
    app: App,
    sock: socket.socket,
    tls: ssl.SSLContext | None = None,
    *,
    keep_alive_seconds: int = 75,
    limits: Limits = Limits(),
) -> AsyncIterator[None]:
    """Serve an ASGI application on a socket for as long as the context lasts, then drain.

    Errors:  RuntimeError if the server ends by itself.
    """
    config = _Config(
        app,
        http=_Protocol,
        interface="asgi3",  # told, since a guess takes bound methods for something else
        proxy_headers=False,  # nobody stands before us whose X-Forwarded-* would be true
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=keep_alive_seconds,
        timeout_graceful_shutdown=_STOP_SECONDS,
        ssl_context_factory=(lambda _config, _default: tls) if tls is not None else None,
    )
    config.limits = limits
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        while not server.started:
            if task.done():
                raise RuntimeError("the server stopped while starting") from task.exception()
            await asyncio.sleep(0.001)
        yield
    finally:
        server.stop()
        await task
        sock.close()


def server_tls(certificate: str, key: str, *, client_ca: str | None = None) -> ssl.SSLContext:
    """Make a TLS 1.2+ server context; with `client_ca`, clients may present certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


async def read_body(receive: Receive, limit: int) -> bytes:
    """Read a whole request body of at most `limit` bytes.

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
