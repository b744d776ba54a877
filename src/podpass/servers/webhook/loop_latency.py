"""For how long the event loop kept everybody waiting: the longest time of the last minute or two.

late   how late a tick came, whoever was to blame: this process, its limit of processor time, a neighbour
own    how much of that this process itself was computing
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from podpass.tasks import beside

_TICK_SECONDS = 0.05
_WINDOW_SECONDS = 60.0


class Longest:
    """The greatest value of this window and the one before."""

    def __init__(self) -> None:
        self._now = self._before = 0.0

    @property
    def value(self) -> float:
        return max(self._now, self._before)

    def see(self, value: float) -> None:
        self._now = max(self._now, value)

    def turn(self) -> None:
        """Begin another window."""
        self._before, self._now = self._now, 0.0


class Stalls:
    """A tick that measures how late it comes, in seconds."""

    def __init__(self) -> None:
        self.late, self.own = Longest(), Longest()

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Measure for as long as the context lasts."""
        async with beside(self._tick(), "stalls"):
            yield

    async def _tick(self) -> None:
        turn = time.monotonic() + _WINDOW_SECONDS
        while True:
            began, used = time.monotonic(), time.thread_time()
            await asyncio.sleep(_TICK_SECONDS)
            late = max(time.monotonic() - began - _TICK_SECONDS, 0.0)
            self.late.see(late)
            self.own.see(min(late, time.thread_time() - used))
            if began >= turn:
                self.late.turn()
                self.own.turn()
                turn = began + _WINDOW_SECONDS
