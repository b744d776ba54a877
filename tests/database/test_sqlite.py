"""A SQLite file whose disk, or whose owner, does what nobody hopes for."""

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, literal_column, select, text

from podpass.database import Database, DatabaseFailed, DatabaseUnusable, Prepared
from podpass.database.column_types import NotUtf8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "with space" / "things.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    path.parent.mkdir()
    async with Database(f"sqlite:///{path}") as made:
        await made.write(_make)
        yield made


def _make(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE things (name varchar UNIQUE, n integer)"))
    _put(connection)


def _put(connection: Connection) -> None:
    connection.execute(text("INSERT INTO things SELECT hex(randomblob(9)), 1"))


def _count(connection: Connection) -> int:
    return int(connection.scalar(text("SELECT count(*) FROM things")) or 0)


async def test_a_commit_that_fails_leaves_no_transaction_and_no_lock_behind(
    database: Database, path: Path
) -> None:
    driver: Any = await database.read(lambda one: one.connection.driver_connection)

    def deny_commit(_action: int, what: str | None, *_: Any) -> int:
        return sqlite3.SQLITE_DENY if what == "COMMIT" else sqlite3.SQLITE_OK

    driver.set_authorizer(deny_commit)
    with pytest.raises(DatabaseFailed):
        await database.write(_put)
    assert await database.read(_count) == 1
    with closing(sqlite3.connect(path, timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.rollback()
    driver.set_authorizer(None)
    await database.write(_put)
    assert await database.read(_count) == 2


async def test_a_file_that_is_well_looks_well(database: Database) -> None:
    await database.look()
    await database.write(_put)
    await database.look()


async def test_a_file_that_was_overwritten_is_found_though_its_pages_are_in_memory(
    database: Database, path: Path
) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    with pytest.raises(DatabaseFailed) as caught:
        await database.look()
    assert "SQLITE_" in str(caught.value.facts["cause"])


@pytest.mark.parametrize("another", [True, False])
async def test_a_file_that_was_taken_away_is_found_and_told_of_once(
    database: Database, path: Path, another: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "podpass.database")
    elsewhere = path.with_name("elsewhere.db")
    path.rename(elsewhere)
    if another:
        path.touch()
    with pytest.raises(DatabaseFailed, match="gone"):
        await database.look()
    assert another == path.exists()
    for heard in (False, True):
        async with asyncio.timeout(5):
            while database.heard is not heard:  # noqa: ASYNC110 nothing else tells of it
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        if elsewhere.exists():
            elsewhere.replace(path)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["database_not_watched", "database_watched"]
    await database.look()


async def test_a_file_that_is_to_be_there_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "mistyped.db"
    with pytest.raises(DatabaseUnusable, match="No such file"):
        await Database(f"sqlite:///{path}", make=False).open()
    assert not path.exists()


NAMES: Any = select(literal_column("name")).select_from(text("things")).order_by(text("n"))


async def _spoil(database: Database, path: Path) -> None:
    """Put a text that is none between two that are whole."""
    await database.write(lambda one: one.execute(text("UPDATE things SET name = 'ä'")))
    with contextlib.closing(sqlite3.connect(path)) as other, other:
        other.execute("INSERT INTO things VALUES (CAST(x'62ff' AS TEXT), 2), ('', 3)")


async def test_a_text_that_is_none_is_given_as_what_it_is_and_stops_no_list(
    database: Database, path: Path
) -> None:
    await _spoil(database, path)
    every = ["ä", NotUtf8(b"b\xff"), ""]
    for found in (
        await database.read(lambda one: list(one.scalars(NAMES))),
        await database.write(lambda one: list(one.scalars(NAMES))),
        [name for (name,) in await database.fetch(Prepared(NAMES), {})],
    ):
        assert found == every
        assert [type(name) for name in found] == [str, NotUtf8, str]


async def test_a_text_that_is_none_is_read_in_the_same_state_as_what_came_before(
    database: Database, path: Path
) -> None:
    await _spoil(database, path)
    counted: list[int] = []

    def step(connection: Connection) -> list[object]:
        counted.append(_count(connection))
        if len(counted) == 1:
            with contextlib.closing(sqlite3.connect(path)) as other, other:
                other.execute("INSERT INTO things VALUES ('later', 4)")
        return list(connection.scalars(NAMES))

    assert "later" not in await database.read(step)
    assert counted == [3, 3]


async def test_nothing_that_is_read_later_is_slower_for_a_text_that_was_none(
    database: Database, path: Path
) -> None:
    """Each text would be read by a function of ours: five times as long."""
    driver: Any = await database.read(lambda one: one.connection.driver_connection)
    await _spoil(database, path)
    await database.read(lambda one: list(one.scalars(NAMES)))
    assert driver.text_factory is str
    await database.fetch(Prepared(NAMES), {})
    assert driver.text_factory is str
    await database.write(lambda one: list(one.scalars(NAMES)))
    assert driver.text_factory is str


async def test_a_step_that_fails_for_another_reason_is_not_read_again(database: Database) -> None:
    asked: list[int] = []

    def step(connection: Connection) -> None:
        asked.append(1)
        connection.execute(text("SELECT nothing"))

    with pytest.raises(DatabaseFailed):
        await database.read(step)
    assert asked == [1]


async def test_a_file_in_which_a_text_is_none_looks_well(database: Database, path: Path) -> None:
    """It is one row's damage: no replica is to be taken out of service for it."""
    await database.write(lambda one: one.execute(text("DELETE FROM things")))
    await _spoil(database, path)
    await database.look()


async def test_what_may_run_once_only_does_and_reads_a_text_that_is_none(
    database: Database, path: Path
) -> None:
    await _spoil(database, path)
    asked: list[int] = []

    def step(connection: Connection) -> list[object]:
        asked.append(1)
        return list(connection.scalars(NAMES))

    assert len(await database.read(step, once=True)) == 3
    assert asked == [1]
