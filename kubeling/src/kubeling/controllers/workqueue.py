"""A work queue of keys with a due time, as in client-go: each key is queued at most once.

A key that is added while a worker processes it is processed again afterwards, never twice at the same time.
"""

import asyncio
import contextlib
import heapq
from collections.abc import Callable

from kubeling.errors import Error

Key = tuple[str, str, str]
"""Controller, namespace and name."""

_FIRST_SECONDS = 0.05
_LONGEST_SECONDS = 60.0


class RequeueError(Error):
    """The reconcile recorded a failure and must be repeated with backoff."""

    code = "controller_requeue"


class WorkQueue:
    """Holds keys with the time at which each is due, in seconds of the given clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._running: set[Key] = set()
        self._failed: dict[Key, int] = {}
        self._wake = asyncio.Event()

    def add(self, key: Key, delay: float = 0.0) -> None:
        """Add a key that is due after `delay`; keep an earlier due time of the same key."""
        when = self._clock() + delay
        if (known := self._due.get(key)) is not None and known <= when:
            return
        self._due[key] = when
        heapq.heappush(self._heap, (when, key))
        self._wake.set()

    def add_rate_limited(self, key: Key) -> None:
        """Add a key again with exponential backoff."""
        count = self._failed[key] = self._failed.get(key, 0) + 1
        self.add(key, min(_FIRST_SECONDS * 2 ** (count - 1), _LONGEST_SECONDS))

    def forget(self, key: Key) -> None:
        self._failed.pop(key, None)

    async def get(self) -> Key:
        """Wait for the next key that is due and that no worker processes."""
        while True:
            key, wait = self._next()
            if key is not None and wait == 0.0:
                del self._due[key]  # its entry in the heap is now stale
                self._running.add(key)
                return key
            self._wake.clear()
            # Not `wait_for`: in Python 3.11 it loses a cancellation that arrives together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()

    def _next(self) -> tuple[Key | None, float | None]:
        """Return the first key that no worker processes, and the seconds until it is due."""
        blocked: list[tuple[float, Key]] = []
        found: Key | None = None
        wait: float | None = None
        while self._heap and found is None:
            when, key = self._heap[0]
            if self._due.get(key) != when:
                heapq.heappop(self._heap)  # already returned, or another entry is due earlier
            elif key in self._running:
                blocked.append(heapq.heappop(self._heap))
            else:
                found, wait = key, max(when - self._clock(), 0.0)
        for each in blocked:
            heapq.heappush(self._heap, each)
        return found, wait

    def done(self, key: Key) -> None:
        """Allow a key to be processed again."""
        self._running.discard(key)
        self._wake.set()
