"""The signals that end the process: the first begins the drain, the second ends it at once."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

_log = logging.getLogger(__name__)

HEEDED = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """Whether the process was told to end; use it as a context, inside the loop."""

    def __init__(self) -> None:
        self._told = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> Self:
        for number in HEEDED:
            self._loop.add_signal_handler(number, self._hear, number)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._let_go()

    def _hear(self, number: signal.Signals) -> None:
        _log.info("stop_signalled", extra={"signal": number.name})
        self._told.set()
        self._let_go()

    def _let_go(self) -> None:
        for number in HEEDED:
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)  # the next one ends the process

    async def until(self, starting: Coroutine[Any, Any, None]) -> None:
        """Start, then wait for the end; an end that comes while starting is heeded.

        Errors:  whatever the start fails with.
        """
        start = asyncio.ensure_future(starting)
        told = asyncio.ensure_future(self._told.wait())
        try:
            await asyncio.wait((start, told), return_when=asyncio.FIRST_COMPLETED)
            if start.done():
                await start
                await told
        finally:
            told.cancel()
            if start.cancel():
                with contextlib.suppress(asyncio.CancelledError):
                    await start
