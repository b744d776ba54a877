"""Server-sent events: each message is what has changed since the last one, at most one screen of lines.

A slow reader is sent fewer and not older messages: nothing is queued, because each message is made from the
timeline when the reader takes it. Of listings, a message says only that they have changed: the page reads
them again.
"""

import asyncio
import hashlib
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic as _now

from podpass.console import pages
from podpass.console.fixes import KnownObjects
from podpass.console.model import ConsoleSource
from podpass.console.pages import PageContext
from podpass.console.timeline import ExchangeTrace, Timeline
from podpass.errors import Error
from podpass.http.server import Receive, Send

POLL_SECONDS = 0.4
LISTING_SECONDS = 2.0
# The check whether a listing has changed takes at most this part of the time.
_LISTING_SHARE = 0.05
# Views whose data is read as a whole.
LISTINGS = ("refusals", "pods", "identities", "graph", "audit")
# After 14 seconds, an event keeps the connection open and reveals one that has ended. A page that gets no
# event for 45 seconds says that it is not connected: the process may be stopped.
_IDLE_POLLS = 36
_ALIVE = "event: alive\ndata: alive\n\n"
_FORM = re.compile(r"([A-Za-z0-9_-]{1,16})\.([0-9]{1,15})\.([0-9]{1,15})")
_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]


@dataclass(frozen=True, slots=True)
class Cursor:
    """The position of a reader: revision of the timeline, and number of the last line.

    `run` identifies the run of the process, so that a position in another one is not used; the text form is
    the ID of an event. `resets` is true for the position in another run: the lines of the page are then not
    those of this process, and are replaced.
    """

    run: str
    revision: int
    number: int
    resets: bool = False

    def __str__(self) -> str:
        return f"{self.run}.{self.revision}.{self.number}"


@dataclass(slots=True)
class _Revision:
    """The revision of a listing, and until when it is not read again."""

    text: str = ""
    until: float = 0.0
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)


class LiveView:
    """Makes the messages for the readers of one console."""

    def __init__(self, source: ConsoleSource) -> None:
        self._source = source
        self.run = secrets.token_urlsafe(6)
        self._revisions = {view: _Revision() for view in LISTINGS}

    def cursor(self) -> Cursor:
        """Return the position after everything that the timeline has now."""
        timeline = self._source.timeline
        return Cursor(self.run, timeline.revision, timeline.last_number)

    def parse(self, text: str) -> Cursor:
        """Return the position in an event's ID; that of an earlier run is the beginning of this one."""
        found = _FORM.fullmatch(text)
        if found is None or found[1] != self.run:
            return Cursor(self.run, 0, 0, resets=found is not None)
        return Cursor(self.run, int(found[2]), int(found[3]))

    async def message(self, context: PageContext, view: str, after: Cursor, pod: str = "") -> str:
        """Return what a view must change after a position; empty for nothing.

        `pod` is NAMESPACE/NAME if the page shows only its exchanges.
        """
        timeline = self._source.timeline
        if timeline.revision == after.revision and not after.resets:
            return ""
        limit = pages.MAX_ROWS.get(view, 0)
        is_list = view in ("loop", "exchanges")
        known = await self.known_objects() if is_list else KnownObjects()
        return pages.render_part(
            context,
            "update",
            view=view,
            resets=after.resets,
            stages=pages.stage_rows(timeline),
            exchanges=pages.exchange_rows(
                timeline.newest(limit, after=after.number, pod=pod) if is_list else ()
            ),
            changed=pages.exchange_rows(_changed(timeline, after, limit, pod) if is_list else ()),
            names=known.names,
        ).strip()

    async def known_objects(self) -> KnownObjects:
        """Return identities, vaults and names; nothing if they cannot be read."""
        try:
            return await self._source.known_objects()
        except Error:  # commands then have placeholders, and GUIDs have no names
            return KnownObjects()

    async def stream(
        self,
        send: Send,
        context: PageContext,
        view: str,
        after: Cursor,
        seen: str,
        wait: Callable[[float], Awaitable[bool]],
        pod: str = "",
    ) -> None:
        """Send messages until `wait` returns False: the reader is disconnected, or the session has ended.

        `seen` is the revision of the listing in the page, or empty.
        """
        await send({"type": "http.response.start", "status": 200, "headers": _STREAM})
        await self._send(send, ": connected\n\n")
        idle = 0
        while True:
            await self._source.refresh()
            # Read the position before the message is built, so that later hops are in the next one.
            position = self.cursor()
            text = await self.message(context, view, after, pod)
            event = format_event(text, str(position)) if text else ""
            after = position
            now = await self.revision(view) or seen
            if now != seen:
                event += f"event: changed\ndata: {view}\n\n" if seen else ""
                seen = now
            idle = 0 if event else idle + 1
            if event or idle % _IDLE_POLLS == 0:
                await self._send(send, event or _ALIVE)
            try:
                if not await wait(POLL_SECONDS):
                    break
            except Error:
                # The session cannot be checked now: the page connects again.
                await self._send(send, "", more=False)
                return
        await self._send(send, "event: ended\ndata: ended\n\n", more=False)

    async def revision(self, view: str) -> str:
        """Return a text that changes when a listing does; empty for other views, and if it cannot be read.

        It is read for all readers together, and less often if reading takes long.
        """
        known = self._revisions.get(view)
        if known is None:
            return ""
        async with known.reading:
            begun = _now()
            if begun >= known.until:
                try:
                    found = repr(await self._read_revision(view))
                    known.text = hashlib.sha256(found.encode("utf-8", "replace")).hexdigest()[:16]
                except Error:
                    known.text = ""
                now = _now()
                known.until = now + max(LISTING_SECONDS, (now - begun) / _LISTING_SHARE)
        return known.text

    async def _read_revision(self, view: str) -> object:
        if view != "refusals":
            return await self._source.revision(view)
        # Numbers of refusals begin again with each run.
        return self.run, [each.number for each in self._source.timeline.refusals][-1:]

    async def _send(self, send: Send, text: str, *, more: bool = True) -> None:
        body = text.encode("utf-8", "replace")
        await send({"type": "http.response.body", "body": body, "more_body": more})


def _changed(timeline: Timeline, after: Cursor, limit: int, pod: str) -> list[ExchangeTrace]:
    found = timeline.changed_since(after.revision, limit, pod)
    return [each for each in found if each.number <= after.number]


def format_event(data: str, position: str) -> str:
    """Format one event; each line of the data gets its own field."""
    lines = "".join(f"data: {line}\n" for line in data.splitlines())
    return f"id: {position}\n{lines}\n"


def wait_for_end(
    receive: Receive, stopping: asyncio.Event, is_signed_in: Callable[[], Awaitable[bool]]
) -> Callable[[float], Awaitable[bool]]:
    """Return a function that waits, and returns False when the stream must end."""
    gone = asyncio.ensure_future(_disconnected(receive))

    async def wait(seconds: float) -> bool:
        stop = asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait({gone, stop}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        is_open = not gone.done() and not stopping.is_set() and await is_signed_in()
        if not is_open:
            gone.cancel()
        return is_open

    return wait


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
