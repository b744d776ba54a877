"""What probes and metrics say of the same board: the same."""

import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from podpass.servers.authority import metrics
from podpass.servers.authority.health_checks import Judge
from podpass.servers.authority.shared_status import Board, Overall, Row, State

STUCK_SECONDS = 15


def _told(*rows: Row) -> tuple[dict[str, object], dict[str, float]]:
    board = Board(len(rows))
    board.master = Overall(beat=100.0)
    for number, row in enumerate(rows):
        board.write(number, row)
    judge = Judge(board=board, workers=len(rows), stuck_seconds=STUCK_SECONDS, now=lambda: 100.0)
    found = {
        sample.name.removeprefix("podpass_authority_"): sample.value
        for metric in metrics.FromBoard(judge).collect()
        for sample in metric.samples
    }
    return judge.readyz()[1], found


def _row(
    *, beat: float = 99.0, database: bool = True, state: State = State.READY, reason: str = ""
) -> Row:
    return Row(pid=1, state=state, beat=beat, database=database, reason=reason)


def test_a_worker_that_hangs_serves_nobody_for_probes_and_metrics_alike() -> None:
    ready, found = _told(_row(beat=40.0))
    assert (ready["ready"], ready["database"]) == (False, "unknown")
    assert found["workers_ready"] == 0


def test_a_database_that_nobody_can_tell_of_is_not_said_to_be_away() -> None:
    """Workers that end over a sealing key, a certificate or a stop say nothing of the database."""
    for row in (
        _row(state=State.GONE, database=False, reason="sealed with another key"),
        _row(state=State.DRAINING),
        _row(state=State.STARTING, database=False),
    ):
        ready, found = _told(row)
        assert ready["database"] == "unknown"
        assert math.isnan(found["database_up"])
    ready, found = _told(_row(state=State.STARTING, database=False, reason="it is awaited"))
    assert (ready["database"], found["database_up"]) == ("down", 0)


def test_only_workers_that_serve_say_whether_the_database_is_there() -> None:
    ready, found = _told(_row(), _row(beat=40.0, database=False))
    assert (ready["ready"], ready["database"]) == (True, "up")
    assert (found["workers_ready"], found["database_up"]) == (1, 1)
    ready, found = _told(_row(), _row(database=False), _row(state=State.STARTING))
    assert (ready["ready"], ready["database"]) == (True, "down")
    assert (found["workers_ready"], found["database_up"]) == (2, 0)


def test_no_room_for_metrics_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with (
        _limited(resource.RLIMIT_FSIZE, 64 * 1024),
        pytest.raises(metrics.NoRoom, match="no room for metrics in") as caught,
        metrics.folder(),
    ):
        raise AssertionError
    assert "TMPDIR" in caught.value.hint


@contextmanager
def _limited(what: int, most: int) -> Iterator[None]:
    before = resource.getrlimit(what)
    resource.setrlimit(what, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)
