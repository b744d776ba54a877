"""Long work in short parts, and writes that come at once."""

import asyncio
import time

from podpass.kubernetes.apiserver.storage.fairness import Pace, Turns


async def test_long_work_gives_the_loop_away_now_and_then() -> None:
    others = 0

    async def other() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(other())
    pace = Pace()
    for _ in range(5):
        time.sleep(0.006)  # noqa: ASYNC251 work that keeps the loop
        await pace.step()
    assert others >= 5
    running.cancel()


async def test_short_work_keeps_the_loop() -> None:
    """Fails if each step waits: a list of 10,000 would turn the loop as often."""
    other = asyncio.create_task(asyncio.sleep(0))
    pace = Pace()
    for _ in range(3):
        await pace.step()
    assert not other.done()
    await other


async def test_those_who_come_at_once_go_on_one_a_turn_in_their_order() -> None:
    """Fails if all go on in one turn: nobody else is heard until the last of them is done."""
    turn, went, turns = 0, list[tuple[int, int]](), Turns()

    async def count() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    async def comer(number: int) -> None:
        await turns.next()
        went.append((number, turn))

    counting = asyncio.create_task(count())
    await asyncio.gather(*(comer(number) for number in range(8)))
    counting.cancel()
    assert [number for number, _ in went] == list(range(8))
    assert len({at for _, at in went}) == 8
