"""Work that goes on beside other work, and ends with it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextvars import Context
from threading import get_ident
from typing import Any


@contextlib.asynccontextmanager
async def beside(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """Do work for as long as the context lasts.

    Errors:  what the work failed with, when the context ends.
    """
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        await end(task)


async def end(task: "asyncio.Task[None] | None") -> None:
    """Cancel a task, if there is one, and wait until it is over.

    Errors:  what it had failed with.
    """
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class EndOfTurn:
    """Take a step at the end of this turn of the loop that runs; at once where none does.

    Work that is dear to begin and cheap to go on with is put off until the whole turn's is together.
    """

    def __init__(self, step: Callable[[], None]) -> None:
        self._step = step
        # The one that is to take the step, and its thread: others do not wait for it.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0

    def want(self) -> None:
        """See to it that the step is taken."""
        # Asked first since it is much quicker than finding the loop; one that ended takes no step any more.
        if self._loop is not None and self._thread == get_ident() and self._loop.is_running():
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.now()
            return
        self._loop, self._thread = loop, get_ident()
        # In nobody's context: what is logged there is no caller's, though one of them began the turn.
        loop.call_soon(self.now, context=Context())

    def now(self) -> None:
        """Take the step."""
        self._loop = None
        self._step()
