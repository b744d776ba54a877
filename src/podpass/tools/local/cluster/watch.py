"""Watches: the state first where it is asked for, then each change as one line of JSON, until the time is up.

Selectors turn changes around: an object that begins to match is ADDED, one that stops is DELETED.
"""

import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson

from podpass.clock import Clock
from podpass.tools.local import integer
from podpass.tools.local.cluster import answer, render
from podpass.tools.local.cluster.answer import TABLE, Accepted, Stream
from podpass.tools.local.cluster.history import ADDED, DELETED, MODIFIED, Event, Expired
from podpass.tools.local.cluster.listing import chosen, not_ahead
from podpass.tools.local.cluster.request import Request
from podpass.tools.local.cluster.selectors import Predicate
from podpass.tools.local.cluster.status import (
    Cause,
    StatusError,
    Why,
    expired,
    invalid_options,
    not_a_number,
)
from podpass.tools.local.cluster.store import Store

_MIN_SECONDS = 1800
_BOOKMARK_SECONDS = 60
# Shorter than any burst could move the window past a watcher of a quiet kind.
_LOOK_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a watch sends.

    Shapes:  `start` is the revision after which changes count; `first` says whether the state at the
             start is sent before them, `mark` whether a bookmark then ends it.
    """

    start: int
    first: bool
    mark: bool
    bookmarks: bool
    seconds: float
    wanted: Predicate | None
    form: Accepted


class Watches:
    """Makes the streams, and ends all of them when the server stops."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True
        self._store.history.wake_all()

    def open(self, request: Request) -> Stream:
        """Begin a watch.

        Errors:  StatusError; a revision that is too old is an event of the stream, as clients expect.
        """
        return Stream(200, self._chunks(request, self._plan(request)))

    def _plan(self, request: Request) -> Plan:
        version, initial = _version(request), request.option("sendInitialEvents")
        match = request.option("resourceVersionMatch")
        if initial and match != "NotOlderThan":
            raise _bad_match("sendInitialEvents needs resourceVersionMatch NotOlderThan")
        if match and not initial:
            raise _bad_match(
                "resourceVersionMatch is forbidden for watch without sendInitialEvents"
            )
        not_ahead(self._store, version)
        first = initial == "true" if initial else not version
        return Plan(
            start=self._store.revision if first or not version else version,
            first=first,
            mark=initial == "true",
            bookmarks=request.option("allowWatchBookmarks").lower() in ("true", "1"),
            seconds=_seconds(request),
            wanted=chosen(request),
            form=answer.accepted(request),
        )

    async def _chunks(self, request: Request, plan: Plan) -> AsyncIterator[bytes]:
        lines = _Lines(request, plan, self._clock)
        cursor, end = plan.start, time.monotonic() + plan.seconds
        if plan.first:
            for entry in self._store.entries(request.kind, request.place[0]):
                if plan.wanted is None or plan.wanted(entry.object()):
                    yield lines.line(ADDED, entry.raw)
        if plan.mark and plan.bookmarks:
            yield lines.bookmark(cursor, initial_end=True)
        marked = time.monotonic()
        while not self._stopping:
            upto = self._store.revision
            try:
                events = self._store.history.since(cursor, request.kind.resource)
            except Expired as exc:
                yield lines.error(expired(exc.message))
                return
            cursor = upto
            if chunk := b"".join(lines.of(event) for event in events):
                yield chunk
            now = time.monotonic()
            if plan.bookmarks and (now >= marked + _BOOKMARK_SECONDS or now >= end):
                yield lines.bookmark(cursor)
                marked = now
            if now >= end:
                return
            if upto == self._store.revision:  # nothing happened while the client was reading
                wait = min(_LOOK_SECONDS, end - now)
                await self._store.history.wait((request.kind.resource,), wait)


class _Lines:
    """Writes events for one watch."""

    def __init__(self, request: Request, plan: Plan, clock: Clock) -> None:
        self._request, self._plan, self._clock = request, plan, clock
        self._headed = False

    def of(self, event: Event) -> bytes:
        """Write a change, or nothing where it does not concern the watch."""
        namespace = self._request.place[0]
        if namespace and event.namespace != namespace:
            return b""
        if (wanted := self._plan.wanted) is None:
            return self.line(event.type, event.raw)
        before = event.previous()
        was = before is not None and wanted(before)
        now = event.type != DELETED and wanted(event.object())
        if now:
            return self.line(MODIFIED if was else ADDED, event.raw)
        if not was or before is None:
            return b""
        before["metadata"]["resourceVersion"] = str(event.revision)
        return self.line(DELETED, orjson.dumps(before))

    def line(self, kind: str, raw: bytes) -> bytes:
        shown = render.in_event(
            self._request, self._request.kind, raw, self._plan.form, self._clock
        )
        if self._plan.form.form == TABLE:
            shown = self._once_headed(shown)
        return b'{"type":"%s","object":' % kind.encode() + shown + b"}\n"

    def _once_headed(self, shown: bytes) -> bytes:
        """A watched table names its columns in its first event only."""
        if self._headed:
            return orjson.dumps(orjson.loads(shown) | {"columnDefinitions": None})
        self._headed = True
        return shown

    def bookmark(self, revision: int, *, initial_end: bool = False) -> bytes:
        metadata: dict[str, object] = {
            "resourceVersion": str(revision),
            "creationTimestamp": None,
        }
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        kind = self._request.kind
        about = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata}
        return orjson.dumps({"type": "BOOKMARK", "object": about}) + b"\n"

    def error(self, error: StatusError) -> bytes:
        return orjson.dumps({"type": "ERROR", "object": error.body()}) + b"\n"


def _version(request: Request) -> int:
    text = request.option("resourceVersion") or "0"
    version = integer.read(text)
    if text.isdecimal() and version is None:
        raise not_a_number("resourceVersion", text)
    if version is None or version < 0:
        # The real server answers 500 without a reason here, and clients list again.
        raise StatusError(500, "", f"resourceVersion {text[:20]!r} is not a number")
    return version


def _seconds(request: Request) -> float:
    text = request.option("timeoutSeconds") or "0"
    seconds = integer.read(text)
    if seconds is None or seconds < 0:
        raise not_a_number("timeoutSeconds", text)
    # Spread, so that clients do not all come back at once.
    return seconds or _MIN_SECONDS * random.uniform(1, 2)  # noqa: S311 no secret


def _bad_match(message: str) -> StatusError:
    return invalid_options("ListOptions", [Cause(Why.FORBIDDEN, message, "resourceVersionMatch")])
