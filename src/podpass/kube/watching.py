"""A watch that lasts: list, follow, resume at the last version, list again after a gap."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from podpass.kube.errors import KubeError

_log = logging.getLogger(__name__)

Event = tuple[str, dict[str, Any]]

_WATCH_SECONDS = 300
_FIRST_WAIT_SECONDS = 0.2
_LAST_WAIT_SECONDS = 30.0


class Source(Protocol):
    """What a watch needs of a client."""

    async def list(
        self, path: str, params: Mapping[str, str] | None = None
    ) -> tuple[list[dict[str, Any]], str]: ...

    def stream(
        self, path: str, params: Mapping[str, str], seconds: float
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


async def watch(
    source: Source, path: str, params: Mapping[str, str] | None
) -> AsyncIterator[Event]:
    """Yield a collection's events for ever; see `KubeClient.watch`."""
    known: dict[str, str] = {}
    version = ""
    back_off = BackOff()
    while True:
        try:
            if not version:
                items, version = await source.list(path, params)
                for event in listed(items, known):
                    yield event
                yield "SYNCED", {}
            started, counted = time.monotonic(), 0
            query, seconds = _query(params, version)
            async with aclosing(source.stream(path, query, seconds)) as events:  # type: ignore[type-var]  # it is an async generator
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
            if exc.status == 410:
                version = ""  # the history before this version is gone
            _log.log(
                logging.DEBUG if exc.status == 410 else logging.WARNING,
                "watch_interrupted",
                extra={"path": path, "status": exc.status, "reason": exc.reason},
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


def listed(items: Sequence[dict[str, Any]], known: dict[str, str]) -> list[Event]:
    """Turn a list into events, those included that a gap has swallowed.

    Shapes:  `known` is namespace/name to uid of what was seen before, and is brought up to date.
    """
    events: list[Event] = []
    found = {_key(item): str(item.get("metadata", {}).get("uid", "")) for item in items}
    for key, uid in known.items():
        if found.get(key) != uid:
            namespace, _, name = key.partition("/")
            gone = {"name": name, "uid": uid, **({"namespace": namespace} if namespace else {})}
            events.append(("DELETED", {"metadata": gone}))
    known.clear()
    known.update(found)
    return events + [("ADDED", item) for item in items]


def _remember(kind: str, item: Mapping[str, Any], known: dict[str, str]) -> None:
    if kind == "DELETED":
        known.pop(_key(item), None)
    else:
        known[_key(item)] = str(item.get("metadata", {}).get("uid", ""))
