"""What is done once at the end of the event loop's turn, however often it was wanted in that turn."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from threading import get_ident


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
