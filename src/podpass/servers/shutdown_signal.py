"""The shutdown signal of processes that run an event loop."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Self

TERMINATION_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class ShutdownSignal:
    """A shutdown request: the first of these signals sets it. Use it as a context, inside the event loop.

    Without `on_repeat`, the first signal restores the default handlers, so the second one ends the process
    even if its event loop is blocked. Otherwise each later signal is passed to `on_repeat`. `number` is the
    first signal; it is None if the program itself set `requested`.
    """

    def __init__(
        self,
        signals: Sequence[signal.Signals] = TERMINATION_SIGNALS,
        *,
        on_repeat: Callable[[signal.Signals], None] | None = None,
    ) -> None:
        self.requested = asyncio.Event()
        self.number: signal.Signals | None = None
        self._signals = tuple(signals)
        self._on_repeat = on_repeat

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        for number in self._signals:
            self._loop.add_signal_handler(number, self._on_signal, number)
        return self

    def __exit__(self, *_: object) -> None:
        if self._on_repeat is None:
            self._restore_handlers()
        # Otherwise the handlers stay until the loop closes: a later signal must not end the process while
        # the loop still cancels its tasks.

    async def wait_after(self, start: Coroutine[Any, Any, None]) -> bool:
        """Run a start function, then wait for the shutdown request, which also cancels a running start.

        The result is whether the start completed. Raises those of the start.
        """
        starting = asyncio.ensure_future(start)
        stopping = asyncio.ensure_future(self.requested.wait())
        try:
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                await asyncio.wait((starting,))
            if starting.cancelled():
                return False
            starting.result()
            await stopping
            return True
        finally:
            stopping.cancel()
            if starting.cancel():
                with contextlib.suppress(asyncio.CancelledError):
                    await starting

    def _on_signal(self, number: signal.Signals) -> None:
        if self.number is not None:
            if self._on_repeat is not None:
                self._on_repeat(number)
            return
        self.number = number
        self.requested.set()
        if self._on_repeat is None:
            self._restore_handlers()

    def _restore_handlers(self) -> None:
        for number in self._signals:
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
