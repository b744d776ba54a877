"""Probes and metrics report the same for one shared status."""

import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from podpass.servers.authority import metrics
from podpass.servers.authority.health_checks import HealthChecker
from podpass.servers.authority.shared_status import (
    ProcessState,
    ProcessStatus,
    SharedStatus,
    SupervisorStatus,
)

STUCK_SECONDS = 15


def _report(*statuses: ProcessStatus) -> tuple[dict[str, Any], dict[str, float]]:
    shared = SharedStatus(len(statuses))
    shared.supervisor = SupervisorStatus(heartbeat=100.0)
    for number, status in enumerate(statuses):
        shared.write(number, status)
    checker = HealthChecker(
        shared=shared, workers=len(statuses), stuck_seconds=STUCK_SECONDS, now=lambda: 100.0
    )
    found = {
        sample.name.removeprefix("podpass_authority_"): sample.value
        for metric in metrics.StatusCollector(checker).collect()
        for sample in metric.samples
    }
    return checker.readyz()[1], found


def _status(
    *,
    heartbeat: float = 99.0,
    database: bool = True,
    state: ProcessState = ProcessState.READY,
    reason: str = "",
) -> ProcessStatus:
    return ProcessStatus(pid=1, state=state, heartbeat=heartbeat, database=database, reason=reason)


def test_stuck_worker_is_not_ready_in_probes_and_metrics() -> None:
    ready, found = _report(_status(heartbeat=40.0))
    assert (ready["ready"], ready["database"]) == (False, "unknown")
    assert found["workers_ready"] == 0


def test_unknown_database_state_is_not_reported_as_down() -> None:
    """Workers that exit because of a sealing key, a certificate or a stop do not know the database state."""
    for status in (
        _status(state=ProcessState.GONE, database=False, reason="sealed with another key"),
        _status(state=ProcessState.DRAINING),
        _status(state=ProcessState.STARTING, database=False),
    ):
        ready, found = _report(status)
        assert ready["database"] == "unknown"
        assert math.isnan(found["database_up"])
    ready, found = _report(
        _status(state=ProcessState.STARTING, database=False, reason="the database cannot be opened")
    )
    assert (ready["database"], found["database_up"]) == ("down", 0)


def test_worker_with_a_late_heartbeat_is_unready_before_it_is_replaced() -> None:
    """Fails if readiness waits as long as the replacement: callers would wait for a timeout."""
    ready, found = _report(_status(heartbeat=96.0))
    assert ready["reasons"] == ["the event loop of a worker does not respond"]
    assert found["workers_ready"] == 0
    assert _report(_status(heartbeat=98.0))[0]["ready"]
    ready, found = _report(_status(heartbeat=96.0), _status())
    assert (ready["ready"], found["workers_ready"]) == (True, 1)
    assert [worker["state"] for worker in ready["workers"]] == ["unresponsive", "ready"]


def test_only_ready_workers_determine_database_state() -> None:
    ready, found = _report(_status(), _status(heartbeat=40.0, database=False))
    assert (ready["ready"], ready["database"]) == (True, "up")
    assert (found["workers_ready"], found["database_up"]) == (1, 1)
    ready, found = _report(_status(), _status(database=False), _status(state=ProcessState.STARTING))
    assert (ready["ready"], ready["database"]) == (True, "down")
    assert (found["workers_ready"], found["database_up"]) == (2, 0)


def test_full_metrics_directory_is_an_error_before_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with (
        _limit_resource(resource.RLIMIT_FSIZE, 64 * 1024),
        pytest.raises(
            metrics.MetricsDirectoryError, match="metrics cannot be written to"
        ) as caught,
        metrics.metrics_directory(),
    ):
        raise AssertionError
    assert "TMPDIR" in caught.value.hint


@contextmanager
def _limit_resource(resource_: int, limit: int) -> Iterator[None]:
    before = resource.getrlimit(resource_)
    resource.setrlimit(resource_, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource_, before)
