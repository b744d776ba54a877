"""Both databases: one state for each read, one writer, notifications, and URLs with several servers."""

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

from podpass.database import (
    Database,
    DatabaseFailed,
    DatabaseUnusable,
    PreparedStatement,
    UnstorableValue,
    engine,
)
from podpass.database.column_types import Text

METADATA = MetaData()
THINGS = Table("things", METADATA, Column("name", Text, primary_key=True), Column("n", Integer))
WRITER = Path(__file__).with_name("writer.py")
NOTIFIED_SECONDS = 1.0
NAMED = PreparedStatement(select(THINGS.c.n).where(THINGS.c.name == bindparam("name")))


@asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Database]:
    async with Database(url) as made:
        await made.write(METADATA.create_all)
        yield made


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as made:
        await made.write(lambda connection: put(connection, "a", 1))
        yield made


def put(connection: Connection, name: str, n: int) -> None:
    connection.execute(insert(THINGS).values(name=name, n=n))


def increment(connection: Connection) -> None:
    """Read a value and write its successor. The update is lost if another writer runs in between."""
    n = connection.scalar(select(THINGS.c.n).filter_by(name="a"))
    connection.execute(update(THINGS).filter_by(name="a").values(n=(n or 0) + 1))


def read_value(connection: Connection) -> int | None:
    return connection.scalar(select(THINGS.c.n).filter_by(name="a"))


class Subscriber:
    """Counts the notifications of a topic."""

    def __init__(self, database: Database, topic: str = "things") -> None:
        self.times = 0
        self._notified = asyncio.Event()
        database.subscribe(topic, self._on_change)

    def _on_change(self) -> None:
        self.times += 1
        self._notified.set()

    def reset(self) -> None:
        """Discard the notifications so far."""
        self.times = 0
        self._notified.clear()

    async def wait(self, seconds: float) -> bool:
        """Wait for a notification."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._notified.wait(), seconds)
        return self._notified.is_set()


async def test_written_row_is_read_by_steps_and_by_prepared_statements(database: Database) -> None:
    assert await database.read(read_value) == 1
    assert [tuple(row) for row in await database.fetch(NAMED, {"name": "a"})] == [(1,)]
    assert await database.fetch(NAMED, {"name": "b"}) == []


async def test_failed_step_changes_nothing(database: Database) -> None:
    def fail(connection: Connection) -> None:
        put(connection, "b", 1)
        raise LookupError("no")

    with pytest.raises(LookupError):
        await database.write(fail)
    assert await database.fetch(NAMED, {"name": "b"}) == []
    await database.write(increment)
    assert await database.read(read_value) == 2


async def test_writers_of_two_processes_run_one_at_a_time(
    database: Database, database_url: str
) -> None:
    async with Database(database_url) as other:
        await asyncio.gather(
            *(one.write(increment) for _ in range(20) for one in (database, other))
        )
    assert await database.read(read_value) == 41


async def test_read_sees_one_state_during_writes(database: Database, database_url: str) -> None:
    loop, begun, written = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def step(connection: Connection) -> tuple[int | None, int | None]:
        before = read_value(connection)
        loop.call_soon_threadsafe(begun.set)
        if not database_url.startswith("sqlite"):
            assert written.wait(5)
        return before, read_value(connection)

    reading = asyncio.create_task(database.read(step))
    await begun.wait()
    await database.write(increment)
    written.set()
    assert await reading == (1, 1)


@pytest.mark.parametrize("kind", ["reads", "writes"])
async def test_sqlite_commit_is_durable(tmp_path: Path, kind: str) -> None:
    def step(connection: Connection) -> list[object]:
        asked = ("journal_mode", "synchronous", "secure_delete", "foreign_keys")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in asked]

    async with open_database(f"sqlite:///{tmp_path}/things.db") as database:
        run = database.read if kind == "reads" else database.write
        assert await run(step) == ["wal", 2, 1, 1]


async def test_step_reads_context_variables_of_its_caller(database: Database) -> None:
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="")
    who.set("ann")
    assert await database.read(lambda _: who.get()) == "ann"
    assert await database.write(lambda _: who.get()) == "ann"


async def test_write_of_a_cancelled_caller_is_finished_and_published(database: Database) -> None:
    subscriber = Subscriber(database)

    def slow(connection: Connection) -> None:
        increment(connection)
        time.sleep(0.1)

    task = asyncio.create_task(database.write(slow, topics=["things"]))
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.wait([task])
    assert await subscriber.wait(5)
    await database.write(increment)
    assert (subscriber.times, await database.read(read_value)) == (1, 3)


async def test_change_is_published_immediately_and_to_other_processes_within_a_second(
    database: Database, database_url: str
) -> None:
    async with Database(database_url) as other:
        here, keys, there = Subscriber(database), Subscriber(database, "keys"), Subscriber(other)
        await database.write(increment, topics=["things"])
        assert (here.times, keys.times) == (1, 0)
        assert await there.wait(NOTIFIED_SECONDS)
        here.reset()
        await other.write(increment, topics=["things"])
        assert await here.wait(NOTIFIED_SECONDS)


async def test_write_without_topics_notifies_no_subscriber(database: Database) -> None:
    subscriber = Subscriber(database)
    await database.write(increment)
    assert not await subscriber.wait(0.6)  # longer than the polling interval of the file


async def test_change_by_another_process_is_noticed_within_a_second(
    database: Database, database_url: str
) -> None:
    subscriber = Subscriber(database)
    writer = await asyncio.create_subprocess_exec(
        *(sys.executable, WRITER, database_url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    assert await writer.stdout.readline() == b"open\n"
    subscriber.reset()
    writer.stdin.write(b"write\n")
    assert await writer.stdout.readline() == b"written\n"
    assert await subscriber.wait(NOTIFIED_SECONDS)
    assert await database.read(read_value) == 2
    writer.stdin.close()
    assert await writer.wait() == 0


async def test_text_is_ordered_by_bytes_in_any_locale(database: Database) -> None:
    def step(connection: Connection) -> list[str]:
        for name in ("B", "_", "é", "-a", "Z", "\U0001f600", "\uffff"):
            put(connection, name, 0)
        return list(connection.scalars(select(THINGS.c.name).order_by(THINGS.c.name)))

    found = await database.write(step)
    assert found == sorted(found) == ["-a", "B", "Z", "_", "a", "é", "\uffff", "\U0001f600"]


async def test_invalid_utf8_as_a_query_value_raises_database_failed(database: Database) -> None:
    """One statement may read invalid UTF-8 and use it as the value of the next one."""
    wanted: Any = b"a"
    with pytest.raises(DatabaseFailed, match="invalid UTF-8 in a text column") as caught:
        await database.read(
            lambda connection: connection.scalar(select(THINGS).filter_by(name=wanted))
        )
    assert "backup" in caught.value.hint


async def test_nul_character_is_refused_by_both_databases(database: Database) -> None:
    with pytest.raises(UnstorableValue):
        await database.write(lambda connection: put(connection, "a\0b", 1))
    with pytest.raises(UnstorableValue):
        await database.read(
            lambda connection: connection.scalar(select(THINGS).filter_by(name="\0"))
        )


async def test_close_leaves_no_thread_and_no_task(database_url: str) -> None:
    before = set(threading.enumerate())
    async with Database(database_url) as database:
        await asyncio.gather(*(database.read(lambda _: None) for _ in range(8)))
        tasks = asyncio.all_tasks()
        assert database.is_connected
    assert not database.is_connected
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
async def test_error_for_a_database_that_cannot_be_opened_hides_the_password(url: str) -> None:
    """Options must not be shown either: libpq accepts a password there."""
    with pytest.raises(DatabaseUnusable) as caught:
        await Database(url).open()
    assert caught.value.hint
    assert "geheim" not in caught.value.message + repr(caught.value.facts)
    assert "geheim" not in "".join(traceback.format_exception(caught.value))


PASSWORD = "se,cr%40et"  # with a comma, and an escaped @


@pytest.mark.parametrize(
    ("hosts", "names", "ports"),
    [
        ("db1,db2", "db1,db2", "5432,5432"),
        ("db1:5433,db2", "db1,db2", "5433,5432"),
        ("10.0.0.1:5432,[fd00::1]:5433,db3", "10.0.0.1,fd00::1,db3", "5432,5433,5432"),
    ],
)
def test_url_with_several_servers_is_parsed(hosts: str, names: str, ports: str) -> None:
    url = engine.parse_url(f"postgresql://podpass:{PASSWORD}@{hosts}/directory?sslmode=verify-full")
    arguments = engine.connect_arguments(url)
    assert (arguments["host"], arguments["port"]) == (names, ports)
    assert (arguments["user"], arguments["password"]) == ("podpass", "se,cr@et")
    assert (arguments["dbname"], arguments["sslmode"]) == ("directory", "verify-full")
    assert arguments["target_session_attrs"] == "read-write"
    assert names in engine.redact_url(url)
    assert "se,cr" not in engine.redact_url(url)


def test_url_with_one_server_accepts_a_read_only_server() -> None:
    url = engine.parse_url(f"postgresql://podpass:{PASSWORD}@db1/directory")
    assert "target_session_attrs" not in engine.connect_arguments(url)


def test_option_of_the_url_chooses_another_server() -> None:
    url = engine.parse_url("postgresql://db1,db2/directory?target_session_attrs=primary")
    assert engine.connect_arguments(url)["target_session_attrs"] == "primary"


@pytest.mark.parametrize("hosts", ["db1,", ",db2", "db1:x,db2", "db1,db2:5432:1", "[fd00::1,db2"])
def test_invalid_list_of_servers_is_refused_without_the_password(hosts: str) -> None:
    with pytest.raises(DatabaseUnusable) as caught:
        engine.parse_url(f"postgresql://podpass:{PASSWORD}@{hosts}/directory")
    assert "se,cr" not in f"{caught.value} {caught.value.hint}"
