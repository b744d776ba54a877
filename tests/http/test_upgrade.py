"""A connection that continues with another protocol after a response 101, and messages of a WebSocket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, cast

from podpass.http import server
from podpass.http.server import Receive, Scope, Send
from podpass.http.upgrade import BUFFER_BYTES, ByteStream, offered_upgrade
from podpass.http.websocket import WebSocket

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n"
HEADERS = ((b"connection", b"Upgrade"), (b"upgrade", b"echo"))


class EchoApp:
    """Accepts each offer and echoes the bytes in capitals; counts its sessions."""

    def __init__(self) -> None:
        self.ended = 0

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if (upgrade := offered_upgrade(scope)) is None or scope["path"] == "/refused":
            await server.respond(send, 400, b"{}")
            return
        async with upgrade.accept(HEADERS) as stream:
            while data := await stream.reader.read(1000):
                stream.writer.write(data.upper())
                await stream.writer.drain()
        self.ended += 1


@contextlib.asynccontextmanager
async def connected(
    app: Any, sent: bytes
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    sock = server.bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    async with server.serving(app, sock):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        yield reader, writer
        writer.close()


async def test_bytes_after_the_response_belong_to_the_application() -> None:
    app = EchoApp()
    async with connected(app, REQUEST + b"\r\n") as (reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"upgrade: echo\r\n" in head
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"HELLO"
        writer.write_eof()
        assert await reader.read() == b""
    assert app.ended == 1


async def test_bytes_sent_together_with_the_request_are_not_lost() -> None:
    """Fails if bytes after the head are passed to the HTTP parser."""
    async with connected(EchoApp(), REQUEST + b"\r\nearly") as (reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b" late")
        assert await reader.readexactly(10) == b"EARLY LATE"


async def test_refused_upgrade_gets_an_ordinary_response_and_closes_the_connection() -> None:
    sent = REQUEST.replace(b"GET /", b"GET /refused") + b"\r\n"
    async with connected(EchoApp(), sent) as (reader, _):
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")


async def test_upgraded_connection_ends_when_the_server_stops() -> None:
    app = EchoApp()
    async with connected(app, REQUEST + b"\r\n") as (reader, _):
        await reader.readuntil(b"\r\n\r\n")
        rest = asyncio.create_task(reader.read())
    assert await asyncio.wait_for(rest, 20) == b""
    assert app.ended == 1


async def test_client_that_sends_much_before_the_response_is_disconnected() -> None:
    """Fails without the limit: the bytes would be kept in memory."""
    waiting = asyncio.Event()

    async def slow(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await waiting.wait()

    async with connected(slow, REQUEST + b"\r\n") as (reader, writer):
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                writer.write(b"x" * BUFFER_BYTES)
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 20) == b""
        waiting.set()


# Frames of a client are masked: here by zeros.
EMPTY_START, EMPTY_PART = b"\x02\x80\0\0\0\0", b"\x00\x80\0\0\0\0"
END = b"\x80\x82\0\0\0\0ok"


class Stream:
    """The stream of a client that sends these chunks; it is its own reader and writer."""

    def __init__(self, *chunks: bytes) -> None:
        self.reader = self.writer = self
        self._chunks = list(chunks)

    async def read(self, _: int) -> bytes:
        return self._chunks.pop(0) if self._chunks else b""

    async def drain(self) -> None:
        """Wait for nothing."""


async def test_empty_frames_of_a_message_take_no_memory() -> None:
    stream = Stream(EMPTY_START, *[EMPTY_PART * 100] * 3, END)
    socket = WebSocket(cast("ByteStream", stream), max_message_bytes=4096)
    read, kept = stream.read, list[int]()

    async def count_parts(size: int) -> bytes:
        kept.append(len(socket._parts))
        return await read(size)

    stream.read = count_parts  # type: ignore[method-assign,assignment]
    assert await socket.receive() == b"ok"
    assert kept == [0] * 5
