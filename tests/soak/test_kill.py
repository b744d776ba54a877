"""kill -9 in the middle of writing, a few rounds; `make soak` makes two hundred."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests import postgres
from tests.soak.kill import Killing
from tests.soak.wrong import Wrong

SEED = int(os.environ.get("SOAK_SEED", "0")) or int.from_bytes(os.urandom(3))
ROUNDS = 5


@pytest.mark.timeout(120)
async def test_what_was_acknowledged_outlives_kill_9_and_nothing_is_half_done(
    tmp_path: Path,
) -> None:
    killing = Killing(f"sqlite:///{tmp_path / 'directory.db'}", tmp_path, SEED)
    await killing.begin()
    for _ in range(ROUNDS):
        await killing.round()
    killing.end()
    assert killing.acknowledged > 0, "it was killed too early"


@pytest.mark.postgres
@pytest.mark.timeout(180)
async def test_it_outlives_the_death_of_postgresql_too(tmp_path: Path) -> None:
    with postgres.running(fsync=True) as server:
        killing = Killing(server.fresh(), tmp_path, SEED)
        await killing.begin()
        for number in range(ROUNDS):
            if number % 2:
                await killing.round(server.kill, server.start)
            else:
                await killing.round()
    assert killing.acknowledged > 0, "it was killed too early"


async def test_a_row_that_is_lost_is_seen(tmp_path: Path) -> None:
    """A harness that finds nothing might look at nothing."""
    path = tmp_path / "directory.db"
    killing = Killing(f"sqlite:///{path}", tmp_path, SEED)
    await killing.begin()
    await killing.round()
    while not killing.acknowledged:
        await killing.round()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("delete from audit_entries where serial = 2")
    with pytest.raises(Wrong, match="has changed after its round"):
        await killing.round()


async def test_a_change_of_which_a_part_is_there_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "directory.db"
    killing = Killing(f"sqlite:///{path}", tmp_path, SEED)
    await killing.begin()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            "create trigger forgets after insert on federated_credentials"
            " when new.name = 'c13' begin delete from federated_credentials where name = 'c13'; end"
        )

    async def until_it_has_written() -> None:
        while killing.acknowledged < 20:
            await killing.round()

    with pytest.raises(Wrong, match="lost: federated_credentials"):
        await until_it_has_written()
