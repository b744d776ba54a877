"""The window of recent changes that watches resume from, and how a watcher waits for the next.

A watcher is a cursor into one shared list, so a slow client costs no memory of its own: when the window
has moved past its cursor it is told so (410 at the edge) and lists again.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from podpass.errors import Error

MAX_EVENTS = 20_000
MAX_BYTES = 16 * 1024 * 1024
_OVERHEAD = 512

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"


class Expired(Error):
    """Changes since the wanted revision are no longer remembered."""

    code = "history_expired"
    status = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change of one object.

    Shapes:  `resource` as in `leases.coordination.k8s.io`; `raw` is the object after the change, or for
             a deletion its last state under the deletion's revision; `before` is None for ADDED. Both
             are JSON without `kind` and `apiVersion`.
    """

    revision: int
    type: str
    resource: str
    namespace: str
    name: str
    raw: bytes
    before: bytes | None = None

    @property
    def size(self) -> int:
        """Give what remembering it costs in bytes, the objects around the texts included."""
        return len(self.raw) + len(self.before or b"") + _OVERHEAD

    def object(self) -> dict[str, Any]:
        value: dict[str, Any] = orjson.loads(self.raw)
        return value

    def previous(self) -> dict[str, Any] | None:
        return None if self.before is None else orjson.loads(self.before)


class History:
    """The last changes in order, complete from `horizon` on, bounded in number and in bytes."""

    def __init__(
        self, horizon: int, *, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES
    ) -> None:
        self.horizon = horizon
        self._max_events, self._max_bytes = max_events, max_bytes
        self._events: list[Event] = []
        self._start = 0  # events before this index are dropped, and cut off now and then
        self._bytes = 0
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    def append(self, event: Event) -> None:
        self._events.append(event)
        self._bytes += event.size
        while (
            len(self._events) - self._start > self._max_events or self._bytes > self._max_bytes
        ) and self._start < len(self._events) - 1:
            dropped = self._events[self._start]
            self.horizon, self._bytes = dropped.revision, self._bytes - dropped.size
            self._start += 1
        if self._start * 4 > len(self._events) + 4096:
            del self._events[: self._start]
            self._start = 0
        self._wake(event.resource)

    def since(self, revision: int, resource: str) -> Sequence[Event]:
        """Give the changes of a resource after a revision, oldest first.

        Errors:  Expired.
        """
        if revision < self.horizon:
            raise Expired(f"too old resource version: {revision} ({self.horizon + 1})")
        low, high = self._start, len(self._events)
        while low < high:
            middle = (low + high) // 2
            if self._events[middle].revision <= revision:
                low = middle + 1
            else:
                high = middle
        return [event for event in self._events[low:] if event.resource == resource]

    async def wait(self, resources: Sequence[str], seconds: float) -> None:
        """Return after the next change of one of these resources, or after so many seconds.

        Awaited at once after a look at the store, it misses nothing in between.
        """
        future = asyncio.get_running_loop().create_future()
        waiting = [self._waiting.setdefault(resource, set()) for resource in resources]
        for futures in waiting:
            futures.add(future)
        try:
            await asyncio.wait((future,), timeout=max(seconds, 0))
        finally:
            for futures in waiting:
                futures.discard(future)

    def wake_all(self) -> None:
        """Wake every watcher, for a server that stops."""
        for resource in list(self._waiting):
            self._wake(resource)

    def _wake(self, resource: str) -> None:
        for future in self._waiting.get(resource, ()):
            if not future.done():
                future.set_result(None)
