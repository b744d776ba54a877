"""What every child does beside its work: it beats, tells its state, stops when told or left alone."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from podpass.servers.authority.shared_status import Board, Row, State

_BEAT_SECONDS = 0.25


class Life:
    """A child's row on the board, kept up to date by its own loop: a loop that hangs beats no more."""

    def __init__(
        self, board: Board, number: int, measure: Callable[[Row], Row] | None = None
    ) -> None:
        self._board = board
        self._number = number
        self._row = Row(pid=os.getpid(), state=State.STARTING)
        self._timer: asyncio.TimerHandle | None = None
        self.measure = measure
        self.stop = asyncio.Event()
        self.reload: Callable[[], object] = lambda: None

    @contextlib.contextmanager
    def beating(self, lifeline: int) -> Iterator[None]:
        """Beat for as long as the context lasts; a signal, or the master's end, sets `stop`."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self.reload())
        loop.add_reader(lifeline, self._orphaned, lifeline)
        self._beat()
        try:
            yield
        finally:
            loop.remove_reader(lifeline)
            if self._timer is not None:
                self._timer.cancel()

    def tell(self, state: State | None = None, reason: str = "") -> None:
        """Say how far this child is, and why no further."""
        self._row = replace(self._row, state=state or self._row.state, reason=reason)
        self._write()

    def tell_database(self, answers: bool) -> None:
        """Say whether the database answers."""
        self._row = replace(self._row, database=answers)

    def _beat(self) -> None:
        self._write()
        self._timer = asyncio.get_running_loop().call_later(_BEAT_SECONDS, self._beat)

    def _write(self) -> None:
        row = replace(self._row, beat=time.monotonic())
        self._board.write(self._number, self.measure(row) if self.measure is not None else row)

    def _orphaned(self, lifeline: int) -> None:
        # The pipe's other end closed: the master is gone, and nobody would stop us.
        asyncio.get_running_loop().remove_reader(lifeline)
        self.stop.set()
