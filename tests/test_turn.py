"""What waits for the end of the loop's turn is done then, once; and at once where no loop runs."""

import asyncio
import threading

from podpass.tasks import EndOfTurn


def test_a_step_wanted_often_is_taken_once_a_turn() -> None:
    taken: list[int] = []
    end = EndOfTurn(lambda: taken.append(1))

    async def turns() -> list[int]:
        seen = []
        for _ in range(3):
            end.want()
            end.want()
            seen.append(len(taken))
            await asyncio.sleep(0)
        return seen

    assert asyncio.run(turns()) == [0, 1, 2]
    assert len(taken) == 3


def test_without_a_loop_it_is_taken_at_once() -> None:
    taken: list[int] = []
    EndOfTurn(lambda: taken.append(1)).want()
    assert taken == [1]


def test_a_loop_that_ended_before_its_step_leaves_it_to_the_next() -> None:
    """Or what came first in a loop that was broken off would hold up all that comes later."""
    taken: list[int] = []
    end = EndOfTurn(lambda: taken.append(1))
    first = asyncio.new_event_loop()

    def want_and_stop() -> None:
        first.stop()  # so that what is called soon is not called
        end.want()

    first.call_soon(want_and_stop)
    first.run_forever()
    first.close()
    assert taken == []

    async def again() -> None:
        end.want()
        await asyncio.sleep(0)

    asyncio.run(again())
    assert taken == [1]


def test_a_thread_without_a_loop_does_not_wait_for_that_of_another() -> None:
    """Or what it says of a loop that hangs would come when it hangs no more."""
    taken: list[int] = []
    end = EndOfTurn(lambda: taken.append(threading.get_ident()))

    async def turn() -> None:
        end.want()
        other = threading.Thread(target=end.want)
        other.start()
        other.join()
        assert taken == [other.ident]

    asyncio.run(turn())
    assert len(taken) == 2


def test_a_step_may_want_another() -> None:
    seen: list[int] = []

    def step() -> None:
        seen.append(1)
        if len(seen) < 3:
            end.want()

    end = EndOfTurn(step)

    async def turns() -> None:
        end.want()
        for _ in range(5):
            await asyncio.sleep(0)

    asyncio.run(turns())
    assert len(seen) == 3
