"""Watches and refusals of a small API server."""

import asyncio

import orjson

from podpass.http.server import Receive, Send, respond


class Watches:
    """The open watches of a server."""

    def __init__(self) -> None:
        self._open: set[asyncio.Queue[bytes | None]] = set()

    def notify(self, line: bytes | None) -> None:
        """Send a line to every watch; None ends them."""
        for watch in self._open:
            watch.put_nowait(line)

    async def serve(self, receive: Receive, send: Send) -> None:
        """Answer the request of a watch until it ends."""
        lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._open.add(lines)
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"\n", "more_body": True})
        disconnected = asyncio.create_task(_is_disconnected(receive, lines))
        while (line := await lines.get()) is not None:
            await send({"type": "http.response.body", "body": line, "more_body": True})
        self._open.discard(lines)
        disconnected.cancel()
        await send({"type": "http.response.body", "body": b""})


async def _is_disconnected(receive: Receive, lines: asyncio.Queue[bytes | None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    lines.put_nowait(None)


async def respond_status(send: Send, code: int) -> None:
    """Refuse a request with a Status."""
    body = {"kind": "Status", "code": code, "reason": "Whatever", "message": "as the server says"}
    await respond(send, code, orjson.dumps(body))
