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
MAX_BYTES = 32 * 1024 * 1024
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
             a deletion its last state under the deletion's revision; `before` is None for ADDED, and
             was of revision `replaced`. Both are JSON without `kind` and `apiVersion`.
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
        self.horizon = self._began = horizon
        self._max_events, self._max_bytes = max_events, max_bytes
        self._events: list[Event] = []
        self._start = 0  # events before this index are dropped, and cut off now and then
        self._bytes = 0
        self._changed: dict[str, int] = {}
        self._dropped: dict[str, int] = {}
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    def changed(self, resource: str) -> int:
        """Give the revision of a resource's last change; the first of the window if none is known."""
        return self._changed.get(resource, self._began)

    def append(self, event: Event) -> None:
        self._events.append(event)
        self._changed[event.resource] = event.revision
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
        self._wake(event.resource)

    def since(self, revision: int, resource: str) -> Sequence[Event]:
        """Give the changes of a resource after a revision, oldest first.

        Errors:  Expired, where changes of this resource were dropped; others move no one's window.
        """
        if self.changed(resource) <= revision:
            return ()
        if revision < (horizon := self._dropped.get(resource, self._began)):
            raise Expired(f"too old resource version: {revision} ({horizon + 1})")
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
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        late = loop.call_later(max(seconds, 0), _wake, future)
        for resource in resources:
            self._waiting.setdefault(resource, set()).add(future)
        try:
            await future
        finally:
            late.cancel()
            for resource in resources:
                self.forget(resource, future)

    def next_change(self, resource: str) -> asyncio.Future[None]:
        """Give a future that is done with the resource's next change, for one who has looked just now."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(resource, set()).add(future)
        return future

    def forget(self, resource: str, future: asyncio.Future[None]) -> None:
        """Wait no longer by a future that was given."""
        if resource in self._waiting:
            self._waiting[resource].discard(future)

    def wake_all(self) -> None:
        """Wake every watcher, for a server that stops."""
        for resource in list(self._waiting):
            self._wake(resource)

    def _wake(self, resource: str) -> None:
        for future in self._waiting.pop(resource, ()):
            _wake(future)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
