"""A thin layer over uvicorn and raw ASGI: listeners, bounded bodies, JSON answers, clean stops.

Servers run inside a loop that already runs; signals belong to the process that owns the loop.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
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


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which also tells the application the client's certificate (DER)."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        tls = self.transport.get_extra_info("ssl_object")
        if tls is not None:
            self.scope["extensions"] = {"tls": {"client_cert": tls.getpeercert(binary_form=True)}}


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
) -> AsyncIterator[None]:
    """Serve an ASGI application on a socket for as long as the context lasts, then drain.

    Errors:  RuntimeError if the server ends by itself.
    """
    config = uvicorn.Config(
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


logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
