"""The process that starts the others, and starts them again: it binds, forks, waits, and serves nobody.

    fork      each child is a copy of a master that has imported what it needs: memory is shared, and a
              replacement stands in a tenth of a second
    watch     a child that ends, or whose beat stops, is replaced, later each time it fails
    give up   where nothing has ever become ready, for a reason that will not pass
    drain     SIGTERM goes to all; whoever is not done in time is killed

It runs no loop and no thread, since a fork of those would be a copy of half a program.
"""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

from podpass.errors import Error
from podpass.servers.authority.shared_status import Board, Overall, Row, State
from podpass.servers.authority.signals import Signals, back_to_default

_log = logging.getLogger(__name__)

# sysexits.h: what is wrong is the configuration, so another try would fail as this one did.
UNUSABLE = 78
_TICK_SECONDS = 0.25
_TRIES = 5
_LONGEST_WAIT_SECONDS = 30.0
_SETTLED_SECONDS = 60.0
_LATE_SECONDS = 2.0


class NeverReady(Error):
    """No process has become ready, and none will."""

    code = "authority_never_ready"
    hint = "mend that and start it again; the lines above say more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process to keep running.

    Shapes:  `run` is called in it with the end of a pipe that is closed when the master is gone, and gives
             the exit code; `first` ones are stopped before the others, which tell of the stop meanwhile.
    """

    name: str
    run: Callable[[int], int]
    first: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long the master waits for what.

    Units:   seconds. For `delay` all goes on after a signal to end, but for the probe that says so.
    """

    start: float
    stuck: float
    drain: float
    delay: float = 0.0


@dataclass(slots=True)
class _Slot:
    child: Child
    pid: int = 0
    started: float = 0.0
    failures: int = 0
    due: float = 0.0
    told: bool = False


class Master:
    """The children and what becomes of them."""

    def __init__(
        self,
        children: Sequence[Child],
        board: Board,
        patience: Patience,
        *,
        ready: Callable[[dict[str, int]], None],
        draining: Callable[[], None],
    ) -> None:
        self._slots = [_Slot(child) for child in children]
        self._board = board
        self._patience = patience
        self._ready = ready
        self._draining = draining
        self._was_ready = False
        self._drain_at: float | None = None
        self._stop_by: float | None = None
        self._hopeless: str | None = None
        self._overall = Overall()
        self._ticked = 0.0
        self._grace_until = 0.0

    def run(self) -> None:
        """Keep the children running until a signal ends it.

        Errors:  NeverReady, once they are stopped.
        """
        self._lifeline = os.pipe()
        with Signals() as signals:
            while self._stop_by is None or any(slot.pid for slot in self._slots):
                self._tick()
                for number in signals.wait(_TICK_SECONDS):
                    self._heed(number)
        for end in self._lifeline:
            os.close(end)
        if self._hopeless is not None:
            raise NeverReady(self._hopeless)

    def _tick(self) -> None:
        now = time.monotonic()
        # Beats that stopped while we slept too say nothing: the machine was frozen, or far too busy.
        if self._ticked and now - self._ticked > _LATE_SECONDS:
            self._grace_until = now + self._patience.stuck
        self._ticked = now
        self._overall = replace(self._overall, beat=now)
        self._board.master = self._overall
        self._reap(now)
        if self._drain_at is not None and now >= self._drain_at:
            self._stop(self._patience.drain)
        if self._stop_by is not None:
            self._hurry(now)
            return
        for number, slot in enumerate(self._slots):
            if not slot.pid and now >= slot.due:
                self._spawn(number, slot, now)
            elif slot.pid:
                self._look(slot, self._row(number, slot), now)
        self._tell_when_ready()

    # ------------------------------------------------------------------------------------- children

    def _row(self, number: int, slot: _Slot) -> Row:
        row = self._board.read(number)
        return row if row.pid == slot.pid else Row(pid=slot.pid, state=State.STARTING)

    def _spawn(self, number: int, slot: _Slot, now: float) -> None:
        self._board.write(number, Row())
        slot.told = False
        with Signals.held():
            pid = os.fork()
            if pid == 0:
                self._become(slot.child)
        slot.pid, slot.started = pid, now

    def _become(self, child: Child) -> NoReturn:
        """Live as a child; never return into what was the master's."""
        code = 1
        try:
            back_to_default()
            os.close(self._lifeline[1])
            code = child.run(self._lifeline[0])
        except SystemExit as exc:
            code = int(exc.code or 0)
        except BaseException:  # noqa: BLE001 nothing may return into the master's code
            _log.exception("child_failed", extra={"child": child.name})
        finally:
            with contextlib.suppress(Exception):
                logging.shutdown()
            os._exit(code)

    def _look(self, slot: _Slot, row: Row, now: float) -> None:
        if row.state is State.READY and not slot.told:
            slot.told = True
            # Probes are there at once, and tell of nothing that serves.
            self._was_ready = self._was_ready or slot.child.first
            _log.info("child_ready", extra={"child": slot.child.name, "pid": slot.pid})
        if slot.told and now - slot.started > _SETTLED_SECONDS:
            slot.failures = 0
        silent = now - max(row.beat, slot.started)
        patience = self._patience.start if row.state is State.STARTING else self._patience.stuck
        if silent > patience and now > self._grace_until:
            facts = {"child": slot.child.name, "pid": slot.pid, "silent_seconds": round(silent)}
            _log.error("child_stuck", extra=facts)
            _kill(slot.pid, signal.SIGKILL)

    def _reap(self, now: float) -> None:
        for number, slot in enumerate(self._slots):
            if not slot.pid:
                continue
            pid, status = os.waitpid(slot.pid, os.WNOHANG)
            if pid:
                row, slot.pid = self._row(number, slot), 0
                self._buried(number, slot, row, os.waitstatus_to_exitcode(status), now)

    def _buried(self, number: int, slot: _Slot, row: Row, code: int, now: float) -> None:
        self._board.write(number, Row(reason=row.reason))
        if self._stop_by is not None:
            return
        slot.failures += 1
        wait = min(_LONGEST_WAIT_SECONDS, 0.1 * 2 ** (slot.failures - 1))
        slot.due = now + wait
        self._overall = replace(self._overall, restarts=self._overall.restarts + 1)
        ended = {"exit_code": code} if code >= 0 else {"signal": signal.Signals(-code).name}
        facts = {"child": slot.child.name, "pid": row.pid, **ended, "again_in_seconds": wait}
        _log.error("child_ended", extra={**facts, "reason": row.reason})
        if not self._was_ready and (code == UNUSABLE or slot.failures >= _TRIES):
            self._hopeless = f"{slot.child.name} did not become ready: " + (
                row.reason or f"it ended with {next(iter(ended.values()))}"
            )
            self._stop(0.0)

    def _tell_when_ready(self) -> None:
        if self._ready is not None and all(slot.told for slot in self._slots):
            ready, self._ready = self._ready, None  # type: ignore[assignment]  # once
            ready({slot.child.name: slot.pid for slot in self._slots})

    # -------------------------------------------------------------------------------------- stopping

    def _heed(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._signal_all(signal.SIGHUP)
        elif number in (signal.SIGTERM, signal.SIGINT):
            if self._overall.draining:
                _log.warning("authority_stopped_at_once")
                self._stop(0.0)
                self._signal_all(signal.SIGKILL)
            else:
                self._announce()

    def _announce(self) -> None:
        """Say that it is about to end: probes do from now on."""
        _log.info("authority_ending", extra={"after_seconds": self._patience.delay})
        self._overall = replace(self._overall, draining=True)
        self._board.master = self._overall
        self._drain_at = time.monotonic() + self._patience.delay

    def _stop(self, seconds: float) -> None:
        self._drain_at = None
        self._stop_by = time.monotonic() + seconds
        self._draining()
        for slot in self._slots:
            if slot.pid and slot.child.first:
                _kill(slot.pid, signal.SIGTERM)

    def _hurry(self, now: float) -> None:
        """Stop the last ones when the first are gone; kill whoever is late."""
        assert self._stop_by is not None
        left = [slot for slot in self._slots if slot.pid]
        if not any(slot.child.first for slot in left):
            for slot in left:
                _kill(slot.pid, signal.SIGTERM)
        # A second more than they were given: they end by themselves then, and tell what they broke off.
        if now > self._stop_by + 1:
            for slot in left:
                _log.error("child_late", extra={"child": slot.child.name, "pid": slot.pid})
                _kill(slot.pid, signal.SIGKILL)

    def _signal_all(self, number: int) -> None:
        for slot in self._slots:
            if slot.pid:
                _kill(slot.pid, number)


def _kill(pid: int, number: int) -> None:
    # One that has just ended is a zombie until it is reaped, so the number is still ours.
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
