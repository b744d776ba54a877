"""Signals as bytes in a pipe, so that the supervisor can wait for signals with a timeout in one call."""

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Self

HANDLED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class SignalPipe:
    """The signals of this process, in the order of their arrival; use it as a context."""

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._before = {number: signal.signal(number, _ignore) for number in HANDLED_SIGNALS}
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float) -> list[int]:
        """Return the signals that have arrived; wait up to this time for the first one."""
        ready, _, _ = select.select([self._read], [], [], seconds)
        return list(os.read(self._read, 512)) if ready else []

    @staticmethod
    @contextlib.contextmanager
    def blocked() -> Iterator[None]:
        """Block signals during a fork: a new child still has the supervisor's handlers and pipe."""
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED_SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)


def restore_defaults() -> None:
    """Restore the default handlers in a child whose signals are blocked, and unblock them."""
    signal.set_wakeup_fd(-1)
    for number in HANDLED_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    # Ctrl-C in a terminal is sent to all processes; only the supervisor handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED_SIGNALS)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Ignore the call: Python writes the number of the signal into the pipe."""
