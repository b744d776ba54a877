"""Measure event-loop lag: the maximum of the last one to two minutes.

total how late a tick ran, for any cause: this process, its CPU limit, or another process process the part of
that time in which this process itself used the CPU
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from podpass.tasks import background_task

_TICK_SECONDS = 0.05
_WINDOW_SECONDS = 60.0


class RollingMax:
    """The maximum of the current and the previous window."""

    def __init__(self) -> None:
        self._now = self._before = 0.0

    @property
    def value(self) -> float:
        return max(self._now, self._before)

    def observe(self, value: float) -> None:
        self._now = max(self._now, value)

    def rotate(self) -> None:
        """Begin the next window."""
        self._before, self._now = self._now, 0.0


class LoopLag:
    """Measures how late a periodic tick runs, in seconds."""

    def __init__(self) -> None:
        self.total, self.process = RollingMax(), RollingMax()

    @contextlib.asynccontextmanager
    async def measuring(self) -> AsyncIterator[None]:
        """Measure until the context ends."""
        async with background_task(self._tick(), "loop lag"):
            yield

    async def _tick(self) -> None:
        window_end = time.monotonic() + _WINDOW_SECONDS
        while True:
            began, used = time.monotonic(), time.thread_time()
            await asyncio.sleep(_TICK_SECONDS)
            late = max(time.monotonic() - began - _TICK_SECONDS, 0.0)
            self.total.observe(late)
            self.process.observe(min(late, time.thread_time() - used))
            if began >= window_end:
                self.total.rotate()
                self.process.rotate()
                window_end = began + _WINDOW_SECONDS
