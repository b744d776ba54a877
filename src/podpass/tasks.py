"""Work in the background of the event loop: tasks with a fixed lifetime, and coalesced callbacks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextvars import Context
from threading import get_ident
from typing import Any


@contextlib.asynccontextmanager
async def background_task(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Run a coroutine as a task until the context ends.

    Raises the errors of the coroutine, when the context ends.
    """
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        await cancel_and_wait(task)


async def cancel_and_wait(task: "asyncio.Task[None] | None") -> None:
    """Cancel a task, if there is one, and wait until it is done.

    Raises the exception of the task, if it failed.
    """
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def close_in_time(stack: contextlib.AsyncExitStack, seconds: float) -> bool:
    """Close an exit stack; return False if it does not finish in time, and leave the rest open."""
    try:
        async with asyncio.timeout(seconds):
            await stack.aclose()
    except TimeoutError:
        return False
    return True


class CoalescedCallback:
    """Runs a callback once per event-loop iteration, however often it was scheduled.

    For work with a high fixed cost: all items of one iteration are processed together.
    """

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback = callback
        # The event loop that will run the callback, and its thread; other threads must not rely on it.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0

    def schedule(self) -> None:
        """Run the callback at the end of this event-loop iteration; immediately if there is no event loop."""
        # This check comes first because it is much faster than the lookup of the running loop. An event loop
        # that has stopped no longer runs the callback.
        if self._loop is not None and self._thread == get_ident() and self._loop.is_running():
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.run()
            return
        self._loop, self._thread = loop, get_ident()
        # In an empty context: what the callback logs belongs to no single caller.
        loop.call_soon(self.run, context=Context())

    def run(self) -> None:
        """Run the callback now."""
        self._loop = None
        self._callback()
