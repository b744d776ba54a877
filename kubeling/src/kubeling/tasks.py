"""Cancellation of tasks of the event loop."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterable
from typing import Any


async def cancel_all(tasks: "Iterable[asyncio.Future[Any]]") -> None:
    """Cancel tasks, and wait until they are done; their results and errors are ignored."""
    given = [*tasks]
    for task in given:
        task.cancel()
    await asyncio.gather(*given, return_exceptions=True)


async def run_until_first(*work: Coroutine[Any, Any, None]) -> None:
    """Run coroutines until one of them ends, and cancel the others.

    Raises the error of the first coroutine, if it has failed; errors of the others are ignored.
    """
    tasks = [asyncio.create_task(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel_all(tasks)
    if not tasks[0].cancelled():
        tasks[0].result()


async def cancel_and_wait(task: "asyncio.Task[None] | None") -> None:
    """Cancel a task, if there is one, and wait until it is done.

    Raises Exception: the task has failed before it was cancelled.
    """
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
