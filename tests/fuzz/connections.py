"""Our HTTP connection without a socket, and the same bytes parsed by h11."""

import asyncio
from typing import Any

import h11
from uvicorn.server import ServerState

from podpass.http.connection import Config, Connection
from podpass.http.server import Limits
from tests.http.manual_loop import FakeTransport

TINY = Limits(head_bytes=2048, head_seconds=10, body_seconds=10, connections=8)
Request = tuple[str, str]


class RecordingConnection:
    """A connection whose application records its requests."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.requests: list[Request] = []
        self._loop = loop
        config = Config(self._app, interface="asgi3", ws="none", lifespan="off", log_config=None)
        config.limits = TINY
        config.load()
        self._wire = FakeTransport(loop)
        self._connection = Connection(config, ServerState(), {}, _loop=loop)
        self._connection.connection_made(self._wire)

    async def _app(self, scope: Any, _receive: Any, send: Any) -> None:
        self.requests.append((scope["method"], scope["raw_path"].decode("latin-1")))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def feed(self, data: bytes) -> None:
        """Pass bytes to the connection and run the event loop for a moment."""
        if not self._wire.is_closing():
            self._connection.data_received(data)
        for _ in range(4):
            self._loop.call_soon(self._loop.stop)
            self._loop.run_forever()

    @property
    def answered(self) -> bool:
        """Return whether the application's response to the first request was sent."""
        return self._wire.written.startswith(b"HTTP/1.1 200")

    @property
    def unread(self) -> int:
        return 0 if self._wire.is_closing() else self._connection._unread


def first_request(data: bytes) -> Request | None:
    """Return the first request as h11 parses it; None if h11 refuses it or needs more data."""
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    try:
        reader.receive_data(data)
        event = reader.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.Request):
        return None
    return event.method.decode("latin-1"), event.target.decode("latin-1")
