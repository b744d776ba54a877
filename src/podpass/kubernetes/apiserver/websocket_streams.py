"""Watches and logs by WebSocket: each event, or each part of a log, is a message.

Source: k8s.io/apiserver v0.34 pkg/endpoints/handlers/watch.go, pkg/util/wsstream.
"""

import asyncio
import base64
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from podpass.http import websocket
from podpass.http.upgrade import ByteStream
from podpass.http.websocket import HandshakeError, WebSocket
from podpass.kubernetes.apiserver.auth.websocket_token import without_tokens
from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.response import StreamResponse, UpgradeResponse
from podpass.kubernetes.apiserver.status import StatusError, bad_request
from podpass.tasks import cancel_and_wait

_log = logging.getLogger(__name__)

# A client sends only control frames; its messages are dropped.
_MAX_RECEIVED_BYTES = 4096
# A client confirms the end after it has read everything; a server that stops waits less.
_CLOSE_SECONDS, _STOP_SECONDS = 30.0, 1.0

Upgrader = Callable[[StreamResponse], UpgradeResponse]
"""Returns the response that sends a stream by WebSocket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Encoding:
    """The messages of a stream: one before the stream, if `is_announced`, and those of each chunk."""

    messages: Callable[[bytes], Sequence[bytes]]
    is_text: bool
    is_announced: bool


_EVENTS = _Encoding(
    messages=lambda chunk: chunk.splitlines(keepends=True), is_text=True, is_announced=False
)
_BYTES = _Encoding(messages=lambda chunk: [chunk], is_text=False, is_announced=True)
_BASE64 = _Encoding(
    messages=lambda chunk: [base64.b64encode(chunk)], is_text=True, is_announced=True
)
_LOGS: Mapping[str, _Encoding] = {
    "binary.k8s.io": _BYTES,
    "base64.binary.k8s.io": _BASE64,
    "": _BYTES,
}


class WebSocketStreams:
    """Sends the streams of watches and logs by WebSocket."""

    def __init__(self) -> None:
        self._senders: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    def stop(self) -> None:
        """End all streams."""
        self._is_stopping = True
        for task in self._senders:
            task.cancel()

    def negotiate(self, request: Request) -> Upgrader | None:
        """Check the handshake of a watch or a log; None if the client requests no WebSocket.

        Errors:  StatusError 400, 426.
        """
        is_watch = request.info.verb == "watch"
        offers = websocket.offered_protocols(request.scope)
        if offers is None or not (is_watch or request.info.subresource == "log"):
            return None
        offers = without_tokens(offers)
        if is_watch and len(offers) > 1:
            raise bad_request("a watch by WebSocket can have only one subprotocol")
        supported = offers or [""] if is_watch else list(_LOGS)
        try:
            headers, protocol = websocket.negotiate(request.scope, supported)
        except HandshakeError as exc:
            raise StatusError(exc.status, "BadRequest", exc.message) from exc
        encoding = _EVENTS if is_watch else _LOGS[protocol]
        return lambda result: UpgradeResponse(
            headers, lambda stream: self._relay(stream, result, encoding)
        )

    async def _relay(self, stream: ByteStream, result: StreamResponse, encoding: _Encoding) -> None:
        """Send messages until the stream ends or the client closes the connection."""
        socket = WebSocket(stream, max_message_bytes=_MAX_RECEIVED_BYTES)
        sender = asyncio.create_task(_send(socket, result, encoding))
        receiver = asyncio.create_task(_drop_messages(socket))
        self._senders.add(sender)
        try:
            await asyncio.wait({sender, receiver}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._senders.discard(sender)
            await cancel_and_wait(sender)
            await cancel_and_wait(receiver)
            await socket.close(_STOP_SECONDS if self._is_stopping else _CLOSE_SECONDS)


async def _send(socket: WebSocket, result: StreamResponse, encoding: _Encoding) -> None:
    chunks = result.chunks
    try:
        if encoding.is_announced:  # clients wait for a first message
            await socket.send(b"", text=encoding.is_text)
        async for chunk in chunks:
            for message in encoding.messages(chunk):
                async with asyncio.timeout(result.write_timeout):
                    await socket.send(message, text=encoding.is_text)
    except TimeoutError:
        _log.info("slow_client_disconnected", extra={"seconds": result.write_timeout})
        socket.abort()
    except OSError:
        return  # the client has disconnected
    except Exception:  # noqa: BLE001 a stream that fails must not fail the server
        _log.exception("stream_failed")
    finally:
        if close := getattr(chunks, "aclose", None):
            await close()


async def _drop_messages(socket: WebSocket) -> None:
    with contextlib.suppress(OSError):
        while await socket.receive() is not None:
            pass
