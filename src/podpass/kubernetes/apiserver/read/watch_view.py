"""What watches show of the changes: written once for all that ask for the same, in pieces of bounded size.

A view is a resource in a namespace, through a selector, in a form. However many watch it, a change is read,
tested and written once; what is kept of that for the others is bounded in bytes, whoever watches what.
Selectors turn changes around: an object that begins to match is ADDED, one that stops is DELETED.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import orjson

from podpass.clock import Clock
from podpass.kubernetes.apiserver.kinds import Kind
from podpass.kubernetes.apiserver.read import object_response
from podpass.kubernetes.apiserver.response import OBJECT, TABLE, Accepted
from podpass.kubernetes.apiserver.selectors import Predicate
from podpass.kubernetes.apiserver.status import StatusError
from podpass.kubernetes.apiserver.storage.storage import Object, Store
from podpass.kubernetes.apiserver.storage.watch_cache import DELETED, MODIFIED, Event

PIECE_BYTES = 32 * 1024
_KEPT_BYTES = 8 * 1024 * 1024
_NAMES_BYTES = 1024 * 1024
_OVERHEAD = 512
_READ_BYTES = 1024 * 1024  # of JSON; objects weigh several times that

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """The newest of what was made, up to so many bytes."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._found: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()

    def get(self, key: Hashable) -> Value | None:
        found = self._found.get(key)
        return None if found is None else found[0]

    def put(self, key: Hashable, value: Value, size: int) -> None:
        """Keep what was not found."""
        self._found[key] = value, size
        self._bytes += size
        while self._bytes > self._most:
            self._bytes -= self._found.popitem(last=False)[1][1]


@dataclass(frozen=True, slots=True)
class Piece:
    """Lines of some changes, and the revision up to which nothing else is to be told."""

    lines: bytes
    upto: int


class Written:
    """What has been read and written of late, for every view."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock = store, clock
        self.pieces: Kept[Piece] = Kept(_KEPT_BYTES)
        self._read: Kept[tuple[Object | None, Object | None]] = Kept(_READ_BYTES)
        self._numbers: Kept[int] = Kept(_NAMES_BYTES)
        self._count = 0

    def number(self, name: tuple[Hashable, ...]) -> int:
        """Give a view's number by its name: what it is of, through which selectors, in which form."""
        number = self._numbers.get(name)
        if number is None:
            self._count = number = self._count + 1
            self._numbers.put(name, number, _OVERHEAD + sum(len(str(part)) for part in name))
        return number

    def read(self, event: Event) -> tuple[Object | None, Object | None]:
        """Give the object before and after a change, for looking only."""
        found = self._read.get(event.revision)
        if found is None:
            after = None if event.type == DELETED else event.object()
            found = event.previous(), after
            self._read.put(event.revision, found, event.size)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One way to look at a resource.

    Shapes:  `number` tells views apart: those of one number show the same.
    """

    number: int
    kind: Kind
    namespace: str
    wanted: Predicate | None
    form: Accepted
    include: str
    written: Written

    def after(self, revision: int) -> Piece:
        """Give what changed after a revision, as much of it as fits into a piece.

        Errors:  history.Expired.
        """
        key = self.number, revision
        if (piece := self.written.pieces.get(key)) is not None:
            return piece
        store = self.written.store
        events = store.history.since(revision, self.kind.resource)
        if not events:
            return Piece(b"", store.revision)
        piece = self._piece(events, store.revision)
        self.written.pieces.put(key, piece, len(piece.lines) + _OVERHEAD)
        return piece

    def _piece(self, events: Sequence[Event], upto: int) -> Piece:
        lines, size = [], 0
        for event in events:
            if size >= PIECE_BYTES:
                break
            lines.append(self._of(event))
            size += len(lines[-1])
        reached = upto if len(lines) == len(events) else events[len(lines) - 1].revision
        return Piece(b"".join(lines), reached)

    def _of(self, event: Event) -> bytes:
        """Write a change, or nothing where it does not concern the view."""
        if self.namespace and event.namespace != self.namespace:
            return b""
        if self.wanted is None:
            return self.line(event.type, event.raw)
        before, after = self.written.read(event)
        was = before is not None and self.wanted(before)
        if after is not None and self.wanted(after):
            return self.line(MODIFIED if was else "ADDED", event.raw)
        return self.line(DELETED, _last(event)) if was else b""

    def line(self, change: str, raw: bytes) -> bytes:
        """Write an object as a change; a table's columns are named by `with_columns`."""
        shown = object_response.in_event(
            self.kind, raw, self.form, self.written.clock(), self.include
        )
        return b'{"type":"%s","object":' % change.encode() + shown + b"}\n"

    def with_columns(self, lines: bytes) -> bytes:
        """Name the columns in the first of some lines: a client is told them once."""
        if self.form.form != TABLE:
            return lines
        first, _, others = lines.partition(b"\n")
        event = orjson.loads(first)
        event["object"]["columnDefinitions"] = object_response.column_definitions(self.kind)
        return orjson.dumps(event) + b"\n" + others

    def bookmark(self, revision: int, *, initial_end: bool = False) -> bytes:
        """Say how far everything has been told."""
        metadata: Object = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        about: Object = {"kind": self.kind.kind, "apiVersion": self.kind.api_version}
        if self.form.form != OBJECT:
            about = {"kind": self.form.form, "apiVersion": f"meta.k8s.io/{self.form.version}"}
        rows: Object = {"columnDefinitions": None, "rows": []} if self.form.form == TABLE else {}
        return _event("BOOKMARK", about | {"metadata": metadata} | rows)


def error(refusal: StatusError) -> bytes:
    """Write a refusal as the last change of a watch."""
    return _event("ERROR", refusal.body())


def _event(change: str, obj: Object) -> bytes:
    return orjson.dumps({"type": change, "object": obj}) + b"\n"


def _last(event: Event) -> bytes:
    """Give the state in which an object still matched, under the revision at which it stopped."""
    last = event.previous() or {}
    last["metadata"]["resourceVersion"] = str(event.revision)
    return orjson.dumps(last)
