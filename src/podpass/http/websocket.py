"""WebSockets (RFC 6455) for ASGI applications: messages over the bytes of an upgraded connection.

The library parses and builds frames; reading and writing is done here, so that a slow client slows down the
sender and a slow receiver slows down the client.
"""

import asyncio
import logging
from collections.abc import MutableMapping
from typing import Any, Self, TypeGuard

from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State
from websockets.utils import accept_key

from podpass.errors import Error
from podpass.http.server import App, Scope, Send, header, header_values, respond
from podpass.http.upgrade import ByteStream, Upgrade

# Go's library, which the API server uses, accepts messages of this size; clients send a file as one message.
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
_CHUNK = 64 * 1024
# A client confirms the close after it has read everything; a slow one needs some time.
_CLOSE_SECONDS = 30.0
_TEXT = (b"content-type", b"text/plain; charset=utf-8")
_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)
# The library logs the content of each frame at level DEBUG: what users type, and files with secrets.
_SILENT = logging.Logger("websocket", logging.CRITICAL)  # noqa: LOG001 with no handler


class HandshakeError(Error):
    """A request that cannot become a WebSocket, with the HTTP status of the response."""

    code = "websocket_handshake_failed"

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


async def run_websocket(app: App, scope: Scope, send: Send, upgrade: Upgrade) -> None:
    """Complete a handshake, and run an application with an ASGI scope of type `websocket`."""
    try:
        key = _check_handshake(scope)
    except HandshakeError as exc:
        await respond(send, exc.status, exc.message.encode() + b"\n", (_TEXT,))
    else:
        await _Adapter(upgrade, key, send).run(app, scope)


def _check_handshake(scope: Scope) -> str:
    """Return the key of a handshake.

    Raises:
        HandshakeError
    """
    key = header(scope, b"sec-websocket-key") or ""
    if scope["method"] != "GET" or len(key) != 24:
        raise HandshakeError("not a WebSocket handshake")
    if header(scope, b"sec-websocket-version") != "13":
        raise HandshakeError("only version 13 of WebSocket is supported", 426)
    return key


class _Adapter:
    """One WebSocket as an ASGI application sees it: events of the handshake, of messages and of the end."""

    def __init__(self, upgrade: Upgrade, key: str, send: Send) -> None:
        self._upgrade, self._key, self._send_http = upgrade, key, send
        self._socket: WebSocket | None = None
        self._is_connected = False

    async def run(self, app: App, scope: Scope) -> None:
        """Run the application, and close the connection."""
        offers = ",".join(header_values(scope, b"sec-websocket-protocol"))
        websocket_scope = {
            **scope,
            "type": "websocket",
            "scheme": "wss" if scope["scheme"] == "https" else "ws",
            "subprotocols": [offer.strip() for offer in offers.split(",") if offer.strip()],
            "extensions": {**(scope.get("extensions") or {}), "websocket.http.response": {}},
        }
        try:
            await app(websocket_scope, self._receive, self._send)
        finally:
            if self._socket is not None:
                await self._socket.close()

    async def _receive(self) -> dict[str, Any]:
        if not self._is_connected:
            self._is_connected = True
            return {"type": "websocket.connect"}
        if self._socket is None or (message := await self._socket.receive()) is None:
            return {"type": "websocket.disconnect", "code": 1005}
        return {"type": "websocket.receive", "bytes": message}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        match message["type"]:
            case "websocket.accept":
                headers = [
                    (b"upgrade", b"websocket"),
                    (b"connection", b"Upgrade"),
                    (b"sec-websocket-accept", accept_key(self._key).encode()),
                    *message.get("headers", ()),
                ]
                if protocol := message.get("subprotocol"):
                    headers.append((b"sec-websocket-protocol", protocol.encode()))
                self._socket = WebSocket(self._upgrade.accept(headers))
            case "websocket.send":
                assert self._socket is not None
                text = message.get("text")
                data = message["bytes"] if text is None else text.encode()
                await self._socket.send(data, text=text is not None)
            case "websocket.close" if self._socket is not None:
                await self._socket.close()
            case "websocket.close":
                await respond(self._send_http, 403, b"", ())
            case kind:  # a response to the handshake that is not 101
                await self._send_http({**message, "type": kind.removeprefix("websocket.")})


class WebSocket:
    """Messages of an accepted WebSocket; use it as a context, which closes the connection."""

    def __init__(self, stream: ByteStream, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._stream = stream
        self._frames = Protocol(
            Side.SERVER, state=State.OPEN, max_size=max_message_bytes, logger=_SILENT
        )
        self._events: list[Frame] = []
        self._parts: list[bytes] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def receive(self) -> bytes | None:
        """Return the next message, text or binary; None after the client has closed the connection."""
        while True:
            while self._events:
                if (message := self._take_frame(self._events.pop(0))) is not None:
                    return message
            try:
                data = await self._stream.reader.read(_CHUNK)
            except OSError:
                return None
            if not data or self._frames.parser_exc is not None:
                return None
            self._frames.receive_data(data)
            self._events += filter(_is_data, self._frames.events_received())
            # The answers to pings and to the close frame.
            await self._flush()
            if self._frames.close_rcvd is not None and not self._events:
                return None

    async def send(self, data: bytes, *, text: bool = False) -> None:
        """Send a message, and wait while the client does not read.

        Raises ConnectionError if the connection is closed.
        """
        try:
            if text:
                self._frames.send_text(data)
            else:
                self._frames.send_binary(data)
        except InvalidState as exc:
            raise ConnectionResetError("the WebSocket is closed") from exc
        await self._flush()

    async def ping(self) -> None:
        """Send a ping, which detects a disconnected client. Raises ConnectionError."""
        if self._frames.state is State.OPEN:
            self._frames.send_ping(b"")
            await self._flush()

    def abort(self) -> None:
        """Close the connection without a close frame, for a client that does not read."""
        self._stream.writer.transport.abort()

    async def close(self, seconds: float = _CLOSE_SECONDS) -> None:
        """Send a close frame, wait for that of the client, and close the connection."""
        async with self._stream:
            try:
                async with asyncio.timeout(seconds):
                    if self._frames.state is State.OPEN:
                        self._frames.send_close(1000)
                        await self._flush()
                    while self._frames.close_rcvd is None and await self.receive() is not None:
                        pass
            except (OSError, TimeoutError):
                return

    def _take_frame(self, frame: Frame) -> bytes | None:
        """Return a message that this frame completes."""
        if frame.data:  # no limit of the size applies to empty frames
            self._parts.append(bytes(frame.data))
        if not frame.fin:
            return None
        message, self._parts = b"".join(self._parts), []
        return message

    async def _flush(self) -> None:
        for data in self._frames.data_to_send():
            if data:
                self._stream.writer.write(data)
        await self._stream.writer.drain()


def _is_data(event: object) -> TypeGuard[Frame]:
    return isinstance(event, Frame) and event.opcode in _DATA
