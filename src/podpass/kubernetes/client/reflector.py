"""A watch that lasts: list, follow, resume at the last version, list again after a gap."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from podpass.kubernetes.client.errors import KubeError

_log = logging.getLogger(__name__)

Event = tuple[str, dict[str, Any]]

_WATCH_SECONDS = 300
_FIRST_WAIT_SECONDS = 0.2
_LAST_WAIT_SECONDS = 30.0


class Source(Protocol):
    """What a watch needs of a client."""

    def pages(
        self, path: str, params: Mapping[str, str] | None = None, *, metadata_only: bool = False
    ) -> AsyncIterator[tuple[list[dict[str, Any]], str]]: ...

    def stream(
        self,
        path: str,
        params: Mapping[str, str],
        seconds: float,
        *,
        metadata_only: bool = False,
    ) -> AsyncIterator[Event]: ...


class BackOff:
    """Waits that double from `first` to `last` seconds, each spread by half either way."""

    def __init__(
        self, first: float = _FIRST_WAIT_SECONDS, last: float = _LAST_WAIT_SECONDS
    ) -> None:
        self._first, self._last, self._next = first, last, first

    def reset(self) -> None:
        self._next = self._first

    async def wait(self) -> None:
        # Spread, so that a fleet does not come back in one beat.
        await asyncio.sleep(self._next * random.uniform(0.5, 1.5))  # noqa: S311 no secret
        self._next = min(self._next * 2, self._last)


def unheard(_: KubeError) -> None:
    """Let a failure be, which is logged anyway."""


async def watch(
    source: Source,
    path: str,
    params: Mapping[str, str] | None,
    *,
    metadata_only: bool = False,
    failed: Callable[[KubeError], None] = unheard,
) -> AsyncIterator[Event]:
    """Yield a collection's events for ever; see `KubeClient.watch`."""
    known: dict[str, str] = {}
    version = ""
    back_off = BackOff()
    while True:
        try:
            if not version:
                listing, whole = Listing(known), ""
                async for items, of_all in source.pages(path, params, metadata_only=metadata_only):
                    whole = of_all
                    for event in listing.page(items):
                        yield event
                for event in listing.vanished():
                    yield event
                version = whole  # not before: a list that broke off has to begin anew
                yield "SYNCED", {}
            started, counted = time.monotonic(), 0
            query, seconds = _query(params, version)
            stream = source.stream(path, query, seconds, metadata_only=metadata_only)
            async with aclosing(stream) as events:  # type: ignore[type-var]  # it is an async generator
                async for kind, item in events:
                    counted += 1
                    back_off.reset()
                    version = item.get("metadata", {}).get("resourceVersion") or version
                    if kind != "BOOKMARK":
                        _remember(kind, item, known)
                        yield kind, item
            if counted or time.monotonic() - started > 1:
                continue
        except KubeError as exc:
            if exc.status in (401, 403, 410):
                # Its history is gone, or whoever may not follow reads the whole now and then instead.
                version = ""
            failed(exc)
            _log.log(
                logging.DEBUG if exc.status == 410 else logging.WARNING,
                "watch_interrupted",
                extra={
                    "path": path,
                    "status": exc.status,
                    "reason": exc.reason,
                    "cause": exc.message,
                },
            )
        await back_off.wait()


def _query(params: Mapping[str, str] | None, version: str) -> tuple[dict[str, str], float]:
    seconds = _WATCH_SECONDS + random.randrange(_WATCH_SECONDS)  # noqa: S311 no secret
    query = {
        **(params or {}),
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": version,
        "timeoutSeconds": str(seconds),
    }
    return query, seconds + 30


def _key(item: Mapping[str, Any]) -> str:
    about = item.get("metadata", {})
    return f"{about.get('namespace', '')}/{about.get('name', '')}"


class Listing:
    """Turns a list into events a page at a time, those included that a gap has swallowed.

    Shapes:  `known` is namespace/name to uid of what was seen before, and is brought up to date.
    """

    def __init__(self, known: dict[str, str]) -> None:
        self._known = known
        self._unseen = set(known)

    def page(self, items: Sequence[dict[str, Any]]) -> Iterator[Event]:
        """Tell of what a page holds; an object of a known name and another uid took a deleted one's place."""
        for item in items:
            key, uid = _key(item), str(item.get("metadata", {}).get("uid", ""))
            self._unseen.discard(key)
            before = self._known.get(key)
            if before is not None and before != uid:
                yield _deleted(key, before)
            self._known[key] = uid
            yield "ADDED", item

    def vanished(self) -> Iterator[Event]:
        """Tell of what was on no page."""
        for key in self._unseen:
            yield _deleted(key, self._known.pop(key))


def _deleted(key: str, uid: str) -> Event:
    namespace, _, name = key.partition("/")
    gone = {"name": name, "uid": uid, **({"namespace": namespace} if namespace else {})}
    return "DELETED", {"metadata": gone}


def _remember(kind: str, item: Mapping[str, Any], known: dict[str, str]) -> None:
    if kind == "DELETED":
        known.pop(_key(item), None)
    else:
        known[_key(item)] = str(item.get("metadata", {}).get("uid", ""))
