"""A SQLite file that is overwritten, removed, locked or has invalid UTF-8."""

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

from podpass.database import (
    Database,
    DatabaseDamaged,
    DatabaseFailed,
    DatabaseUnusable,
    PreparedStatement,
)
from podpass.database.column_types import InvalidUtf8


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


async def test_failed_commit_releases_transaction_and_lock(database: Database, path: Path) -> None:
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


async def test_ping_succeeds_for_a_valid_file(database: Database) -> None:
    await database.ping()
    await database.write(_put)
    await database.ping()


async def test_ping_finds_an_overwritten_file_although_its_pages_are_cached(
    database: Database, path: Path
) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    with pytest.raises(DatabaseDamaged) as caught:
        await database.ping()
    assert "SQLITE_" in str(caught.value.facts["cause"])


async def test_ping_fails_while_a_repaired_file_has_damaged_pages_in_memory(
    database: Database, path: Path
) -> None:
    """Fails if readiness follows the file alone, and every request fails until the next start."""
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    intact = path.read_bytes()
    for content in (os.urandom(len(intact)), intact):
        with path.open("r+b") as file:
            file.write(content)
        with pytest.raises(DatabaseFailed):
            await database.read(_count)
        with pytest.raises(DatabaseDamaged):
            await database.ping()


@pytest.mark.parametrize("another", [True, False])
async def test_removed_file_is_noticed_and_logged_once(
    database: Database, path: Path, another: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "podpass.database")
    elsewhere = path.with_name("elsewhere.db")
    path.rename(elsewhere)
    if another:
        path.touch()
    with pytest.raises(DatabaseFailed, match="gone"):
        await database.ping()
    assert another == path.exists()
    for connected in (False, True):
        async with asyncio.timeout(5):
            while database.is_connected is not connected:  # noqa: ASYNC110 there is no event for it
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        if elsewhere.exists():
            elsewhere.replace(path)
    events = [record.getMessage() for record in caplog.records]
    assert events == ["database_polling_failed", "database_polling_recovered"]
    await database.ping()


async def test_missing_file_is_not_created_if_make_is_false(tmp_path: Path) -> None:
    path = tmp_path / "mistyped.db"
    with pytest.raises(DatabaseUnusable, match="No such file"):
        await Database(f"sqlite:///{path}", make=False).open()
    assert not path.exists()


NAMES: Any = select(literal_column("name")).select_from(text("things")).order_by(text("n"))


async def test_deleted_text_does_not_remain_in_the_file(tmp_path: Path) -> None:
    """Deleted secrets would remain in free pages, and thus in copies of the file."""
    path = tmp_path / "things.db"
    async with Database(f"sqlite:///{path}") as database:
        await database.write(lambda one: one.execute(text("CREATE TABLE things (name varchar)")))
        insert = text("INSERT INTO things VALUES ('deleted' || '-text')")
        await database.write(lambda one: one.execute(insert))
        await database.write(lambda one: one.execute(text("DELETE FROM things")))
    assert list(tmp_path.iterdir()) == [path]
    assert b"deleted-text" not in path.read_bytes()


async def _insert_invalid_utf8(database: Database, path: Path) -> None:
    """Insert invalid UTF-8 between two valid texts."""
    await database.write(lambda one: one.execute(text("UPDATE things SET name = 'ä'")))
    with contextlib.closing(sqlite3.connect(path)) as other, other:
        other.execute("INSERT INTO things VALUES (CAST(x'62ff' AS TEXT), 2), ('', 3)")


async def test_invalid_utf8_is_returned_as_bytes_and_fails_no_list(
    database: Database, path: Path
) -> None:
    await _insert_invalid_utf8(database, path)
    every = ["ä", InvalidUtf8(b"b\xff"), ""]
    for found in (
        await database.read(lambda one: list(one.scalars(NAMES))),
        await database.write(lambda one: list(one.scalars(NAMES))),
        [name for (name,) in await database.fetch(PreparedStatement(NAMES), {})],
    ):
        assert found == every
        assert [type(name) for name in found] == [str, InvalidUtf8, str]


async def test_retry_after_invalid_utf8_reads_the_same_snapshot(
    database: Database, path: Path
) -> None:
    await _insert_invalid_utf8(database, path)
    counted: list[int] = []

    def step(connection: Connection) -> list[object]:
        counted.append(_count(connection))
        if len(counted) == 1:
            with contextlib.closing(sqlite3.connect(path)) as other, other:
                other.execute("INSERT INTO things VALUES ('later', 4)")
        return list(connection.scalars(NAMES))

    assert "later" not in await database.read(step)
    assert counted == [3, 3]


async def test_text_factory_is_reset_after_invalid_utf8(database: Database, path: Path) -> None:
    """Otherwise every later text would be decoded in Python, which takes five times as long."""
    driver: Any = await database.read(lambda one: one.connection.driver_connection)
    await _insert_invalid_utf8(database, path)
    await database.read(lambda one: list(one.scalars(NAMES)))
    assert driver.text_factory is str
    await database.fetch(PreparedStatement(NAMES), {})
    assert driver.text_factory is str
    await database.write(lambda one: list(one.scalars(NAMES)))
    assert driver.text_factory is str


async def test_step_that_fails_for_another_reason_is_not_retried(database: Database) -> None:
    asked: list[int] = []

    def step(connection: Connection) -> None:
        asked.append(1)
        connection.execute(text("SELECT nothing"))

    with pytest.raises(DatabaseFailed):
        await database.read(step)
    assert asked == [1]


async def test_ping_succeeds_for_a_file_with_invalid_utf8(database: Database, path: Path) -> None:
    """One corrupt row must not make the replica unready."""
    await database.write(lambda one: one.execute(text("DELETE FROM things")))
    await _insert_invalid_utf8(database, path)
    await database.ping()


async def test_read_once_decodes_invalid_utf8(database: Database, path: Path) -> None:
    await _insert_invalid_utf8(database, path)
    asked: list[int] = []

    def step(connection: Connection) -> list[object]:
        asked.append(1)
        return list(connection.scalars(NAMES))

    assert len(await database.read(step, once=True)) == 3
    assert asked == [1]
