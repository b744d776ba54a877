"""Signals as bytes in a pipe, so that the master waits for them and for time in one place."""

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Self

HEEDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class Signals:
    """The signals that came, in order."""

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._before = {number: signal.signal(number, _note) for number in HEEDED}
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float) -> list[int]:
        """Give the signals that came, waiting so long for one."""
        ready, _, _ = select.select([self._read], [], [], seconds)
        return list(os.read(self._read, 512)) if ready else []

    @staticmethod
    @contextlib.contextmanager
    def held() -> Iterator[None]:
        """Hold signals back: a child in its first moment still has the master's handlers and pipe."""
        signal.pthread_sigmask(signal.SIG_BLOCK, HEEDED)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HEEDED)


def back_to_default() -> None:
    """Be a process of its own again, in a child whose signals are held."""
    signal.set_wakeup_fd(-1)
    for number in HEEDED:
        signal.signal(number, signal.SIG_DFL)
    # At a terminal Ctrl-C goes to all of them; the master decides what comes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEEDED)


def _note(_number: int, _frame: FrameType | None) -> None:
    """Do nothing; Python writes the number into the pipe."""
