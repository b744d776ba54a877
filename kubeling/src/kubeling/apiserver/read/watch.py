"""Watch requests: send the current state if requested, then each change as a line of JSON, until the timeout.

A watcher is a cursor into the watch cache. Watchers with the same parameters share a view: a
change is decoded, filtered and encoded once for all of them, and the caches for that are bounded in bytes.
With a selector, an object that starts to match is ADDED, and an object that no longer matches is DELETED. A
client that does not read holds at most one chunk, and is disconnected after a timeout.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import orjson

from kubeling import int64
from kubeling.apiserver import response
from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.read import object_response
from kubeling.apiserver.read.listing import check_not_future, parse_selectors
from kubeling.apiserver.request import Request
from kubeling.apiserver.response import OBJECT, TABLE, OutputFormat, StreamResponse
from kubeling.apiserver.selectors import Predicate
from kubeling.apiserver.status import (
    Cause,
    CauseType,
    StatusError,
    expired,
    invalid_options,
    not_a_number,
)
from kubeling.apiserver.storage.fairness import CooperativeYield, FairQueue
from kubeling.apiserver.storage.storage import Object, ObjectStore, StoredObject
from kubeling.apiserver.storage.watch_cache import (
    ADDED,
    DELETED,
    MODIFIED,
    ResourceExpired,
    WatchEvent,
)
from kubeling.clock import Clock

CHUNK_BYTES = 32 * 1024
_CHUNK_CACHE_BYTES = 8 * 1024 * 1024
_ID_CACHE_BYTES = 1024 * 1024
_ENTRY_OVERHEAD_BYTES = 512
_DECODED_CACHE_BYTES = 1024 * 1024  # of JSON; decoded objects use several times that

Value = TypeVar("Value")


class BoundedCache(Generic[Value]):
    """A cache of the newest values, bounded in bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes, self._bytes = max_bytes, 0
        self._found: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()

    def get(self, key: Hashable) -> Value | None:
        """Return a value; None if it is not in the cache."""
        found = self._found.get(key)
        return None if found is None else found[0]

    def put(self, key: Hashable, value: Value, size: int) -> None:
        """Add a value that was not in the cache; drop the oldest values above the limit."""
        self._found[key] = value, size
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._bytes -= self._found.popitem(last=False)[1][1]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Encoded events, and the revision up to which they are complete."""

    lines: bytes
    revision: int


class EncodingCache:
    """Caches of decoded objects and encoded chunks, for all views."""

    def __init__(self, store: ObjectStore, clock: Clock) -> None:
        self.store, self.clock = store, clock
        self.chunks: BoundedCache[Chunk] = BoundedCache(_CHUNK_CACHE_BYTES)
        self._decoded: BoundedCache[tuple[Object | None, Object | None]] = BoundedCache(
            _DECODED_CACHE_BYTES
        )
        self._ids: BoundedCache[int] = BoundedCache(_ID_CACHE_BYTES)
        self._count = 0

    def view_id(self, name: tuple[Hashable, ...]) -> int:
        """Return the id of a view by its parameters: resource, namespace, selectors and output format."""
        view_id = self._ids.get(name)
        if view_id is None:
            self._count = view_id = self._count + 1
            self._ids.put(
                name, view_id, _ENTRY_OVERHEAD_BYTES + sum(len(str(part)) for part in name)
            )
        return view_id

    def decode(self, event: WatchEvent) -> tuple[Object | None, Object | None]:
        """Return the object before and after a change; the caller must not modify them."""
        found = self._decoded.get(event.revision)
        if found is None:
            after = None if event.type == DELETED else event.object()
            found = event.previous(), after
            self._decoded.put(event.revision, found, event.size)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchView:
    """A resource in a namespace, with a selector and an output format.

    Views with the same `view_id` have the same parameters.
    """

    view_id: int
    kind: Kind
    namespace: str
    predicate: Predicate | None
    form: OutputFormat
    include: str
    encodings: EncodingCache

    def after(self, revision: int) -> Chunk:
        """Return the changes after a revision, up to the size of a chunk. Raises ResourceExpired."""
        key = self.view_id, revision
        if (chunk := self.encodings.chunks.get(key)) is not None:
            return chunk
        store = self.encodings.store
        events = store.watch_cache.events_since(revision, self.kind.stored_as)
        if not events:
            return Chunk(b"", store.revision)
        chunk = self._build_chunk(events, store.revision)
        self.encodings.chunks.put(key, chunk, len(chunk.lines) + _ENTRY_OVERHEAD_BYTES)
        return chunk

    def _build_chunk(self, events: Sequence[WatchEvent], revision: int) -> Chunk:
        lines, size, cooperative = list[bytes](), 0, CooperativeYield()
        for event in events:
            # A selector may match none of 20,000 events, and each can take a millisecond.
            if size >= CHUNK_BYTES or (lines and cooperative.is_due):
                break
            lines.append(self._encode(event))
            size += len(lines[-1])
        chunk_revision = revision if len(lines) == len(events) else events[len(lines) - 1].revision
        return Chunk(b"".join(lines), chunk_revision)

    def _encode(self, event: WatchEvent) -> bytes:
        """Encode a change; return nothing if it does not concern the view."""
        if self.namespace and event.namespace != self.namespace:
            return b""
        if self.predicate is None:
            return self.line(event.type, event.raw)
        before, after = self.encodings.decode(event)
        matched = before is not None and self.predicate(before)
        if after is not None and self.predicate(after):
            return self.line(MODIFIED if matched else "ADDED", event.raw)
        return self.line(DELETED, _last_match(event)) if matched else b""

    def line(self, change: str, raw: bytes) -> bytes:
        """Encode an object as an event; `with_columns` adds the column definitions of a table."""
        raw = object_response.in_version(self.kind, raw)
        shown = object_response.encode_in_event(
            self.kind, raw, self.form, self.encodings.clock(), self.include
        )
        return b'{"type":"%s","object":' % change.encode() + shown + b"}\n"

    def with_columns(self, lines: bytes) -> bytes:
        """Add column definitions to the first event: a client gets them once."""
        if self.form.form != TABLE:
            return lines
        first, _, others = lines.partition(b"\n")
        event = orjson.loads(first)
        event["object"]["columnDefinitions"] = object_response.column_definitions(self.kind)
        return orjson.dumps(event) + b"\n" + others

    def bookmark(self, revision: int, *, initial_end: bool = False) -> bytes:
        """Encode a bookmark: all changes up to this revision were sent."""
        metadata: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        type_meta: Object = {"kind": self.kind.kind, "apiVersion": self.kind.api_version}
        if self.form.form != OBJECT:
            type_meta = {"kind": self.form.form, "apiVersion": f"meta.k8s.io/{self.form.version}"}
        rows: Object = {"columnDefinitions": None, "rows": []} if self.form.form == TABLE else {}
        return _event("BOOKMARK", type_meta | {"metadata": metadata} | rows)


def error_event(exc: StatusError) -> bytes:
    """Encode an error as the last event of a watch."""
    return _event("ERROR", exc.body())


def _event(change: str, obj: Object) -> bytes:
    return orjson.dumps({"type": change, "object": obj}) + b"\n"


def _last_match(event: WatchEvent) -> bytes:
    """Return the last state that matched, with the revision at which the object no longer matched."""
    last = event.previous() or {}
    last["metadata"]["resourceVersion"] = str(event.revision)
    return orjson.dumps(last)


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
                    yield error_event(expired(exc.message))
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
