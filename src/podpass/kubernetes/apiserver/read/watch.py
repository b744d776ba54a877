"""Watches: the state first where it is asked for, then each change as one line of JSON, until the time is up.

A watcher is a cursor: what is written for one is written for all that see the same (`views`), and a client
that does not read holds one piece of it at most, until it is cut off.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from podpass.clock import Clock
from podpass.kubernetes import int64
from podpass.kubernetes.apiserver import response
from podpass.kubernetes.apiserver.read import object_response, watch_view
from podpass.kubernetes.apiserver.read.listing import chosen, not_ahead
from podpass.kubernetes.apiserver.read.watch_view import PIECE_BYTES, View, Written
from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.response import Stream
from podpass.kubernetes.apiserver.status import (
    Cause,
    StatusError,
    Why,
    expired,
    invalid_options,
    not_a_number,
)
from podpass.kubernetes.apiserver.storage.fairness import Pace, Turns
from podpass.kubernetes.apiserver.storage.storage import Entry, Store
from podpass.kubernetes.apiserver.storage.watch_cache import ADDED, Expired

_MIN_SECONDS = 1800
_BOOKMARK_SECONDS = 60
# A change is told at once; those that follow it wait for each other, or 200 watchers take all of a core.
_GATHER_SECONDS = 0.02
# A client that reads nothing for so long is let go; it asks again from where it was, or lists.
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a watch sends.

    Shapes:  `first` is the state that is sent before the changes after the revision `start`; `mark`
             says whether a bookmark then ends it.
    """

    view: View
    first: Sequence[Entry]
    start: int
    mark: bool
    bookmarks: bool
    seconds: float


class Watches:
    """Makes the streams, and ends all of them when the server stops."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._written = Written(store, clock)
        self._turns = Turns()
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True
        self._store.history.wake_all()

    def open(self, request: Request) -> Stream:
        """Begin a watch.

        Errors:  StatusError; a revision that is too old is an event of the stream, as clients expect.
        """
        watch = _Watch(self._plan(request), self._store, self._turns, lambda: self._stopping)
        return Stream(200, watch.chunks(), patience=_PATIENCE_SECONDS)

    def _plan(self, request: Request) -> Plan:
        version, initial = _version(request), request.option("sendInitialEvents")
        _check_match(request, initial)
        not_ahead(self._store, version)
        view = self._view(request)
        first = initial == "true" if initial else not version
        entries = self._store.entries(request.kind, request.place[0]) if first else ()
        return Plan(
            view=view,
            first=entries,
            start=self._store.revision if first or not version else version,
            mark=initial == "true",
            bookmarks=request.option("allowWatchBookmarks").lower() in ("true", "1"),
            seconds=_seconds(request),
        )

    def _view(self, request: Request) -> View:
        form, include = response.accepted(request), object_response.include_of(request)
        selectors = request.option("labelSelector"), request.option("fieldSelector")
        return View(
            number=self._written.number(
                (request.kind.resource, request.place[0], *selectors, form, include)
            ),
            kind=request.kind,
            namespace=request.place[0],
            wanted=chosen(request),
            form=form,
            include=include,
            written=self._written,
        )


class _Watch:
    """One watch on its way: how far it has come, and what it has said."""

    def __init__(
        self, plan: Plan, store: Store, turns: Turns, stopping: Callable[[], bool]
    ) -> None:
        self._turns = turns
        self._plan, self._view, self._resource = plan, plan.view, plan.view.kind.resource
        self._store, self._history, self._stopping = store, store.history, stopping
        self._cursor = plan.start
        self._named = False
        self._due = self._marked = 0.0
        self._change: asyncio.Future[None] | None = None

    async def chunks(self) -> AsyncIterator[bytes]:
        """Give lines as they come."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._plan.seconds
        async for lines in self._state():
            yield self._with_columns(lines)
        if self._plan.mark and self._plan.bookmarks:
            yield self._view.bookmark(self._cursor, initial_end=True)
        due = min(end, loop.time() + _BOOKMARK_SECONDS)
        alarm = loop.call_at(due, self._wake)
        try:
            while not self._stopping():
                try:
                    piece = self._view.after(self._cursor)
                except Expired as exc:
                    yield watch_view.error(expired(exc.message))
                    return
                self._cursor = piece.upto
                now = loop.time()
                if piece.lines:
                    yield self._with_columns(piece.lines)
                if now >= due:
                    if self._plan.bookmarks:
                        yield self._view.bookmark(self._cursor)
                    if now >= end:
                        return
                    due = min(end, now + _BOOKMARK_SECONDS)
                    alarm = loop.call_at(due, self._wake)
                if self._history.changed(self._resource) <= self._cursor:
                    await self._next(now + _GATHER_SECONDS if piece.lines else 0.0)
                else:
                    # Whoever is behind goes on one piece a turn of all: 200 at once would take 50 ms.
                    await self._turns.next()
        finally:
            alarm.cancel()

    def _wake(self) -> None:
        if self._change is not None and not self._change.done():
            self._change.set_result(None)

    async def _next(self, not_before: float) -> None:
        """Wait for a change, or for what is due, and until its time has come."""
        self._change = self._history.next_change(self._resource)
        try:
            await self._change
        finally:
            self._history.forget(self._resource, self._change)
        if (left := not_before - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left)

    async def _state(self) -> AsyncIterator[bytes]:
        """Give what is there at the start, in pieces."""
        pace, lines, size = Pace(), list[bytes](), 0
        for entry in self._plan.first:
            if self._view.wanted is None or self._view.wanted(entry.object()):
                lines.append(self._view.line(ADDED, entry.raw))
                size += len(lines[-1])
            if size >= PIECE_BYTES:
                yield b"".join(lines)
                lines, size = [], 0
            await pace.step()
        if lines:
            yield b"".join(lines)

    def _with_columns(self, lines: bytes) -> bytes:
        if self._named:
            return lines
        self._named = True
        return self._view.with_columns(lines)


def _version(request: Request) -> int:
    text = request.option("resourceVersion") or "0"
    version = int64.read(text)
    if text.isdecimal() and version is None:
        raise not_a_number("resourceVersion", text)
    if version is None or version < 0:
        # The real server answers 500 without a reason here, and clients list again.
        raise StatusError(500, "", f"resourceVersion {text[:20]!r} is not a number")
    return version


def _seconds(request: Request) -> float:
    text = request.option("timeoutSeconds") or "0"
    seconds = int64.read(text)
    if seconds is None or seconds < 0:
        raise not_a_number("timeoutSeconds", text)
    # Spread, so that clients do not all come back at once.
    return seconds or _MIN_SECONDS * random.uniform(1, 2)  # noqa: S311 no secret


def _check_match(request: Request, initial: str) -> None:
    """Check how sendInitialEvents and resourceVersionMatch go together.

    Errors:  StatusError 422.
    """
    match, causes = request.option("resourceVersionMatch"), []
    if initial and match != "NotOlderThan":
        told = "sendInitialEvents needs resourceVersionMatch NotOlderThan"
        causes.append(Cause(Why.FORBIDDEN, told, "resourceVersionMatch"))
    if match and not initial:
        told = "is forbidden for watch without sendInitialEvents"
        causes.append(Cause(Why.FORBIDDEN, told, "resourceVersionMatch"))
    if match and match != "NotOlderThan":
        told = f'Unsupported value: "{match}", want "NotOlderThan"'
        causes.append(Cause(Why.NOT_SUPPORTED, told, "resourceVersionMatch"))
    if match and request.option("continue"):
        told = "is forbidden when continue is given"
        causes.append(Cause(Why.FORBIDDEN, told, "resourceVersionMatch"))
    if causes:
        raise invalid_options("ListOptions", causes)
