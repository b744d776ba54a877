"""ASGI 3: the types of an application, and functions that read requests and send responses."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol
from urllib.parse import quote

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]


class BodyTooLarge(Exception):
    """A request body exceeds the limit."""


class ByteStream(AbstractAsyncContextManager["ByteStream"], Protocol):
    """Both directions of an upgraded connection; the context closes it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Upgrade(Protocol):
    """The offer of a server to continue a connection with another protocol, such as SPDY."""

    def accept(self, headers: Headers) -> ByteStream:
        """Send the response 101, and return the connection."""


def offered_upgrade(scope: Scope) -> Upgrade | None:
    """Return the offer of the server; None if it has none, or the client requests no other protocol.

    ASGI has no upgrade apart from WebSocket. A server that can pass a connection on says so in the extension
    `http.upgrade`; uvicorn does not.
    """
    return (scope.get("extensions") or {}).get("http.upgrade")


def raw_path(scope: Scope) -> str:
    """Return the path as the client sent it; a server may pass only the decoded one."""
    raw = scope.get("raw_path")
    return quote(scope["path"]) if raw is None else bytes(raw).decode("latin-1")


def header(scope: Scope, name: bytes) -> str | None:
    """Return the first value of a request header; `name` in lower case."""
    return next(iter(header_values(scope, name)), None)


def header_values(scope: Scope, name: bytes) -> list[str]:
    """Return all values of a request header; `name` in lower case."""
    return [bytes(value).decode("latin-1") for key, value in scope["headers"] if key == name]


async def read_body(receive: Receive, limit: int) -> bytes:
    """Read a whole request body of at most `limit` bytes.

    Raises BodyTooLarge: as soon as the limit is exceeded.
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
            raise BodyTooLarge(f"the body is longer than {limit} bytes")
        chunks.append(chunk)
        if not message.get("more_body"):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def wait_for_disconnect(receive: Receive) -> None:
    """Wait until the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def respond(scope: Scope, send: Send, status: int, body: bytes, headers: Headers) -> None:
    """Send a response with a complete body; to a WebSocket handshake, this is the refusal."""
    prefix = "websocket.http" if scope["type"] == "websocket" else "http"
    if prefix != "http" and f"{prefix}.response" not in (scope.get("extensions") or {}):
        await send(
            {
                "type": "websocket.close",
                "code": 1008,
                "reason": body[:120].decode("utf-8", "replace"),
            }
        )
        return
    length = [] if status == 204 else [(b"content-length", str(len(body)).encode())]
    await send(
        {"type": f"{prefix}.response.start", "status": status, "headers": [*headers, *length]}
    )
    await send({"type": f"{prefix}.response.body", "body": body})


class WebSocket:
    """The server side of a WebSocket: messages of an ASGI scope of type `websocket`."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.offers: Sequence[str] = scope.get("subprotocols") or ()
        self.protocol = ""
        self._is_closed = False

    async def accept(self, protocol: str, headers: Headers = ()) -> None:
        """Complete the handshake with a subprotocol; empty if there is none."""
        # The server passes the event of the handshake before the first message.
        await self._receive()
        self.protocol = protocol
        await self._send(
            {"type": "websocket.accept", "subprotocol": protocol or None, "headers": list(headers)}
        )

    async def receive(self) -> bytes | None:
        """Return the next message, text or binary; None after the client has closed the connection."""
        if self._is_closed:
            return None
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self._is_closed = True
            return None
        data, text = message.get("bytes"), message.get("text")
        return data if data is not None else (text or "").encode()

    async def messages(self) -> AsyncIterator[bytes]:
        """Yield messages until the client closes the connection."""
        while (message := await self.receive()) is not None:
            yield message

    async def send(self, data: bytes, *, text: bool = False) -> None:
        """Send a message, and wait while the client does not read.

        Raises OSError: the connection is closed.
        """
        if self._is_closed:
            raise ConnectionResetError("the WebSocket is closed")
        await self._send(
            {"type": "websocket.send", "text": data.decode()}
            if text
            else {"type": "websocket.send", "bytes": data}
        )

    async def close(self, code: int = 1000) -> None:
        """Close the connection, unless the client has closed it."""
        if not self._is_closed:
            self._is_closed = True
            await self._send({"type": "websocket.close", "code": code})
