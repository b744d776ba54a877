"""PostgreSQL behind PgBouncer in transaction mode: each transaction may run in another session."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import Connection, literal_column, select, text

from podpass.database import Database, DatabaseBusy, PreparedStatement
from tests import postgres
from tests.database.test_postgres import create_table, increment, read_value, wait_for_connection

pytestmark = pytest.mark.postgres

# As many different statements as would be prepared on the connections of one process.
STATEMENTS = [
    PreparedStatement(select(literal_column(f"n + {number}")).select_from(text("things")))
    for number in range(10)
]
SETTINGS = ("statement_timeout", "lock_timeout", "TimeZone", "synchronous_commit")


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    with postgres.running() as made:
        yield made


@pytest.fixture(scope="module")
def pooler(server: postgres.Server) -> Iterator[postgres.Pooler]:
    with postgres.pooler(server) as made:
        yield made


@pytest.fixture
async def url(server: postgres.Server, pooler: postgres.Pooler) -> AsyncIterator[str]:
    name = server.fresh().rpartition("/")[2]
    pooled = pooler.url(name)
    async with Database(pooled) as database:
        await database.write(create_table)
    yield pooled
    # No later test uses the database again: PgBouncer would give it the sessions that are closed here.
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def replicas(url: str) -> AsyncIterator[tuple[Database, Database]]:
    async with Database(url) as one, Database(url) as two:
        yield one, two


async def test_statements_of_many_clients_share_few_sessions(
    replicas: tuple[Database, Database],
) -> None:
    """A statement that was prepared in one session does not exist in the next one."""

    async def ask(database: Database, number: int) -> None:
        for step in range(30):
            added = (number + step) % len(STATEMENTS)
            [(found,)] = await database.fetch(STATEMENTS[added], {})
            assert found - added >= 1
            assert await database.read(read_value) >= 1
            if step % 10 == number:
                await database.write(increment)

    clients = [(database, number) for database in replicas for number in range(3)]
    await asyncio.gather(*(ask(database, number) for database, number in clients))
    assert await replicas[0].read(read_value) == 1 + 3 * len(clients)


async def test_change_of_another_replica_is_noticed_within_a_second(
    replicas: tuple[Database, Database],
) -> None:
    noticed = asyncio.Event()
    one, two = replicas
    two.subscribe("things", noticed.set)
    seconds = []
    for _ in range(10):
        noticed.clear()
        began = time.monotonic()
        await one.write(increment, topics=("things",))
        await asyncio.wait_for(noticed.wait(), 10)
        seconds.append(time.monotonic() - began)
    # The median, because a test machine may stop a process for a second.
    assert sorted(seconds)[5] < 1.0
    assert two.is_connected


async def test_nothing_is_published_without_a_commit(replicas: tuple[Database, Database]) -> None:
    """Otherwise nothing could be cached."""
    published: list[float] = []
    one, two = replicas
    two.subscribe("things", lambda: published.append(time.monotonic()))
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        await one.read(read_value)
        await one.fetch(STATEMENTS[0], {})
    assert published == []


async def test_each_transaction_has_the_settings_of_a_session(
    server: postgres.Server, url: str
) -> None:
    name = url.rpartition("/")[2]
    for setting, value in (
        ("synchronous_commit", "off"),
        ("statement_timeout", "0"),
        ("default_transaction_isolation", "serializable"),
        ("TimeZone", "Asia/Tokyo"),
    ):
        server.execute(f"ALTER DATABASE {name} SET \"{setting}\" = '{value}'")
    server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name
    )

    def read_settings(connection: Connection) -> list[str]:
        shown = [str(connection.scalar(text(f"SHOW {each}"))) for each in SETTINGS]
        return [*shown, str(connection.scalar(text("SHOW transaction_isolation")))]

    expected = ["3s", "1s", "UTC", "on"]
    async with Database(url) as database:
        for _ in range(8):
            assert await database.write(read_settings) == [*expected, "read committed"]
            assert await database.read(read_settings) == [*expected, "repeatable read"]
            server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name
            )


async def test_restarted_server_behind_the_pooler_is_reconnected(
    server: postgres.Server, replicas: tuple[Database, Database]
) -> None:
    await asyncio.to_thread(server.stop)
    for database in replicas:
        assert await wait_for_connection(database, connected=False) < 1.5
        with pytest.raises(DatabaseBusy):
            await database.read(read_value)
    await asyncio.to_thread(server.start)
    for database in replicas:
        await wait_for_connection(database, connected=True)
        assert await database.read(read_value) == 1


async def test_restarted_pooler_is_reconnected(
    pooler: postgres.Pooler, replicas: tuple[Database, Database]
) -> None:
    for database in replicas:
        await database.read(read_value)
    pooler.stop()
    pooler.start()
    for database in replicas:
        await wait_for_connection(database, connected=True)
        assert await database.read(read_value) == 1
