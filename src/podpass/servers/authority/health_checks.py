"""The liveness and readiness of an authority, computed from its shared status, for probes and metrics."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from podpass.servers.authority.shared_status import ProcessState, ProcessStatus, SharedStatus

# A worker writes a heartbeat four times a second. One that is this many seconds late answers no request, long
# before it is replaced.
_READY_SECONDS = 3.0
_EXPIRED = (
    "the certificate (--tls-certificate) is expired, so clients refuse to connect; renew its files"
)
_DATABASE = {True: "up", False: "down", None: "unknown"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthChecker:
    """Computes the results of probes and metrics from the shared status.

    The workers are the first children. Units: a heartbeat older than `stuck_seconds` counts as stopped; a
    worker is not ready from 3 s on.
    """

    shared: SharedStatus
    workers: int
    stuck_seconds: float
    now: Callable[[], float] = time.monotonic

    def healthz(self) -> tuple[bool, dict[str, object]]:
        """Return the liveness result and its reasons."""
        reasons = []
        if not self._is_alive(self.shared.supervisor.heartbeat):
            reasons.append("the heartbeat of the supervisor has stopped")
        if not any(self._is_alive(status.heartbeat) for status in self.worker_statuses()):
            reasons.append("the heartbeats of all workers have stopped")
        return not reasons, {"healthy": not reasons, "reasons": reasons}

    def readyz(self, *, requires_database: bool = False) -> tuple[bool, dict[str, object]]:
        """Return the readiness result, its reasons, warnings, and the state of each worker.

        With `requires_database`, a replica whose database is down is not ready.
        """
        workers = self.worker_statuses()
        database_up = self.database_up()
        reasons = []
        if self.shared.supervisor.draining:
            reasons = ["draining"]
        elif not self.ready_workers():
            reasons = sorted({reason for each in workers if (reason := self._unready_reason(each))})
            reasons = reasons or ["no worker is ready"]
        elif requires_database and database_up is False:
            reasons = ["the database is unavailable"]
        facts: dict[str, object] = {
            "ready": not reasons,
            "reasons": reasons,
            "warnings": sorted(
                {warning for each in self.ready_workers() for warning in _warnings(each)}
            ),
            "database": _DATABASE[database_up],
            "workers": [self._worker(number, status) for number, status in enumerate(workers)],
        }
        return not reasons, facts

    def worker_statuses(self) -> list[ProcessStatus]:
        """Read the status of each worker."""
        return [self.shared.read(number) for number in range(self.workers)]

    def ready_workers(self) -> list[ProcessStatus]:
        """Return the status of each worker that is ready and has a recent heartbeat."""
        return [
            status
            for status in self.worker_statuses()
            if status.state is ProcessState.READY and self._is_responsive(status)
        ]

    def database_up(self) -> bool | None:
        """Return whether the database answered the last check of every ready worker.

        None if this is unknown: no worker is ready, and none waits for the database. The cause is then not
        the database, and a database alert would mislead operators.
        """
        if ready := self.ready_workers():
            return all(status.database for status in ready)
        is_waiting = any(
            status.state is ProcessState.STARTING and status.reason
            for status in self.worker_statuses()
        )
        return False if is_waiting else None

    def _is_alive(self, heartbeat: float) -> bool:
        return self.now() - heartbeat < self.stuck_seconds

    def _is_responsive(self, status: ProcessStatus) -> bool:
        return self.now() - status.heartbeat < min(_READY_SECONDS, self.stuck_seconds)

    def _unready_reason(self, status: ProcessStatus) -> str:
        if self._is_unresponsive(status):
            return "the event loop of a worker does not respond"
        return status.reason

    def _is_unresponsive(self, status: ProcessStatus) -> bool:
        return status.state is ProcessState.READY and not self._is_responsive(status)

    def _worker(self, number: int, status: ProcessStatus) -> dict[str, object]:
        # Its last status stays "ready", which would send operators to another worker.
        state = "unresponsive" if self._is_unresponsive(status) else status.state.name.lower()
        return {"worker": number, "pid": status.pid, "state": state}


def _warnings(status: ProcessStatus) -> list[str]:
    """Return the problems of a ready worker."""
    return [each for each in (status.reason, _EXPIRED * status.certificate_expired) if each]
