"""Cooperative yielding of long work, and fairness between concurrent writes."""

import asyncio

import pytest

from kubeling.apiserver.storage import fairness
from kubeling.apiserver.storage.fairness import CooperativeYield, FairQueue


class Clock:
    """A monotonic clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(fairness, "monotonic", made)
    return made


async def test_long_work_yields_to_other_tasks(clock: Clock) -> None:
    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(other())
    cooperative = CooperativeYield()
    for _ in range(5):
        clock.now += 0.006
        await cooperative.yield_if_due()
    assert others >= 5
    running.cancel()


async def test_short_work_does_not_yield(clock: Clock) -> None:
    """Fails if each step yields: a list of 10,000 objects would take 10,000 event-loop iterations."""
    other = asyncio.create_task(asyncio.sleep(0))
    cooperative = CooperativeYield()
    for _ in range(3):
        clock.now += 0.001
        await cooperative.yield_if_due()
    assert not other.done()
    await other


async def test_concurrent_callers_continue_in_order_one_per_loop_iteration() -> None:
    """Fails if all continue in one iteration: other requests would wait for the last of them."""
    iteration, continued, queue = 0, list[tuple[int, int]](), FairQueue()

    async def count() -> None:
        nonlocal iteration
        while True:
            iteration += 1
            await asyncio.sleep(0)

    async def caller(number: int) -> None:
        await queue.wait()
        continued.append((number, iteration))

    counting = asyncio.create_task(count())
    await asyncio.gather(*(caller(number) for number in range(8)))
    counting.cancel()
    assert [number for number, _ in continued] == list(range(8))
    assert len({at for _, at in continued}) == 8
