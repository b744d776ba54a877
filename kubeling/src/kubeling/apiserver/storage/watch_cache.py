"""The watch cache: the recent changes that watches resume from, and how a watcher waits for the next change.

A watcher is a cursor into one shared list, so a slow client needs no memory of its own. When the changes
after its cursor were dropped, the client gets 410 and must list again. Pages of an earlier state expire after
five minutes, as with etcd's compaction.
"""

import asyncio
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from kubeling.errors import Error

MAX_EVENTS = 20_000
MAX_BYTES = 32 * 1024 * 1024
COMPACTION_SECONDS = 300.0
_MARK_SECONDS = 60.0
_EVENT_OVERHEAD_BYTES = 512

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"


class ResourceExpired(Error):
    """The watch cache no longer holds all changes since the requested revision."""

    code = "resource_expired"
    status = 410


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchEvent:
    """One change of one object.

    `resource` is as in `leases.coordination.k8s.io`; `raw` is the object after the change, or for a deletion
    its last state with the revision of the deletion; `before` is the object at the revision `replaced`, None
    for ADDED. Both are JSON without `kind` and `apiVersion`.
    """

    revision: int
    type: str
    resource: str
    namespace: str
    name: str
    raw: bytes
    before: bytes | None = None
    replaced: int = 0

    @property
    def size(self) -> int:
        """Return the memory that the event needs, in bytes, with the overhead of its Python objects."""
        return len(self.raw) + len(self.before or b"") + _EVENT_OVERHEAD_BYTES

    def object(self) -> dict[str, Any]:
        """Decode the object after the change."""
        value: dict[str, Any] = orjson.loads(self.raw)
        return value

    def previous(self) -> dict[str, Any] | None:
        """Decode the object before the change."""
        return None if self.before is None else orjson.loads(self.before)


class WatchCache:
    """The recent changes in order, complete after the revision `horizon`, bounded in number and in bytes.

    The states before the revision `compacted` cannot be listed. `clock` returns seconds.
    """

    def __init__(
        self,
        horizon: int,
        *,
        max_events: int = MAX_EVENTS,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.horizon = self._first_revision = horizon
        self._clock = clock
        self.compacted = 0
        self._marks = deque[tuple[float, int]]()  # times, and the revisions at these times
        self._max_events, self._max_bytes = max_events, max_bytes
        self._events: list[WatchEvent] = []
        # Events before this index are dropped; the list is shortened from time to time.
        self._start = 0
        self._bytes = 0
        self._last_changes: dict[str, int] = {}
        self._dropped: dict[str, int] = {}
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    def last_change(self, resource: str) -> int:
        """Return the revision of a resource's last change, or the revision at the start of the cache."""
        return self._last_changes.get(resource, self._first_revision)

    def append(self, event: WatchEvent) -> None:
        """Add a change, drop the oldest changes beyond the limits, and wake the watchers of the resource."""
        self._events.append(event)
        self._last_changes[event.resource] = event.revision
        self._bytes += event.size
        while (
            len(self._events) - self._start > self._max_events or self._bytes > self._max_bytes
        ) and self._start < len(self._events) - 1:
            dropped = self._events[self._start]
            self._dropped[dropped.resource] = self.horizon = dropped.revision
            self._bytes -= dropped.size
            self._start += 1
        if self._start * 4 > len(self._events) + 4096:
            del self._events[: self._start]
            self._start = 0
        now = self._clock()
        if not self._marks or now - self._marks[-1][0] >= _MARK_SECONDS:
            self._marks.append((now, event.revision))
        while now - self._marks[0][0] >= COMPACTION_SECONDS:
            _, self.compacted = self._marks.popleft()
        self.wake(event.resource)

    def require_listable(self, revision: int) -> None:
        """Raise ResourceExpired if the state at this revision can no longer be listed."""
        if revision < self.compacted:
            raise ResourceExpired(f"too old resource version: {revision} ({self.compacted})")

    def events_since(self, revision: int, resource: str) -> Sequence[WatchEvent]:
        """Return the changes of a resource after a revision, oldest first.

        Raises ResourceExpired if changes of this resource after the revision were dropped; dropped changes of
        other resources do not count.
        """
        if self.last_change(resource) <= revision:
            return ()
        if revision < (horizon := self._dropped.get(resource, self._first_revision)):
            raise ResourceExpired(f"too old resource version: {revision} ({horizon + 1})")
        first = bisect_right(self._events, revision, self._start, key=lambda each: each.revision)
        return [event for event in self._events[first:] if event.resource == resource]

    async def wait(self, resources: Sequence[str], seconds: float) -> None:
        """Return after the next change of one of these resources, or after a number of seconds.

        A caller that awaits this directly after it read the store misses no change.
        """
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        timer = loop.call_later(max(seconds, 0), _complete, future)
        for resource in resources:
            self._waiting.setdefault(resource, set()).add(future)
        try:
            await future
        finally:
            timer.cancel()
            for resource in resources:
                self.remove_waiter(resource, future)

    def next_change(self, resource: str) -> asyncio.Future[None]:
        """Return a future that completes at the resource's next change."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(resource, set()).add(future)
        return future

    def remove_waiter(self, resource: str, future: asyncio.Future[None]) -> None:
        """Remove a future that `next_change` returned."""
        if resource in self._waiting:
            self._waiting[resource].discard(future)

    def wake(self, resource: str) -> None:
        """Wake the watchers of a resource; each checks whether the resource is still served."""
        for future in self._waiting.pop(resource, ()):
            _complete(future)

    def wake_all(self) -> None:
        """Wake every watcher, because the server stops."""
        for resource in list(self._waiting):
            self.wake(resource)


def _complete(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
