"""Servers that send exactly what a test gives them: an authority, and a CONNECT proxy."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trustme

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


@dataclass
class RawServer:
    """A server that reads a request and writes fixed bytes, then closes the connection.

    `requests` are the requests so far; `names` are the server names of the TLS handshakes.
    """

    answer: bytes = b""
    is_silent: bool = False
    repeat: bytes = b""
    requests: list[bytes] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    port: int = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append(await read_request(reader))
        writer.write(self.answer)
        while self.repeat and not writer.is_closing():
            writer.write(self.repeat)
            await writer.drain()
            # `drain` may return at once each time; the client is in the same event loop.
            await asyncio.sleep(0)
        if self.is_silent:
            await writer.drain()
            await reader.read()


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Read a request with a body of known length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return head + await reader.readexactly(length)


@asynccontextmanager
async def raw_server(
    made: RawServer, ca: trustme.CA | None = None, *names: str
) -> AsyncIterator[RawServer]:
    """Run a server, with TLS if there is a CA."""
    tls = None
    if ca is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert(*(names or ("localhost",))).configure_cert(tls)
        tls.sni_callback = lambda _socket, name, _context: made.names.append(name)
    async with serving_connections(made.handle, tls) as made.port:
        yield made


@asynccontextmanager
async def serving_connections(
    handler: Handler, tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve connections; cancel those that are open at the end."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError):
            pass  # the client has closed the connection
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(run(reader, writer)))

    server = await asyncio.start_server(start, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
