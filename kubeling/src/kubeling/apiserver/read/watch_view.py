"""Watch views: encode changes once for all watchers with the same parameters, in chunks of bounded size.

A view is a resource in a namespace, with a selector and an output format. A change is decoded, filtered and
encoded once for all watchers of a view. The caches for that are bounded in bytes. With a selector, an
object that starts to match is ADDED, and an object that no longer matches is DELETED.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import orjson

from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.read import object_response
from kubeling.apiserver.response import OBJECT, TABLE, OutputFormat
from kubeling.apiserver.selectors import Predicate
from kubeling.apiserver.status import StatusError
from kubeling.apiserver.storage.fairness import CooperativeYield
from kubeling.apiserver.storage.storage import Object, ObjectStore
from kubeling.apiserver.storage.watch_cache import DELETED, MODIFIED, WatchEvent
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
