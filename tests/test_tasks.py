"""Background tasks end with their context; coalesced callbacks run once per event-loop iteration."""

import asyncio
import threading

import pytest

from podpass.tasks import CoalescedCallback, background_task, cancel_and_wait


async def test_task_runs_during_context_and_is_done_after_it() -> None:
    events: list[str] = []

    async def work() -> None:
        events.append("began")
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0)
            events.append("cleaned up")

    async with background_task(work(), "work"):
        await asyncio.sleep(0)
        assert events == ["began"]
        assert "work" in {task.get_name() for task in asyncio.all_tasks()}
    assert events == ["began", "cleaned up"]
    assert "work" not in {task.get_name() for task in asyncio.all_tasks()}


async def test_error_of_task_is_raised_at_end_of_context() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async with background_task(fail(), "fails"):
            await asyncio.sleep(0)


async def test_cancel_without_task_does_nothing() -> None:
    await cancel_and_wait(None)


def test_callback_scheduled_twice_runs_once_per_iteration() -> None:
    calls: list[int] = []
    callback = CoalescedCallback(lambda: calls.append(1))

    async def iterations() -> list[int]:
        counts = []
        for _ in range(3):
            callback.schedule()
            callback.schedule()
            counts.append(len(calls))
            await asyncio.sleep(0)
        return counts

    assert asyncio.run(iterations()) == [0, 1, 2]
    assert len(calls) == 3


def test_callback_without_loop_runs_immediately() -> None:
    calls: list[int] = []
    CoalescedCallback(lambda: calls.append(1)).schedule()
    assert calls == [1]


def test_callback_of_stopped_loop_is_run_by_next_loop() -> None:
    """Otherwise the entry of a loop that was stopped would block all later calls."""
    calls: list[int] = []
    callback = CoalescedCallback(lambda: calls.append(1))
    first = asyncio.new_event_loop()

    def schedule_and_stop() -> None:
        first.stop()  # so that callbacks of `call_soon` do not run
        callback.schedule()

    first.call_soon(schedule_and_stop)
    first.run_forever()
    first.close()
    assert calls == []

    async def schedule_again() -> None:
        callback.schedule()
        await asyncio.sleep(0)

    asyncio.run(schedule_again())
    assert calls == [1]


def test_thread_without_loop_does_not_wait_for_loop_of_another_thread() -> None:
    """Otherwise a log line about a blocked loop would be written only when the loop continues."""
    calls: list[int] = []
    callback = CoalescedCallback(lambda: calls.append(threading.get_ident()))

    async def block() -> None:
        callback.schedule()
        other = threading.Thread(target=callback.schedule)
        other.start()
        other.join()
        assert calls == [other.ident]

    asyncio.run(block())
    assert len(calls) == 2


def test_callback_may_schedule_itself() -> None:
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        if len(calls) < 3:
            callback.schedule()

    callback = CoalescedCallback(call)

    async def iterations() -> None:
        callback.schedule()
        for _ in range(5):
            await asyncio.sleep(0)

    asyncio.run(iterations())
    assert len(calls) == 3
