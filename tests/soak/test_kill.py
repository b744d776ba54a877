"""A few rounds of kill -9 during writes; `make soak` runs two hundred."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests import postgres
from tests.soak.kill import KillRounds
from tests.soak.violation import Violation

pytestmark = pytest.mark.processes

ROUNDS = 5


@pytest.mark.timeout(120)
async def test_acknowledged_changes_survive_kill_9_and_none_is_partial(
    tmp_path: Path, seed: int
) -> None:
    rounds = KillRounds(f"sqlite:///{tmp_path / 'directory.db'}", tmp_path, seed)
    await rounds.prepare()
    for _ in range(ROUNDS):
        await rounds.run_round()
    rounds.check_integrity()
    assert rounds.acknowledged > 0, "every writer was killed before its first change"


@pytest.mark.postgres
@pytest.mark.timeout(180)
async def test_acknowledged_changes_survive_kill_9_of_postgresql(tmp_path: Path, seed: int) -> None:
    with postgres.running(fsync=True) as server:
        rounds = KillRounds(server.fresh(), tmp_path, seed)
        await rounds.prepare()
        for number in range(ROUNDS):
            if number % 2:
                await rounds.run_round(server.kill, server.start)
            else:
                await rounds.run_round()
    assert rounds.acknowledged > 0, "every writer was killed before its first change"


async def test_lost_row_is_reported(tmp_path: Path, seed: int) -> None:
    """The checks must be able to fail."""
    path = tmp_path / "directory.db"
    rounds = KillRounds(f"sqlite:///{path}", tmp_path, seed)
    await rounds.prepare()
    await rounds.run_round()
    while not rounds.acknowledged:
        await rounds.run_round()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("delete from audit_entries where serial = 2")
    with pytest.raises(Violation, match="has changed after its round"):
        await rounds.run_round()


async def test_partial_change_is_reported(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "directory.db"
    rounds = KillRounds(f"sqlite:///{path}", tmp_path, seed)
    await rounds.prepare()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            "create trigger forgets after insert on federated_credentials"
            " when new.name = 'c13' begin delete from federated_credentials where name = 'c13'; end"
        )

    async def run_rounds() -> None:
        while rounds.acknowledged < 20:
            await rounds.run_round()

    with pytest.raises(Violation, match="lost: federated_credentials"):
        await run_rounds()
