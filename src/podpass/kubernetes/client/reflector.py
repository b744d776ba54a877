"""A reflector: list, watch, resume at the last resource version, list again when it has expired."""

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
    """The requests that a reflector sends."""

    def pages(
        self, path: str, params: Mapping[str, str] | None = None, *, metadata_only: bool = False
    ) -> AsyncIterator[tuple[list[dict[str, Any]], str]]: ...

    def stream(
        self, path: str, params: Mapping[str, str], seconds: float, *, metadata_only: bool = False
    ) -> AsyncIterator[Event]: ...


class BackOff:
    """Exponential backoff from `first` to `last` seconds, with jitter of 50 % in both directions."""

    def __init__(
        self, first: float = _FIRST_WAIT_SECONDS, last: float = _LAST_WAIT_SECONDS
    ) -> None:
        self._first, self._last, self._next = first, last, first

    def reset(self) -> None:
        self._next = self._first

    async def wait(self) -> None:
        # Jitter, so that many replicas do not reconnect at the same time.
        await asyncio.sleep(self._next * random.uniform(0.5, 1.5))  # noqa: S311 no secret
        self._next = min(self._next * 2, self._last)


def ignore(_: KubeError) -> None:
    """Ignore a failure, because the reflector logs it."""


async def watch(
    source: Source,
    path: str,
    params: Mapping[str, str] | None,
    *,
    metadata_only: bool = False,
    on_failure: Callable[[KubeError], None] = ignore,
) -> AsyncIterator[Event]:
    """Yield the events of a collection until cancelled; see `KubeClient.watch`."""
    known: dict[str, str] = {}
    version = ""
    back_off = BackOff()
    while True:
        try:
            if not version:
                snapshot, latest = ListDiff(known), ""
                async for items, of_all in source.pages(path, params, metadata_only=metadata_only):
                    latest = of_all
                    for event in snapshot.add_page(items):
                        yield event
                for event in snapshot.deleted():
                    yield event
                version = latest  # only now: an interrupted list must start again
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
                # The resource version has expired, or this client may not watch and lists periodically.
                version = ""
            on_failure(exc)
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


class ListDiff:
    """Turns the pages of a list into events, including DELETED for objects that no longer exist.

    `known` maps namespace/name to uid of the objects known before, and is updated.
    """

    def __init__(self, known: dict[str, str]) -> None:
        self._known = known
        self._missing = set(known)

    def add_page(self, items: Sequence[dict[str, Any]]) -> Iterator[Event]:
        """Yield the events of a page; a known name with another uid replaces a deleted object."""
        for item in items:
            key, uid = _key(item), str(item.get("metadata", {}).get("uid", ""))
            self._missing.discard(key)
            before = self._known.get(key)
            if before is not None and before != uid:
                yield _deleted(key, before)
            self._known[key] = uid
            yield "ADDED", item

    def deleted(self) -> Iterator[Event]:
        """Yield DELETED for each known object that was on no page."""
        for key in self._missing:
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
