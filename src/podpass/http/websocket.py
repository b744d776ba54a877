"""The server side of a WebSocket (RFC 6455): messages over the bytes of an upgraded connection.

The library parses and builds frames; reading and writing is done here, so that a slow client slows down the
sender and a slow receiver slows down the client.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Self, TypeGuard

from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State
from websockets.utils import accept_key

from podpass.errors import Error
from podpass.http.request_validation import Headers
from podpass.http.server import Scope, header, header_values
from podpass.http.upgrade import ByteStream, offered_upgrade

__all__ = ["HandshakeError", "WebSocket", "accept", "negotiate", "offered_protocols"]

# Go's library, which the API server uses, accepts messages of this size; clients send a file as one message.
MAX_MESSAGE_BYTES = 32 * 1024 * 1024
_CHUNK = 64 * 1024
# A client confirms the close after it has read everything; a slow one needs some time.
_CLOSE_SECONDS = 30.0
_DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)
# The library logs the content of each frame at level DEBUG: what users type, and files with secrets.
_SILENT = logging.Logger("websocket", logging.CRITICAL)  # noqa: LOG001 with no handler


class HandshakeError(Error):
    """A request that cannot become a WebSocket, with the HTTP status of the response."""

    code = "websocket_handshake_failed"

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def offered_protocols(scope: Scope) -> list[str] | None:
    """Return the subprotocols that a client offers for a WebSocket; None if it requests no WebSocket."""
    if (header(scope, b"upgrade") or "").lower() != "websocket" or offered_upgrade(scope) is None:
        return None
    offers = ",".join(header_values(scope, b"sec-websocket-protocol"))
    return [offer.strip() for offer in offers.split(",") if offer.strip()]


def accept(scope: Scope, supported: Sequence[str]) -> "WebSocket":
    """Complete the handshake with the first offered subprotocol that is supported.

    Errors:  HandshakeError.
    """
    headers, chosen = negotiate(scope, supported)
    upgrade = offered_upgrade(scope)
    assert upgrade is not None
    return WebSocket(upgrade.accept(headers), chosen)


def negotiate(scope: Scope, supported: Sequence[str]) -> tuple[Headers, str]:
    """Return the headers of the response to a handshake, and the first offered subprotocol that is supported.

    Shapes:  `supported` contains an empty string if a client may offer none.
    Errors:  HandshakeError.
    """
    offers = offered_protocols(scope)
    key = header(scope, b"sec-websocket-key") or ""
    if offers is None or scope["method"] != "GET" or len(key) != 24:
        raise HandshakeError("not a WebSocket handshake")
    if header(scope, b"sec-websocket-version") != "13":
        raise HandshakeError("only version 13 of WebSocket is supported", 426)
    chosen = next((offer for offer in offers or [""] if offer in supported), None)
    if chosen is None:
        names = ", ".join(name for name in supported if name)
        raise HandshakeError(f"none of the offered subprotocols is supported; use {names}")
    headers = [
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-accept", accept_key(key).encode()),
    ]
    if chosen:
        headers.append((b"sec-websocket-protocol", chosen.encode()))
    return headers, chosen


class WebSocket:
    """Messages of an accepted WebSocket; use it as a context, which closes the connection."""

    def __init__(
        self, stream: ByteStream, protocol: str = "", max_message_bytes: int = MAX_MESSAGE_BYTES
    ) -> None:
        self._stream = stream
        self.protocol = protocol
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

        Errors:  ConnectionError if the connection is closed.
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
        """Send a ping, which detects a disconnected client.

        Errors:  ConnectionError.
        """
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
