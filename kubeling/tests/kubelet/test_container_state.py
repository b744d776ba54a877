"""The records of containers across restarts of the kubelet."""

from pathlib import Path

import pytest

from kubeling.kubelet.container_state import (
    ContainerRecord,
    Running,
    Terminated,
    Waiting,
    load_records,
    save_records,
)

TERMINATED = Terminated(
    code=3, reason="Error", message="m", container_id="c", started_at=1, finished_at=2
)


def test_terminated_and_waiting_containers_are_restored(tmp_path: Path) -> None:
    records = {
        "a": ContainerRecord(state=TERMINATED, restarts=2, delay=20, ready=True),
        "b": ContainerRecord(state=Waiting(reason="X", message="y"), last=TERMINATED),
    }
    save_records(tmp_path / "r", records)
    assert load_records(tmp_path / "r", 50) == records


def test_running_container_is_restored_as_terminated(tmp_path: Path) -> None:
    state = Running(container_id="c", started_at=10)
    save_records(
        tmp_path / "r", {"a": ContainerRecord(state=state, restarts=1, started=True, ready=True)}
    )
    record = load_records(tmp_path / "r", 50)["a"]
    assert isinstance(record.state, Terminated)
    assert (record.state.code, record.state.reason) == (137, "ContainerStatusUnknown")
    assert (record.state.started_at, record.state.finished_at) == (10, 50)
    assert (record.ready, record.started, record.restarts) == (False, False, 1)


@pytest.mark.parametrize("data", [b"", b"[]", b'{"a": 1}', b'{"a": {"state": {"kind": "X"}}}'])
def test_invalid_file_counts_as_missing(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "r").write_bytes(data)
    assert load_records(tmp_path / "r", 0) == {}
    assert load_records(tmp_path / "none", 0) == {}


def test_state_file_is_readable_by_the_owner_only(tmp_path: Path) -> None:
    save_records(tmp_path / "r", {})
    assert (tmp_path / "r").stat().st_mode & 0o777 == 0o600
