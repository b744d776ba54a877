"""The watch cache: ordered, bounded, and with an error for dropped revisions."""

import asyncio

import pytest

from kubeling.apiserver.storage.watch_cache import (
    ADDED,
    ResourceExpired,
    WatchCache,
    WatchEvent,
)


def event(revision: int, resource: str = "pods", size: int = 10) -> WatchEvent:
    return WatchEvent(
        revision=revision,
        type=ADDED,
        resource=resource,
        namespace="one",
        name=f"n{revision}",
        raw=b"x" * size,
    )


def revisions(history: WatchCache, since: int, resource: str = "pods") -> list[int]:
    return [each.revision for each in history.events_since(since, resource)]


def test_events_after_a_revision_are_ordered_and_of_one_resource() -> None:
    history = WatchCache(0)
    for revision in range(1, 7):
        history.append(event(revision, "pods" if revision % 2 else "nodes"))
    assert revisions(history, 0) == [1, 3, 5]
    assert revisions(history, 3) == [5]
    assert revisions(history, 6) == []
    assert revisions(history, 2, "nodes") == [4, 6]


def test_oldest_events_are_dropped_and_the_revision_is_refused() -> None:
    history = WatchCache(0, max_events=3)
    for revision in range(1, 6):
        history.append(event(revision))
    assert history.horizon == 2
    assert revisions(history, 2) == [3, 4, 5]
    with pytest.raises(ResourceExpired) as expired:
        history.events_since(1, "pods")
    assert expired.value.status == 410


def test_watch_cache_is_bounded_in_bytes() -> None:
    history = WatchCache(0, max_bytes=2000)
    for revision in range(1, 6):
        history.append(event(revision, size=400))
    assert revisions(history, 3) == [4, 5]
    assert history.horizon == 3


def test_watch_cache_stays_complete_after_many_events() -> None:
    history = WatchCache(0, max_events=100)
    for revision in range(1, 20_001):
        history.append(event(revision))
    assert revisions(history, 19_900) == list(range(19_901, 20_001))
    assert len(history._events) < 10_000


async def test_waiter_wakes_only_at_a_change_of_its_resource() -> None:
    history = WatchCache(0)
    waiter = asyncio.create_task(history.wait(("pods", "secrets"), 10))
    await asyncio.sleep(0)
    history.append(event(1, "nodes"))
    await asyncio.sleep(0)
    assert not waiter.done()
    history.append(event(2, "pods"))
    await asyncio.wait_for(waiter, 1)
    assert not any(history._waiting.values())
