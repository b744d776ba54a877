"""PostgreSQL that is unavailable, slow, restarted or frozen: fast errors, no stale data, recovery."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, func, literal_column, select, text

from podpass.database import (
    Database,
    DatabaseBusy,
    DatabaseFailed,
    DatabaseReadOnly,
    DatabaseUncertain,
    DatabaseUnusable,
    PreparedStatement,
    UnstorableValue,
)
from podpass.directory.store import schema as directory
from tests import postgres

pytestmark = pytest.mark.postgres

ERROR_SECONDS = 3.0
_SET = text("UPDATE things SET n = n + 1")
_LOSE_COMMITS = """
CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER lose AFTER UPDATE ON things DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION lose();
"""


PID = PreparedStatement(select(func.pg_backend_pid()))
SLOW = PreparedStatement(select(func.pg_sleep(1.9)))
VALUE = PreparedStatement(select(literal_column("n")).select_from(text("things")))


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    """Provide a server that these tests may stop."""
    with postgres.running() as made:
        yield made


@pytest.fixture
async def database(server: postgres.Server) -> AsyncIterator[Database]:
    url = server.fresh()
    async with Database(url, patience=0.5) as made:
        await made.write(create_table)
        yield made
    server.drop(url)


def create_table(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE things (name varchar UNIQUE, n integer)"))
    connection.execute(text("INSERT INTO things VALUES ('a', 1)"))


def read_value(connection: Connection) -> int:
    [(n,)] = connection.execute(text("SELECT n FROM things"))
    return int(n)


def increment(connection: Connection) -> None:
    connection.execute(_SET)


async def wait_for_connection(database: Database, *, connected: bool) -> float:
    """Wait until notifications are connected or disconnected. Return the time that it took."""
    began = time.monotonic()
    async with asyncio.timeout(10):
        while database.is_connected is not connected:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.02)
    return time.monotonic() - began


async def test_restarted_server_is_reconnected_automatically(
    server: postgres.Server, database: Database
) -> None:
    """The pool is full of connections to the old server. None of them causes a failed call."""
    hold = text("SELECT n FROM things, pg_sleep(0.05)")
    for ask in (lambda: database.read(read_value), lambda: database.fetch(VALUE, {})):
        # Use every connection of the pool.
        await asyncio.gather(*(database.read(lambda one: one.scalar(hold)) for _ in range(8)))
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        for found in await asyncio.gather(*(ask() for _ in range(4))):
            assert found in (1, [(1,)])
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)
    await database.write(increment)
    assert await database.read(read_value) == 2


async def test_unavailable_server_fails_calls_immediately_and_disables_caching(
    server: postgres.Server, database: Database
) -> None:
    stale: list[float] = []
    database.subscribe("things", lambda: stale.append(time.monotonic()))
    await asyncio.to_thread(server.stop)
    assert await wait_for_connection(database, connected=False) < 1.5
    assert stale
    for ask in (database.read(read_value), database.write(increment), database.read(read_value)):
        began = time.monotonic()
        with pytest.raises(DatabaseBusy) as caught:
            await ask
        assert time.monotonic() - began < ERROR_SECONDS
        assert (caught.value.status, caught.value.retry_seconds) == (503, 2)
    stale.clear()
    await asyncio.to_thread(server.start)
    await wait_for_connection(database, connected=True)
    assert stale, "data that was read while disconnected may be stale"
    assert await database.read(read_value) == 1


async def test_commit_with_unknown_result_is_neither_repeated_nor_acknowledged(
    database: Database,
) -> None:
    await database.write(lambda connection: connection.execute(text(_LOSE_COMMITS)))
    runs: list[int] = []

    def step(connection: Connection) -> None:
        runs.append(1)
        increment(connection)

    with pytest.raises(DatabaseUncertain) as caught:
        await database.write(step)
    assert (caught.value.status, len(runs)) == (503, 1)
    assert "commit" in str(caught.value.facts["cause"]).lower()


async def test_write_step_that_lost_its_connection_is_not_retried(database: Database) -> None:
    runs: list[int] = []

    def step(connection: Connection) -> None:
        runs.append(1)
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with pytest.raises(DatabaseBusy) as caught:
        await database.write(step)
    assert not isinstance(caught.value, DatabaseUncertain)
    assert len(runs) == 1


async def test_read_once_is_not_retried_after_a_lost_connection(database: Database) -> None:
    runs: list[int] = []

    def step(connection: Connection) -> int:
        runs.append(1)
        if len(runs) == 1:
            connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        return len(runs)

    assert await database.read(step) == 2
    runs.clear()
    with pytest.raises(DatabaseBusy):
        await database.read(step, once=True)
    assert len(runs) == 1


async def test_writer_that_waits_too_long_for_another_one_gets_database_busy(
    database: Database,
) -> None:
    async with Database(database._url.render_as_string(hide_password=False)) as other:
        entered, leave = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def hold(_: Connection) -> None:
            loop.call_soon_threadsafe(entered.set)
            asyncio.run_coroutine_threadsafe(leave.wait(), loop).result(10)

        holding = asyncio.create_task(other.write(hold))
        await entered.wait()
        with pytest.raises(DatabaseBusy):
            await database.write(increment)
        assert await database.read(read_value) == 1, "readers do not wait for writers"
        leave.set()
        await holding
        await database.write(increment)


async def test_silent_listener_connection_counts_as_disconnected(
    server: postgres.Server, database: Database
) -> None:
    """A network failure does not close the connection; only answers stop."""
    [(pid,)] = server.execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = %s"
        " AND query IN ('SELECT 1', 'SELECT pg_notify($1, $2)')",
        database._url.database,
    )
    with suspend(pid):
        assert await wait_for_connection(database, connected=False) < 1.5
    await wait_for_connection(database, connected=True)


@contextmanager
def suspend(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_frozen_server_blocks_neither_a_write_nor_close(database: Database) -> None:
    pid: list[int] = []

    def step(connection: Connection) -> None:
        pid.append(connection.scalar(text("SELECT pg_backend_pid()")) or 0)
        os.kill(pid[0], signal.SIGSTOP)
        connection.execute(text("SELECT 1"))

    other = Database(database._url.render_as_string(hide_password=False), patience=0.5)
    await other.open()
    try:
        with pytest.raises(DatabaseUncertain):
            await other.write(step, seconds=0.2)
    finally:
        await asyncio.wait_for(other.close(), 5)
        os.kill(pid[0], signal.SIGCONT)


async def test_value_too_large_for_an_index_raises_unstorable_value(database: Database) -> None:
    many = "".join(chr(0x4E00 + (n * 7919) % 20000) for n in range(9000))
    insert = text("INSERT INTO things VALUES (:name, 1)")
    with pytest.raises(UnstorableValue) as caught:
        await database.write(lambda connection: connection.execute(insert, {"name": many}))
    assert many[:20] not in repr(caught.value.facts)


async def test_refused_session_setting_raises_database_failed(database: Database) -> None:
    """A server without time zone files refuses even UTC, and then no replica starts."""
    setting = text("SELECT set_config('TimeZone', 'Nowhere/Unknown', false)")
    with pytest.raises(DatabaseFailed, match="refuses a setting") as caught:
        await database.read(lambda connection: connection.scalar(setting))
    assert 'parameter "TimeZone"' in str(caught.value.facts["cause"])
    assert "time zone files" in str(caught.value.hint)


async def test_read_only_server_refuses_writes(database: Database) -> None:
    """The setting of an administrator applies, also after a read, whose own setting the pool resets."""
    name = str(await database.read(lambda one: one.scalar(text("SELECT current_database()"))))
    order = text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    await database.write(lambda one: one.execute(order))
    async with Database(database._url.render_as_string(hide_password=False)) as again:
        for _ in range(2):
            assert await again.read(read_value) == 1
            with pytest.raises(DatabaseReadOnly):
                await again.write(increment)
    await database.write(increment)
    await database.write(lambda one: one.execute(text(f'ALTER DATABASE "{name}" RESET ALL')))


async def test_outage_and_recovery_are_logged_once(
    server: postgres.Server, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "podpass.database")
    await asyncio.to_thread(server.stop)
    await wait_for_connection(database, connected=False)
    with pytest.raises(DatabaseBusy):
        await database.read(read_value)
    await asyncio.sleep(0.8)
    with pytest.raises(DatabaseBusy) as caught:
        await database.read(read_value)
    assert "refused" in str(caught.value.facts["cause"])
    await asyncio.to_thread(server.start)
    await wait_for_connection(database, connected=True)
    assert [record.getMessage() for record in caplog.records] == [
        "notifications_disconnected",
        "notifications_connected",
    ]


async def test_database_with_another_encoding_is_refused(server: postgres.Server) -> None:
    server.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(DatabaseUnusable) as caught:
        await Database(server.url("latin")).open()
    assert "UTF8" in caught.value.hint
    server.execute("DROP DATABASE latin")


async def test_wrong_password_is_reported_at_open(server: postgres.Server) -> None:
    wrong = server.url().replace(server.password, "geheim")
    with pytest.raises(DatabaseUnusable, match="password authentication failed") as caught:
        await Database(wrong).open()
    assert "geheim" not in caught.value.message
    assert "password in the database's URL" in caught.value.hint


async def test_server_errors_are_reported_with_a_hint(server: postgres.Server) -> None:
    gone, name = server.url("nowhere"), server.fresh().rpartition("/")[2]
    with pytest.raises(DatabaseUnusable) as caught:
        await Database(gone).open()
    assert "createdb" in caught.value.hint
    with pytest.raises(DatabaseUnusable) as caught:
        await Database(server.url().replace(f":{server.port}/", ":1/")).open()
    assert "that PostgreSQL runs" in caught.value.hint
    server.execute("DROP ROLE IF EXISTS weak")
    server.execute("CREATE ROLE weak LOGIN PASSWORD 'w'")
    server.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC", database=name)
    async with Database(f"postgresql://weak:w@127.0.0.1:{server.port}/{name}") as database:
        with pytest.raises(DatabaseUnusable) as caught:
            await database.prepare(directory.metadata, directory.CHAIN)
    assert "own the database" in caught.value.hint


async def test_postgres_commit_is_durable_even_if_the_server_disables_it(
    server: postgres.Server,
) -> None:
    url = server.fresh()
    name = url.rpartition("/")[2]
    server.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    async with Database(url) as database:
        setting = text("SHOW synchronous_commit")
        assert await database.write(lambda connection: connection.scalar(setting)) == "on"
    server.execute(f"ALTER DATABASE {name} SET synchronous_commit = remote_apply")
    async with Database(url) as database:
        assert await database.read(lambda connection: connection.scalar(setting)) == "remote_apply"


async def test_statement_without_an_answer_is_aborted(database: Database) -> None:
    [(pid,)] = await database.fetch(PID, {})
    with suspend(pid):
        began = time.monotonic()
        with pytest.raises(DatabaseBusy):
            await database.fetch(PID, {})
        assert time.monotonic() - began < ERROR_SECONDS
    assert await database.fetch(PID, {}) != [(pid,)]


async def test_close_does_not_wait_for_a_running_statement(server: postgres.Server) -> None:
    database = Database(server.url())
    await database.open()
    asked = asyncio.create_task(database.fetch(SLOW, {}))
    await asyncio.sleep(0.1)
    await asyncio.wait_for(database.close(), 1.5)
    with pytest.raises(DatabaseBusy):
        await asked
    held = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'postgres' AND pid <> pg_backend_pid()"
    assert server.execute(held + " AND state = 'idle'") == [(0,)]
