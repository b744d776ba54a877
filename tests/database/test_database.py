"""What holds for a database of either kind: one state a read, one writer at a time, news of every change."""

import asyncio
import contextlib
import contextvars
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    MetaData,
    Table,
    bindparam,
    insert,
    select,
    update,
)

from podpass.database import Database, DatabaseFailed, DatabaseUnusable, Prepared, ValueUnfit
from podpass.database.column_types import Text

METADATA = MetaData()
THINGS = Table("things", METADATA, Column("name", Text, primary_key=True), Column("n", Integer))
WRITER = Path(__file__).with_name("writer.py")
HEARD_SECONDS = 1.0
NAMED = Prepared(select(THINGS.c.n).where(THINGS.c.name == bindparam("name")))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    async with Database(url) as made:
        await made.write(METADATA.create_all)
        yield made


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url) as made:
        await made.write(lambda connection: put(connection, "a", 1))
        yield made


def put(connection: Connection, name: str, n: int) -> None:
    connection.execute(insert(THINGS).values(name=name, n=n))


def add(connection: Connection) -> None:
    """Read, and write what follows from it: lost if another writer comes between."""
    n = connection.scalar(select(THINGS.c.n).filter_by(name="a"))
    connection.execute(update(THINGS).filter_by(name="a").values(n=(n or 0) + 1))


def value(connection: Connection) -> int | None:
    return connection.scalar(select(THINGS.c.n).filter_by(name="a"))


class Ear:
    """Hears of a topic, and notes it."""

    def __init__(self, database: Database, topic: str = "things") -> None:
        self.times = 0
        self._news = asyncio.Event()
        database.listen(topic, self._hear)

    def _hear(self) -> None:
        self.times += 1
        self._news.set()

    def deaf(self) -> None:
        """Forget what was heard so far."""
        self.times = 0
        self._news.clear()

    async def within(self, seconds: float) -> bool:
        """Wait for news."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds)
        return self._news.is_set()


async def test_what_is_written_is_read_by_steps_and_by_prepared_statements(
    database: Database,
) -> None:
    assert await database.read(value) == 1
    assert [tuple(row) for row in await database.fetch(NAMED, {"name": "a"})] == [(1,)]
    assert await database.fetch(NAMED, {"name": "b"}) == []


async def test_a_step_that_fails_leaves_nothing_behind(database: Database) -> None:
    def fail(connection: Connection) -> None:
        put(connection, "b", 1)
        raise LookupError("no")

    with pytest.raises(LookupError):
        await database.write(fail)
    assert await database.fetch(NAMED, {"name": "b"}) == []
    await database.write(add)
    assert await database.read(value) == 2


async def test_writers_of_two_processes_come_one_at_a_time(
    database: Database, database_url: str
) -> None:
    async with Database(database_url) as other:
        await asyncio.gather(*(one.write(add) for _ in range(20) for one in (database, other)))
    assert await database.read(value) == 41


async def test_a_read_sees_one_state_while_others_write(
    database: Database, database_url: str
) -> None:
    loop, begun, written = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def step(connection: Connection) -> tuple[int | None, int | None]:
        before = value(connection)
        loop.call_soon_threadsafe(begun.set)
        if not database_url.startswith("sqlite"):
            assert written.wait(5)
        return before, value(connection)

    reading = asyncio.create_task(database.read(step))
    await begun.wait()
    await database.write(add)
    written.set()
    assert await reading == (1, 1)


@pytest.mark.parametrize("kind", ["reads", "writes"])
async def test_a_commit_to_a_file_is_on_the_disk_before_it_is_told(
    tmp_path: Path, kind: str
) -> None:
    def step(connection: Connection) -> list[object]:
        asked = ("journal_mode", "synchronous", "secure_delete", "foreign_keys")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in asked]

    async with opened(f"sqlite:///{tmp_path}/things.db") as database:
        run = database.read if kind == "reads" else database.write
        assert await run(step) == ["wal", 2, 1, 1]


async def test_who_acts_is_known_in_a_step(database: Database) -> None:
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="")
    who.set("ann")
    assert await database.read(lambda _: who.get()) == "ann"
    assert await database.write(lambda _: who.get()) == "ann"


async def test_a_writer_that_nobody_waits_for_any_more_is_finished_and_told(
    database: Database,
) -> None:
    ear = Ear(database)

    def slow(connection: Connection) -> None:
        add(connection)
        time.sleep(0.1)

    task = asyncio.create_task(database.write(slow, tells=["things"]))
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.wait([task])
    assert await ear.within(5)
    await database.write(add)
    assert (ear.times, await database.read(value)) == (1, 3)


async def test_a_change_is_heard_here_at_once_and_elsewhere_within_a_second(
    database: Database, database_url: str
) -> None:
    async with Database(database_url) as other:
        here, keys, there = Ear(database), Ear(database, "keys"), Ear(other)
        await database.write(add, tells=["things"])
        assert (here.times, keys.times) == (1, 0)
        assert await there.within(HEARD_SECONDS)
        here.deaf()
        await other.write(add, tells=["things"])
        assert await here.within(HEARD_SECONDS)


async def test_a_write_that_tells_nothing_makes_nothing_stale_here(database: Database) -> None:
    ear = Ear(database)
    await database.write(add)
    assert not await ear.within(0.6)  # longer than from one look at the file to the next


async def test_another_process_is_heard_within_a_second(
    database: Database, database_url: str
) -> None:
    ear = Ear(database)
    writer = await asyncio.create_subprocess_exec(
        *(sys.executable, WRITER, database_url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    assert await writer.stdout.readline() == b"open\n"
    ear.deaf()
    writer.stdin.write(b"write\n")
    assert await writer.stdout.readline() == b"written\n"
    assert await ear.within(HEARD_SECONDS)
    assert await database.read(value) == 2
    writer.stdin.close()
    assert await writer.wait() == 0


async def test_text_is_ordered_byte_for_byte_whatever_the_locale(database: Database) -> None:
    def step(connection: Connection) -> list[str]:
        for name in ("B", "_", "é", "-a", "Z", "\U0001f600", "\uffff"):
            put(connection, name, 0)
        return list(connection.scalars(select(THINGS.c.name).order_by(THINGS.c.name)))

    found = await database.write(step)
    assert found == sorted(found) == ["-a", "B", "Z", "_", "a", "é", "\uffff", "\U0001f600"]


async def test_bytes_that_would_be_looked_up_as_a_text_are_told_in_words(
    database: Database,
) -> None:
    """SQLite keeps bytes in a column of text, and what one step reads another looks up."""
    wanted: Any = b"a"
    with pytest.raises(DatabaseFailed, match="bytes where a text belongs") as caught:
        await database.read(
            lambda connection: connection.scalar(select(THINGS).filter_by(name=wanted))
        )
    assert "backup" in caught.value.hint


async def test_a_nul_character_is_refused_by_either_kind(database: Database) -> None:
    with pytest.raises(ValueUnfit):
        await database.write(lambda connection: put(connection, "a\0b", 1))
    with pytest.raises(ValueUnfit):
        await database.read(
            lambda connection: connection.scalar(select(THINGS).filter_by(name="\0"))
        )


async def test_nothing_is_left_after_it_is_closed(database_url: str) -> None:
    before = set(threading.enumerate())
    async with Database(database_url) as database:
        await asyncio.gather(*(database.read(lambda _: None) for _ in range(8)))
        tasks = asyncio.all_tasks()
        assert database.heard
    assert not database.heard
    assert set(threading.enumerate()) == before
    assert len(asyncio.all_tasks()) == len(tasks) - 1
    async with Database(database_url):
        pass  # it can be opened again


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mysql://u:geheim@h/d",
        "sqlite://",
        "host=h password=geheim",
        "postgresql://u:geheim",
        "postgresql://u:geheim@h:99x/d",
        "postgresql://u:geheim@h/d?geheim=geheim",
        "postgresql://u:geheim@127.0.0.1:1/d",
        "postgresql://u@127.0.0.1:1/d?password=geheim&sslmode=disable",
        " postgresql://u:geheim@127.0.0.1:1/d\n",
    ],
)
async def test_what_cannot_be_opened_is_told_without_the_password(url: str) -> None:
    """Fails when an option is shown: libpq takes a password there too."""
    with pytest.raises(DatabaseUnusable) as caught:
        await Database(url).open()
    assert caught.value.hint
    assert "geheim" not in caught.value.message + repr(caught.value.facts)
    assert "geheim" not in "".join(traceback.format_exception(caught.value))
