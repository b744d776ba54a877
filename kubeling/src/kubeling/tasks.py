"""Cancellation of tasks of the event loop."""

import asyncio
import contextlib


async def cancel_and_wait(task: "asyncio.Task[None] | None") -> None:
    """Cancel a task, if there is one, and wait until it is done.

    Raises Exception: the task has failed before it was cancelled.
    """
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
