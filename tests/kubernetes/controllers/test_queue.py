"""The queue of what is to be looked at: each key once, never twice at a time."""

import asyncio
from typing import Any

import pytest

from podpass.kubernetes.controllers.workqueue import Key, Queue


def key(name: str) -> Key:
    return ("ReplicaSet", "default", name)


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def queue(now: list[float]) -> Queue:
    return Queue(lambda: now[0])


async def taken(queue: Queue) -> str | None:
    """Take a key if there is one to take."""
    try:
        async with asyncio.timeout(0.05):
            return (await queue.take())[2]
    except TimeoutError:
        return None


async def test_a_key_that_changed_often_is_taken_once(queue: Queue) -> None:
    for _ in range(3):
        queue.add(key("a"))
    assert await taken(queue) == "a"
    assert await taken(queue) is None


async def test_a_key_that_is_looked_at_is_not_taken_again_before_that_is_done(queue: Queue) -> None:
    queue.add(key("a"))
    assert await taken(queue) == "a"
    queue.add(key("a"))
    assert await taken(queue) is None
    queue.done(key("a"))
    assert await taken(queue) == "a"


async def test_others_are_taken_meanwhile(queue: Queue, now: list[float]) -> None:
    """Fails if the key that is first in the heap were taken for the one that was found."""
    queue.add(key("a"))
    assert await taken(queue) == "a"
    queue.add(key("a"))
    now[0] += 1
    queue.add(key("b"))
    assert await taken(queue) == "b"
    queue.done(key("a"))
    assert await taken(queue) == "a"


async def test_the_earliest_is_first(queue: Queue, now: list[float]) -> None:
    queue.add(key("late"), 10)
    queue.add(key("soon"), 5)
    now[0] += 20
    assert [await taken(queue), await taken(queue)] == ["soon", "late"]


async def test_a_later_moment_does_not_put_off_an_earlier_one(
    queue: Queue, now: list[float]
) -> None:
    queue.add(key("a"), 5)
    queue.add(key("a"), 50)
    queue.add(key("a"), 1)
    now[0] += 2
    assert await taken(queue) == "a"
    queue.done(key("a"))
    now[0] += 100
    assert await taken(queue) is None


async def test_failures_in_a_row_wait_longer_each_time(queue: Queue, now: list[float]) -> None:
    waits = []
    for _ in range(13):
        queue.failed(key("a"))
        began = now[0]
        while await _due(queue) is None:
            now[0] += 0.05
        waits.append(now[0] - began)
        queue.done(key("a"))
    assert waits[:3] == pytest.approx([0.05, 0.1, 0.2], abs=0.06)
    assert waits[-1] == pytest.approx(60, abs=0.1)
    queue.succeeded(key("a"))
    queue.failed(key("a"))
    now[0] += 0.06
    assert await taken(queue) == "a"


async def _due(queue: Any) -> Any:
    found, wait = queue._next()
    return await queue.take() if found and not wait else None


async def test_whoever_waits_hears_of_news_and_of_the_end(queue: Queue) -> None:
    waiting = [asyncio.create_task(queue.take()) for _ in range(3)]
    await asyncio.sleep(0.01)
    queue.add(key("a"))
    done, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=5)
    assert [each.result() for each in done] == [key("a")]
    for each in left:
        each.cancel()
    queue.done(key("a"))  # news at the moment at which they are cancelled
    ended = await asyncio.wait_for(asyncio.gather(*left, return_exceptions=True), 5)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended)
