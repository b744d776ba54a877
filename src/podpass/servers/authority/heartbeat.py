"""The heartbeat and status of a child process, and its shutdown by a signal or when the supervisor exits."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from podpass.servers.authority.shared_status import ProcessState, ProcessStatus, SharedStatus
from podpass.servers.shutdown_signal import ShutdownSignal

_INTERVAL_SECONDS = 0.25


class Heartbeat:
    """Writes the status of a child from its event loop; an event loop that hangs writes no heartbeat."""

    def __init__(
        self,
        shared: SharedStatus,
        number: int,
        measure: Callable[[ProcessStatus], ProcessStatus] | None = None,
    ) -> None:
        self._shared = shared
        self._number = number
        self._status = ProcessStatus(pid=os.getpid(), state=ProcessState.STARTING)
        self._timer: asyncio.TimerHandle | None = None
        self.measure = measure
        self.shutdown = ShutdownSignal((signal.SIGTERM,), on_repeat=_ignore)
        self.reload: Callable[[], object] = lambda: None

    @contextlib.contextmanager
    def running(self, lifeline: int) -> Iterator[None]:
        """Write heartbeats until the context ends; SIGTERM or the supervisor's exit requests the shutdown."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, lambda: self.reload())
        loop.add_reader(lifeline, self._on_supervisor_exit, lifeline)
        self._beat()
        try:
            with self.shutdown:
                yield
        finally:
            loop.remove_reader(lifeline)
            if self._timer is not None:
                self._timer.cancel()

    def set_state(self, state: ProcessState | None = None, reason: str = "") -> None:
        """Set the state of this child, and the reason why it is not ready, or a warning if it is ready."""
        self._status = replace(self._status, state=state or self._status.state, reason=reason)
        self._write()

    def set_database(self, *, is_up: bool) -> None:
        """Set whether the database answers."""
        self._status = replace(self._status, database=is_up)

    def _beat(self) -> None:
        self._write()
        self._timer = asyncio.get_running_loop().call_later(_INTERVAL_SECONDS, self._beat)

    def _write(self) -> None:
        status = replace(self._status, heartbeat=time.monotonic())
        self._shared.write(
            self._number, self.measure(status) if self.measure is not None else status
        )

    def _on_supervisor_exit(self, lifeline: int) -> None:
        # The supervisor's end of the pipe is closed: without a supervisor, no process would stop this one.
        asyncio.get_running_loop().remove_reader(lifeline)
        self.shutdown.requested.set()


def _ignore(_number: signal.Signals) -> None:
    """Ignore a signal: the supervisor may repeat SIGTERM."""
