"""An event loop with a manual clock, and a connection without a socket: timeouts without waiting."""

import asyncio
from typing import Any, cast

from uvicorn.server import ServerState

from podpass.http.connection import Config, Connection
from podpass.http.limits import Limits
from podpass.http.server import App


class ManualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time changes only by `run_for`."""

    now = 0.0

    def time(self) -> float:
        """Return the manual time."""
        return self.now

    def run_for(self, seconds: float) -> None:
        """Run callbacks and timers until the time has advanced by this much."""
        end = self.now + seconds
        while True:
            self._run_ready()
            timers: list[asyncio.TimerHandle] = cast("Any", self)._scheduled
            due = [
                timer.when() for timer in timers if not timer.cancelled() and timer.when() <= end
            ]
            if not due:
                break
            self.now = max(self.now, min(due))
        self.now = end

    def _run_ready(self) -> None:
        self.call_soon(self.stop)
        self.run_forever()
        while cast("Any", self)._ready:
            self.call_soon(self.stop)
            self.run_forever()


class FakeTransport(asyncio.Transport):
    """A transport that records what is written, and when it is closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self._loop = loop
        self.written = b""
        self.closed_at: float | None = None

    def write(self, data: Any) -> None:
        if self.closed_at is None:
            self.written += bytes(data)

    def close(self) -> None:
        if self.closed_at is None:
            self.closed_at = self._loop.time()

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self.closed_at is not None

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...


class FakeClient:
    """A client that sends parts of requests at exact times."""

    def __init__(self, app: App, limits: Limits, keep_alive_seconds: int = 75) -> None:
        self.loop = ManualLoop()
        config = Config(
            app,
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            date_header=False,
            timeout_keep_alive=keep_alive_seconds,
        )
        config.limits = limits
        config.load()
        self.transport = FakeTransport(self.loop)
        self._connection = Connection(config, ServerState(), {}, _loop=self.loop)
        self._connection.connection_made(self.transport)

    def send(self, data: bytes, *, then: float = 0.0) -> None:
        """Send data, unless the server has closed the connection; then advance the time."""
        if data and self.transport.closed_at is None:
            self._connection.data_received(data)
        self.loop.run_for(then)

    def close(self) -> None:
        """Close the connection and the loop."""
        self._connection.connection_lost(None)
        self.loop.run_for(0)
        self.loop.close()
