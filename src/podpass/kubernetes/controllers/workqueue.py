"""What is to be looked at, each thing once however often it changed, and when.

A thing that is being looked at and changes meanwhile is looked at again afterwards, never twice at once.
"""

import asyncio
import contextlib
import heapq
from collections.abc import Callable

from podpass.errors import Error

Key = tuple[str, str, str]
"""Controller, namespace and name."""

_FIRST_SECONDS = 0.05
_LONGEST_SECONDS = 60.0


class Again(Error):
    """A look did not reach what it wanted, and told of it; it is to be repeated, later each time."""

    code = "controller_again"


class Queue:
    """Keys with the moment each is due.

    Units:   seconds, on the clock that is handed in.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._running: set[Key] = set()
        self._failed: dict[Key, int] = {}
        self._news = asyncio.Event()

    def add(self, key: Key, delay: float = 0.0) -> None:
        """Have a key looked at in so long; if it is due before that already, it stays so."""
        when = self._clock() + delay
        if (known := self._due.get(key)) is not None and known <= when:
            return
        self._due[key] = when
        heapq.heappush(self._heap, (when, key))
        self._news.set()

    def failed(self, key: Key) -> None:
        """Have a key looked at again, later each time it fails in a row."""
        count = self._failed[key] = self._failed.get(key, 0) + 1
        self.add(key, min(_FIRST_SECONDS * 2 ** (count - 1), _LONGEST_SECONDS))

    def succeeded(self, key: Key) -> None:
        self._failed.pop(key, None)

    async def take(self) -> Key:
        """Wait for the next key that is due and not being looked at."""
        while True:
            key, wait = self._next()
            if key is not None and wait == 0.0:
                del self._due[key]  # its place in the heap means nothing from now on
                self._running.add(key)
                return key
            self._news.clear()
            # Not `wait_for`: in Python 3.11 it forgets that it was cancelled if there is news just then.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._news.wait()

    def _next(self) -> tuple[Key | None, float | None]:
        """Find the first key that is not being looked at, and how long it has to wait."""
        held: list[tuple[float, Key]] = []
        found: Key | None = None
        wait: float | None = None
        while self._heap and found is None:
            when, key = self._heap[0]
            if self._due.get(key) != when:
                heapq.heappop(self._heap)  # taken already, or due earlier by another entry
            elif key in self._running:
                held.append(heapq.heappop(self._heap))
            else:
                found, wait = key, max(when - self._clock(), 0.0)
        for each in held:
            heapq.heappush(self._heap, each)
        return found, wait

    def done(self, key: Key) -> None:
        """Let a key be looked at again."""
        self._running.discard(key)
        self._news.set()
