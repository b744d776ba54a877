"""Probes and metrics report the same for one shared status."""

import json
import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from podpass.http.server import App
from podpass.servers.authority import metrics
from podpass.servers.authority.health_checks import HealthChecker
from podpass.servers.authority.health_server import create_app
from podpass.servers.authority.shared_status import (
    ProcessState,
    ProcessStatus,
    SharedStatus,
    SupervisorStatus,
)

STUCK_SECONDS = 15


def _checker(*statuses: ProcessStatus) -> HealthChecker:
    shared = SharedStatus(len(statuses))
    shared.supervisor = SupervisorStatus(heartbeat=100.0)
    for number, status in enumerate(statuses):
        shared.write(number, status)
    return HealthChecker(
        shared=shared, workers=len(statuses), stuck_seconds=STUCK_SECONDS, now=lambda: 100.0
    )


async def _probe(app: App, query: bytes) -> tuple[int, dict[str, Any]]:
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("a probe has no body")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/readyz", "query_string": query}
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(body) if body.startswith(b"{") else {}


def _report(*statuses: ProcessStatus) -> tuple[dict[str, Any], dict[str, float]]:
    checker = _checker(*statuses)
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


@pytest.mark.parametrize(
    ("status", "plain", "required"),
    [
        (_status(), 200, 200),
        (_status(database=False), 200, 503),
        (_status(heartbeat=40.0), 503, 503),
    ],
    ids=["up", "down", "unknown"],
)
async def test_readiness_requires_the_database_only_on_request(
    tmp_path: Path, status: ProcessStatus, plain: int, required: int
) -> None:
    app = create_app(_checker(status), tmp_path)
    assert (await _probe(app, b""))[0] == plain
    code, body = await _probe(app, b"require=database")
    assert code == required
    assert ("the database is unavailable" in body["reasons"]) is (plain != required)


async def test_draining_replica_reports_that_it_drains(tmp_path: Path) -> None:
    checker = _checker(_status(database=False))
    checker.shared.supervisor = SupervisorStatus(heartbeat=100.0, draining=True)
    code, body = await _probe(create_app(checker, tmp_path), b"require=database")
    assert (code, body["reasons"]) == (503, ["draining"])


@pytest.mark.parametrize("query", [b"require=cache", b"require=", b"require=database&require=x"])
async def test_unknown_requirement_of_readiness_is_refused(tmp_path: Path, query: bytes) -> None:
    """A probe with a typing error must not pass as a check of the database."""
    assert (await _probe(create_app(_checker(_status()), tmp_path), query))[0] == 400


@pytest.mark.parametrize(
    ("query", "code"), [(b"verbose", 200), (b"x=%ff&y", 200), (b"x=1&require=database", 503)]
)
async def test_other_queries_of_readiness_are_ignored(
    tmp_path: Path, query: bytes, code: int
) -> None:
    app = create_app(_checker(_status(database=False)), tmp_path)
    assert (await _probe(app, query))[0] == code


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
