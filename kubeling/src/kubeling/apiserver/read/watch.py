"""Watch requests: send the current state if requested, then each change as a line of JSON, until the timeout.

A watcher is a cursor into the watch cache. Watchers with the same parameters share encoded chunks (see
`watch_view`). A client that does not read holds at most one chunk, and is disconnected after a timeout.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from kubeling import int64
from kubeling.apiserver import response
from kubeling.apiserver.read import object_response, watch_view
from kubeling.apiserver.read.listing import check_not_future, parse_selectors
from kubeling.apiserver.read.watch_view import CHUNK_BYTES, EncodingCache, WatchView
from kubeling.apiserver.request import Request
from kubeling.apiserver.response import StreamResponse
from kubeling.apiserver.status import (
    Cause,
    CauseType,
    StatusError,
    expired,
    invalid_options,
    not_a_number,
)
from kubeling.apiserver.storage.fairness import CooperativeYield, FairQueue
from kubeling.apiserver.storage.storage import ObjectStore, StoredObject
from kubeling.apiserver.storage.watch_cache import ADDED, ResourceExpired
from kubeling.clock import Clock

_MIN_SECONDS = 1800
_BOOKMARK_SECONDS = 60
# The first change is sent immediately; later changes are batched, or 200 watchers would use a whole core.
_BATCH_SECONDS = 0.02
# A client that does not read for this time is disconnected; it can resume its watch, or list again.
_WRITE_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchPlan:
    """The parameters of a watch.

    `first` is the state that is sent before the changes after the revision `start`; `mark_end` is true if a
    bookmark marks the end of that state.
    """

    view: WatchView
    first: Sequence[StoredObject]
    start: int
    mark_end: bool
    bookmarks: bool
    seconds: float


class WatchHandler:
    """Opens watch streams, and ends all of them when the server stops."""

    def __init__(self, store: ObjectStore, clock: Clock) -> None:
        self._store = store
        self._encodings = EncodingCache(store, clock)
        self._catch_up_queue = FairQueue()
        self._stopping = False
        self._generation = 0

    def restart(self) -> None:
        """End every open watch; its client sends the request again."""
        self._generation += 1
        self._store.watch_cache.wake_all()

    def stop(self) -> None:
        """End every watch."""
        self._stopping = True
        self._store.watch_cache.wake_all()

    def open(self, request: Request) -> StreamResponse:
        """Open a watch stream.

        Raises StatusError; for a revision that is too old the stream has an ERROR event, as clients expect.
        """
        generation = self._generation
        watch = _WatchStream(
            self._plan(request),
            self._store,
            self._catch_up_queue,
            lambda: self._stopping or generation != self._generation or request.info.kind is None,
        )
        return StreamResponse(200, watch.chunks(), write_timeout=_WRITE_TIMEOUT_SECONDS)

    def _plan(self, request: Request) -> WatchPlan:
        version, initial = _requested_version(request), request.option("sendInitialEvents")
        _check_version_match(request, initial)
        check_not_future(self._store, version)
        view = self._view(request)
        first = initial == "true" if initial else not version
        entries = self._store.list_stored(request.kind, request.namespaced_name[0]) if first else ()
        return WatchPlan(
            view=view,
            first=entries,
            start=self._store.revision if first or not version else version,
            mark_end=initial == "true",
            bookmarks=request.option("allowWatchBookmarks").lower() in ("true", "1"),
            seconds=_timeout_seconds(request),
        )

    def _view(self, request: Request) -> WatchView:
        form, include = response.negotiate(request), object_response.include_object(request)
        selectors = request.option("labelSelector"), request.option("fieldSelector")
        return WatchView(
            view_id=self._encodings.view_id(
                (request.kind.type_name, request.namespaced_name[0], *selectors, form, include)
            ),
            kind=request.kind,
            namespace=request.namespaced_name[0],
            predicate=parse_selectors(request),
            form=form,
            include=include,
            encodings=self._encodings,
        )


class _WatchStream:
    """One open watch: its cursor and its timers."""

    def __init__(
        self,
        plan: WatchPlan,
        store: ObjectStore,
        catch_up_queue: FairQueue,
        stopping: Callable[[], bool],
    ) -> None:
        self._catch_up_queue = catch_up_queue
        self._plan, self._view, self._resource = plan, plan.view, plan.view.kind.stored_as
        self._store, self._watch_cache, self._stopping = store, store.watch_cache, stopping
        self._cursor = plan.start
        self._has_sent_columns = False
        self._change: asyncio.Future[None] | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield encoded events in chunks."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._plan.seconds
        async for lines in self._initial_state():
            yield self._with_columns(lines)
        if self._plan.mark_end and self._plan.bookmarks:
            yield self._view.bookmark(self._cursor, initial_end=True)
        bookmark_time = min(end, loop.time() + _BOOKMARK_SECONDS)
        timer = loop.call_at(bookmark_time, self._wake)
        try:
            while not self._stopping():
                try:
                    chunk = self._view.after(self._cursor)
                except ResourceExpired as exc:
                    yield watch_view.error_event(expired(exc.message))
                    return
                self._cursor = chunk.revision
                now = loop.time()
                if chunk.lines:
                    yield self._with_columns(chunk.lines)
                if now >= bookmark_time:
                    if self._plan.bookmarks:
                        yield self._view.bookmark(self._cursor)
                    if now >= end:
                        return
                    bookmark_time = min(end, now + _BOOKMARK_SECONDS)
                    timer = loop.call_at(bookmark_time, self._wake)
                if self._watch_cache.last_change(self._resource) <= self._cursor:
                    await self._wait_for_change(now + _BATCH_SECONDS if chunk.lines else 0.0)
                else:
                    # One chunk per watcher and iteration: 200 chunks at once would block for 50 ms.
                    await self._catch_up_queue.wait()
        finally:
            timer.cancel()

    def _wake(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    async def _wait_for_change(self, not_before: float) -> None:
        """Wait for a change or the timer, and at least until `not_before`."""
        self._change = self._watch_cache.next_change(self._resource)
        try:
            await self._change
        finally:
            self._watch_cache.remove_waiter(self._resource, self._change)
        if (left := not_before - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left)

    async def _initial_state(self) -> AsyncIterator[bytes]:
        """Yield the initial state in chunks."""
        cooperative, lines, size = CooperativeYield(), list[bytes](), 0
        for stored in self._plan.first:
            if self._view.predicate is None or self._view.predicate(stored.object()):
                lines.append(self._view.line(ADDED, stored.raw))
                size += len(lines[-1])
            if size >= CHUNK_BYTES:
                yield b"".join(lines)
                lines, size = [], 0
            await cooperative.yield_if_due()
        if lines:
            yield b"".join(lines)

    def _with_columns(self, lines: bytes) -> bytes:
        if self._has_sent_columns:
            return lines
        self._has_sent_columns = True
        return self._view.with_columns(lines)


def _requested_version(request: Request) -> int:
    text = request.option("resourceVersion") or "0"
    version = int64.parse(text)
    if text.isdecimal() and version is None:
        raise not_a_number("resourceVersion", text)
    if version is None or version < 0:
        # The real server returns 500 without a reason here, and clients list again.
        raise StatusError(500, "", f"resourceVersion {text[:20]!r} is not a number")
    return version


def _timeout_seconds(request: Request) -> float:
    text = request.option("timeoutSeconds") or "0"
    seconds = int64.parse(text)
    if seconds is None or seconds < 0:
        raise not_a_number("timeoutSeconds", text)
    # Random, so that not all clients reconnect at the same time.
    return seconds or _MIN_SECONDS * random.uniform(1, 2)  # noqa: S311 not a secret


def _check_version_match(request: Request, initial: str) -> None:
    """Check the combination of sendInitialEvents, resourceVersionMatch and continue.

    Raises StatusError 422.
    """
    match, causes = request.option("resourceVersionMatch"), []
    if initial and match != "NotOlderThan":
        message = "sendInitialEvents requires resourceVersionMatch NotOlderThan"
        causes.append(Cause(CauseType.FORBIDDEN, message, "resourceVersionMatch"))
    if match and not initial:
        message = "is forbidden for watch without sendInitialEvents"
        causes.append(Cause(CauseType.FORBIDDEN, message, "resourceVersionMatch"))
    if match and match != "NotOlderThan":
        message = f'Unsupported value: "{match}", want "NotOlderThan"'
        causes.append(Cause(CauseType.NOT_SUPPORTED, message, "resourceVersionMatch"))
    if match and request.option("continue"):
        message = "is forbidden when continue is given"
        causes.append(Cause(CauseType.FORBIDDEN, message, "resourceVersionMatch"))
    if causes:
        raise invalid_options("ListOptions", causes)
