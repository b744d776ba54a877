"""The work queue: each key is queued once and is never processed twice at the same time."""

import asyncio

import pytest

from kubeling.controllers.workqueue import Key, WorkQueue


def key(name: str) -> Key:
    return ("ReplicaSet", "default", name)


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def queue(now: list[float]) -> WorkQueue:
    return WorkQueue(lambda: now[0])


async def next_due(queue: WorkQueue) -> str | None:
    """Return the name of the next key that is due, or None; the test sets the time."""
    found, wait = queue._next()
    return (await queue.get())[2] if found and wait == 0 else None


async def test_key_added_several_times_is_returned_once(queue: WorkQueue) -> None:
    for _ in range(3):
        queue.add(key("a"))
    assert await next_due(queue) == "a"
    assert await next_due(queue) is None


async def test_key_in_progress_is_not_returned_again(
    queue: WorkQueue,
) -> None:
    queue.add(key("a"))
    assert await next_due(queue) == "a"
    queue.add(key("a"))
    assert await next_due(queue) is None
    queue.done(key("a"))
    assert await next_due(queue) == "a"


async def test_other_keys_are_returned_while_one_is_in_progress(
    queue: WorkQueue, now: list[float]
) -> None:
    """Fails if the first key of the heap is returned instead of the key that was found."""
    queue.add(key("a"))
    assert await next_due(queue) == "a"
    queue.add(key("a"))
    now[0] += 1
    queue.add(key("b"))
    assert await next_due(queue) == "b"
    queue.done(key("a"))
    assert await next_due(queue) == "a"


async def test_earliest_key_is_first(queue: WorkQueue, now: list[float]) -> None:
    queue.add(key("late"), 10)
    queue.add(key("soon"), 5)
    now[0] += 20
    assert [await next_due(queue), await next_due(queue)] == ["soon", "late"]


async def test_later_due_time_does_not_replace_an_earlier_one(
    queue: WorkQueue, now: list[float]
) -> None:
    queue.add(key("a"), 5)
    queue.add(key("a"), 50)
    queue.add(key("a"), 1)
    now[0] += 2
    assert await next_due(queue) == "a"
    queue.done(key("a"))
    now[0] += 100
    assert await next_due(queue) is None


async def test_repeated_failures_have_exponential_backoff(
    queue: WorkQueue, now: list[float]
) -> None:
    waits = []
    for _ in range(13):
        queue.add_rate_limited(key("a"))
        began = now[0]
        while await next_due(queue) is None:
            now[0] += 0.05
        waits.append(now[0] - began)
        queue.done(key("a"))
    assert waits[:3] == pytest.approx([0.05, 0.1, 0.2], abs=0.06)
    assert waits[-1] == pytest.approx(60, abs=0.1)
    queue.forget(key("a"))
    queue.add_rate_limited(key("a"))
    now[0] += 0.06
    assert await next_due(queue) == "a"


async def test_waiting_worker_gets_a_new_key_or_its_cancellation(queue: WorkQueue) -> None:
    waiting = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)  # all workers wait now
    queue.add(key("a"))
    done, left = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=30)
    assert [each.result() for each in done] == [key("a")]
    for each in left:
        each.cancel()
    queue.done(key("a"))  # wakes the workers in the iteration in which they are cancelled
    ended = await asyncio.wait_for(asyncio.gather(*left, return_exceptions=True), 30)
    assert all(isinstance(each, asyncio.CancelledError) for each in ended)
