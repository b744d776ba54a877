"""Whether an authority lives and serves: from its board alone, for probes and metrics alike."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from podpass.servers.authority.shared_status import Board, Row, State

_DATABASE = {True: "up", False: "down", None: "unknown"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """What probes and metrics are told, from the board.

    Shapes:  the workers' rows come first. Units: a beat older than `stuck_seconds` has stopped.
    """

    board: Board
    workers: int
    stuck_seconds: float
    now: Callable[[], float] = time.monotonic

    def healthz(self) -> tuple[bool, dict[str, object]]:
        """Tell whether anything lives."""
        reasons = []
        if not self._beats(self.board.master.beat):
            reasons.append("the master does not beat")
        if not any(self._beats(row.beat) for row in self.rows()):
            reasons.append("no worker beats")
        return not reasons, {"healthy": not reasons, "reasons": reasons}

    def readyz(self) -> tuple[bool, dict[str, object]]:
        """Tell whether requests should be sent here, and what stands in the way."""
        rows, serve = self.rows(), self.serving()
        reasons = []
        if self.board.master.draining:
            reasons = ["draining"]
        elif not serve:
            reasons = sorted({row.reason for row in rows if row.reason}) or ["no worker is ready"]
        facts: dict[str, object] = {
            "ready": not reasons,
            "reasons": reasons,
            "database": _DATABASE[self.database_up()],
            "workers": [_worker(number, row) for number, row in enumerate(rows)],
        }
        return not reasons, facts

    def rows(self) -> list[Row]:
        """Read what the workers say of themselves."""
        return [self.board.read(number) for number in range(self.workers)]

    def serving(self) -> list[Row]:
        """Choose the workers that serve: one that hangs does not, whatever it said before."""
        return [row for row in self.rows() if row.state is State.READY and self._beats(row.beat)]

    def database_up(self) -> bool | None:
        """Tell whether the database answered every worker that serves when it was last asked.

        Shapes:  None where nobody knows: no worker serves, and none waits for it. Whatever stopped them then,
                 to name the database would send people the wrong way.
        """
        if serve := self.serving():
            return all(row.database for row in serve)
        waits = any(row.state is State.STARTING and row.reason for row in self.rows())
        return False if waits else None

    def _beats(self, beat: float) -> bool:
        return self.now() - beat < self.stuck_seconds


def _worker(number: int, row: Row) -> dict[str, object]:
    return {"worker": number, "pid": row.pid, "state": row.state.name.lower()}
