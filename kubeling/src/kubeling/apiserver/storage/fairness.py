"""Split long work into short parts, so that other requests do not wait for its end."""

import asyncio
from time import monotonic

_SLICE_SECONDS = 0.005


class CooperativeYield:
    """Yields to the event loop after every few milliseconds of work."""

    def __init__(self) -> None:
        self._since = monotonic()

    @property
    def is_due(self) -> bool:
        return monotonic() - self._since >= _SLICE_SECONDS

    async def yield_if_due(self) -> None:
        """Let other tasks run if this task has worked for its time slice."""
        if self.is_due:
            await asyncio.sleep(0)
            self._since = monotonic()


class FairQueue:
    """Lets concurrent requests continue in order, one request per event-loop iteration."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def wait(self) -> None:
        """Wait until earlier callers have continued, then for one event-loop iteration."""
        async with self._lock:
            await asyncio.sleep(0)
