"""The supervisor process: it forks the other processes, replaces them, and stops them. It serves no request.

    fork      a child is a copy of the supervisor, which has imported all modules: memory is shared, and a
              replacement is ready after 0.1 s
    watch     a child that exits, or whose heartbeat stops, is replaced with increasing backoff
    fail      if no worker has become ready and the reason is permanent, the supervisor exits
    drain     SIGTERM is sent to all children; a child that does not exit in time is killed

It has no event loop and no thread, because a fork copies only the thread that calls it.
"""

import contextlib
import logging
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from types import FrameType
from typing import NoReturn, Self

from podpass.errors import Error
from podpass.servers.authority.shared_status import (
    ProcessState,
    ProcessStatus,
    SharedStatus,
    SupervisorStatus,
)

_log = logging.getLogger(__name__)

# EX_CONFIG in sysexits.h: the configuration is wrong, so a restart would fail in the same way.
CONFIGURATION_ERROR = 78
_TICK_SECONDS = 0.25
_MAX_FAILURES = 5
_MAX_BACKOFF_SECONDS = 30.0
_STABLE_SECONDS = 60.0
_DELAYED_SECONDS = 2.0
HANDLED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)


class NeverReady(Error):
    """No worker has become ready, and a restart will not help."""

    code = "authority_never_ready"
    hint = "fix the error above, then start podpass again"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildProcess:
    """A process that the supervisor keeps running.

    `run` is called in the child with the read end of a pipe that is closed when the supervisor exits, and
    returns the exit code. Children with `first` are stopped before the others, which report the shutdown in
    the meantime.
    """

    name: str
    run: Callable[[int], int]
    first: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """The timeouts of the supervisor.

    Units: seconds. During `delay` after SIGTERM all processes keep serving, but the readiness probe fails.
    """

    start: float
    stuck: float
    drain: float
    delay: float = 0.0


@dataclass(slots=True)
class _ManagedProcess:
    child: ChildProcess
    pid: int = 0
    started: float = 0.0
    failures: int = 0
    restart_at: float = 0.0
    was_ready: bool = False


class Supervisor:
    """Starts, replaces and stops the children."""

    def __init__(
        self,
        children: Sequence[ChildProcess],
        shared: SharedStatus,
        timeouts: Timeouts,
        *,
        on_ready: Callable[[dict[str, int]], None],
        on_drain: Callable[[], None],
    ) -> None:
        self._processes = [_ManagedProcess(child) for child in children]
        self._shared = shared
        self._timeouts = timeouts
        self._on_ready: Callable[[dict[str, int]], None] | None = on_ready
        self._on_drain = on_drain
        self._was_ready = False
        self._drain_at: float | None = None
        self._stop_by: float | None = None
        self._fatal_reason: str | None = None
        self._status = SupervisorStatus()
        self._last_tick = 0.0
        self._ignore_stuck_until = 0.0

    def run(self) -> None:
        """Keep the children running until a signal stops them.

        Raises NeverReady, after all children are stopped.
        """
        self._lifeline = os.pipe()
        with SignalPipe() as signals:
            while self._stop_by is None or any(process.pid for process in self._processes):
                self._tick()
                for number in signals.wait(_TICK_SECONDS):
                    self._on_signal(number)
        for end in self._lifeline:
            os.close(end)
        if self._fatal_reason is not None:
            raise NeverReady(self._fatal_reason)

    def _tick(self) -> None:
        now = time.monotonic()
        # If the supervisor was paused too, ignore missing heartbeats: the machine was suspended or
        # overloaded.
        if self._last_tick and now - self._last_tick > _DELAYED_SECONDS:
            self._ignore_stuck_until = now + self._timeouts.stuck
        self._last_tick = now
        self._status = replace(self._status, heartbeat=now)
        self._shared.supervisor = self._status
        self._reap(now)
        if self._drain_at is not None and now >= self._drain_at:
            self._stop(self._timeouts.drain)
        if self._stop_by is not None:
            self._continue_stop(now)
            return
        for number, process in enumerate(self._processes):
            if not process.pid and now >= process.restart_at:
                self._spawn(number, process, now)
            elif process.pid:
                self._check(process, self._read(number, process), now)
        self._report_ready()

    # ------------------------------------------------------------------------------------- children

    def _read(self, number: int, process: _ManagedProcess) -> ProcessStatus:
        status = self._shared.read(number)
        if status.pid == process.pid:
            return status
        return ProcessStatus(pid=process.pid, state=ProcessState.STARTING)

    def _spawn(self, number: int, process: _ManagedProcess, now: float) -> None:
        self._shared.write(number, ProcessStatus())
        process.was_ready = False
        with SignalPipe.block_signals():
            pid = os.fork()
            if pid == 0:
                self._run_child(process.child)
        process.pid, process.started = pid, now

    def _run_child(self, child: ChildProcess) -> NoReturn:
        """Run a child and exit; never return to the supervisor's code."""
        code = 1
        try:
            restore_defaults()
            os.close(self._lifeline[1])
            code = child.run(self._lifeline[0])
        except SystemExit as exc:
            code = int(exc.code or 0)
        except BaseException:  # noqa: BLE001 no exception may return into the supervisor's code
            _log.exception("child_failed", extra={"child": child.name})
        finally:
            with contextlib.suppress(Exception):
                logging.shutdown()
            os._exit(code)

    def _check(self, process: _ManagedProcess, status: ProcessStatus, now: float) -> None:
        """Log that a child is ready; kill a child without heartbeat."""
        if status.state is ProcessState.READY and not process.was_ready:
            process.was_ready = True
            # The health process does not count: it is ready even if no worker is.
            self._was_ready = self._was_ready or process.child.first
            _log.info("child_ready", extra={"child": process.child.name, "pid": process.pid})
        if process.was_ready and now - process.started > _STABLE_SECONDS:
            process.failures = 0
        silent = now - max(status.heartbeat, process.started)
        is_starting = status.state is ProcessState.STARTING
        limit = self._timeouts.start if is_starting else self._timeouts.stuck
        if silent > limit and now > self._ignore_stuck_until:
            facts = {
                "child": process.child.name,
                "pid": process.pid,
                "silent_seconds": round(silent),
            }
            _log.error("child_stuck", extra=facts)
            _kill(process.pid, signal.SIGKILL)

    def _reap(self, now: float) -> None:
        for number, process in enumerate(self._processes):
            if not process.pid:
                continue
            pid, status = os.waitpid(process.pid, os.WNOHANG)
            if pid:
                last, process.pid = self._read(number, process), 0
                self._on_exit(number, process, last, os.waitstatus_to_exitcode(status), now)

    def _on_exit(
        self, number: int, process: _ManagedProcess, last: ProcessStatus, code: int, now: float
    ) -> None:
        """Schedule the replacement of a child, or stop if the failure is permanent."""
        self._shared.write(number, ProcessStatus(reason=last.reason))
        if self._stop_by is not None:
            return
        process.failures += 1
        backoff = min(_MAX_BACKOFF_SECONDS, 0.1 * 2 ** (process.failures - 1))
        process.restart_at = now + backoff
        self._status = replace(self._status, restarts=self._status.restarts + 1)
        cause = {"exit_code": code} if code >= 0 else {"signal": signal.Signals(-code).name}
        facts = {"child": process.child.name, "pid": last.pid, **cause, "again_in_seconds": backoff}
        _log.error("child_exited", extra={**facts, "reason": last.reason})
        is_permanent = code == CONFIGURATION_ERROR or process.failures >= _MAX_FAILURES
        if not self._was_ready and is_permanent:
            self._fatal_reason = f"{process.child.name} did not become ready: " + (
                last.reason or f"it exited with {next(iter(cause.values()))}"
            )
            self._stop(0.0)

    def _report_ready(self) -> None:
        """Call `on_ready` once, when all children are ready."""
        if self._on_ready is not None and all(each.was_ready for each in self._processes):
            on_ready, self._on_ready = self._on_ready, None
            on_ready({process.child.name: process.pid for process in self._processes})

    # -------------------------------------------------------------------------------------- stopping

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._signal_all(signal.SIGHUP)
        elif number in (signal.SIGTERM, signal.SIGINT):
            if self._status.draining:
                _log.warning("authority_stop_forced")
                self._stop(0.0)
                self._signal_all(signal.SIGKILL)
            else:
                self._begin_drain()

    def _begin_drain(self) -> None:
        """Set the status to draining, so that the readiness probe fails; schedule the stop."""
        _log.info("authority_draining", extra={"after_seconds": self._timeouts.delay})
        self._status = replace(self._status, draining=True)
        self._shared.supervisor = self._status
        self._drain_at = time.monotonic() + self._timeouts.delay

    def _stop(self, seconds: float) -> None:
        self._drain_at = None
        self._stop_by = time.monotonic() + seconds
        self._on_drain()
        for process in self._processes:
            if process.pid and process.child.first:
                _kill(process.pid, signal.SIGTERM)

    def _continue_stop(self, now: float) -> None:
        """Stop the other children when the first ones have exited; kill those that exceed their time."""
        assert self._stop_by is not None
        running = [process for process in self._processes if process.pid]
        if not any(process.child.first for process in running):
            for process in running:
                _kill(process.pid, signal.SIGTERM)
        # One second more than the children's own limit, so that they can log which requests they abort.
        if now > self._stop_by + 1:
            for process in running:
                facts = {"child": process.child.name, "pid": process.pid}
                _log.error("child_stop_timed_out", extra=facts)
                _kill(process.pid, signal.SIGKILL)

    def _signal_all(self, number: int) -> None:
        for process in self._processes:
            if process.pid:
                _kill(process.pid, number)


def _kill(pid: int, number: int) -> None:
    # A child that has just exited is a zombie until it is reaped, so its pid is not reused yet.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


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
    def block_signals() -> Iterator[None]:
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
