"""The check of an instance's database files: its cost, and its log."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from podpass.database import Database, DatabaseBusy, DatabaseFailed, DatabaseFull, DatabaseReadOnly
from podpass.errors import Error
from podpass.lab.data.datadir import DataDir
from podpass.lab.instance.data_files import DataFiles


class ClusterFile:
    """The check of a cluster's file, which counts its calls."""

    def __init__(self) -> None:
        self.calls, self.is_damaged = 0, False

    def check(self) -> None:
        self.calls += 1
        if self.is_damaged:
            raise Error("kubernetes.db was removed", hint="put it back")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(f"sqlite:///{tmp_path / 'directory.db'}") as opened:
        yield opened


async def test_requests_of_one_second_share_one_check_and_a_change_is_logged_once(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The attack: many requests to the probe, which needs no token, and which would each read the files."""
    caplog.set_level(logging.INFO, "podpass.lab.instance")
    cluster, times = ClusterFile(), [0.0]
    files = DataFiles(DataDir(tmp_path), database, cluster.check, lambda: times[0])
    assert [await files.find_damaged() for _ in range(20)] == [[]] * 20
    assert cluster.calls == 1
    cluster.is_damaged = True
    for times[0] in (1.5, 2.0, 3.0):
        found = await files.find_damaged()
        assert [each["hint"] for each in found] == ["put it back"]
    assert cluster.calls == 3
    cluster.is_damaged = False
    times[0] = 4.5
    assert await files.find_damaged() == []
    events = [each.getMessage() for each in caplog.records]
    assert events == ["database_check_failed", "database_check_recovered"]


@pytest.mark.parametrize("cause", [DatabaseBusy, DatabaseFull, DatabaseReadOnly])
async def test_database_that_can_be_read_is_not_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: type[DatabaseFailed]
) -> None:
    """Otherwise a full disk would stop all tokens of a cloud whose reads still work."""

    async def fail(_: Database) -> None:
        raise cause("the disk is full", cause="SQLITE_FULL")

    monkeypatch.setattr(Database, "ping", fail)
    database = Database(f"sqlite:///{tmp_path / 'directory.db'}")
    assert await DataFiles(DataDir(tmp_path), database).find_damaged() == []
