"""Watches and logs by WebSocket: each event, or each part of a log, is a message.

Source: k8s.io/apiserver v0.34 pkg/endpoints/handlers/watch.go, pkg/util/wsstream.
"""

import asyncio
import base64
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kubeling.apiserver.auth.authentication import without_tokens
from kubeling.apiserver.request import Request
from kubeling.apiserver.response import PassedOnResponse, StreamResponse
from kubeling.apiserver.status import bad_request
from kubeling.asgi import Headers, Receive, Send, WebSocket
from kubeling.tasks import cancel_and_wait

_log = logging.getLogger(__name__)

Upgrader = Callable[[StreamResponse], PassedOnResponse]
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

    def stop(self) -> None:
        """End all streams."""
        for task in self._senders:
            task.cancel()

    def negotiate(self, request: Request) -> Upgrader | None:
        """Choose the subprotocol of a watch or a log; None if the client requests no WebSocket.

        Raises StatusError 400.
        """
        scope, is_watch = request.scope, request.info.verb == "watch"
        if scope["type"] != "websocket" or not (is_watch or request.info.subresource == "log"):
            return None
        offers = without_tokens(scope.get("subprotocols") or ())
        if is_watch and len(offers) > 1:
            raise bad_request("a watch by WebSocket can have only one subprotocol")
        supported = offers or [""] if is_watch else list(_LOGS)
        protocol = next((offer for offer in offers or [""] if offer in supported), None)
        if protocol is None:
            names = ", ".join(name for name in supported if name)
            raise bad_request(f"none of the offered subprotocols is supported; use {names}")
        encoding = _EVENTS if is_watch else _LOGS[protocol]

        def upgrade(result: StreamResponse) -> PassedOnResponse:
            async def pass_on(receive: Receive, send: Send, headers: Headers) -> None:
                socket = WebSocket(scope, receive, send)
                await socket.accept(protocol, headers)
                await self._relay(socket, result, encoding)

            return PassedOnResponse(pass_on)

        return upgrade

    async def _relay(self, socket: WebSocket, result: StreamResponse, encoding: _Encoding) -> None:
        """Send messages until the stream ends or the client closes the connection."""
        sender = asyncio.create_task(_send(socket, result, encoding))
        receiver = asyncio.create_task(_drop_messages(socket))
        self._senders.add(sender)
        try:
            await asyncio.wait({sender, receiver}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._senders.discard(sender)
            await cancel_and_wait(sender)
            await cancel_and_wait(receiver)
            with contextlib.suppress(OSError):
                await socket.close()


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
        await socket.close(1008)
    except OSError:
        return  # the client has disconnected
    except Exception:  # noqa: BLE001 a stream that fails must not fail the server
        _log.exception("stream_failed")
    finally:
        if close := getattr(chunks, "aclose", None):
            await close()


async def _drop_messages(socket: WebSocket) -> None:
    async for _ in socket.messages():
        pass
