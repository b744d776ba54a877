"""A primary that is killed under load, and its standby that takes over: no lost commit, no stale read."""

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from podpass.database import Database, DatabaseBusy, DatabaseUncertain, DatabaseUnusable
from tests import postgres
from tests.database.test_postgres import create_table, increment, read_value, wait_for_connection

pytestmark = pytest.mark.postgres


@pytest.fixture
def pair() -> Iterator[tuple[postgres.Server, postgres.Server]]:
    """Provide a primary with a standby; the test may kill the primary."""
    with postgres.running() as primary, postgres.standby(primary) as standby:
        yield primary, standby


@dataclass
class Load:
    """Writers and readers of two replicas, and the answers that they got.

    `stale` has each read that returned less than was acknowledged before it.
    """

    acknowledged: int = 0
    uncertain: int = 0
    failed: list[float] = field(default_factory=list)
    stale: list[tuple[int, int]] = field(default_factory=list)
    stopping: bool = False

    async def write(self, database: Database) -> None:
        while not self.stopping:
            try:
                await database.write(increment, topics=("things",))
                self.acknowledged += 1
            except DatabaseUncertain:
                self.uncertain += 1
                self.failed.append(time.monotonic())
            except DatabaseBusy:
                self.failed.append(time.monotonic())
            await asyncio.sleep(0.005)

    async def read(self, database: Database) -> None:
        while not self.stopping:
            least = self.acknowledged
            try:
                found = await database.read(read_value) - 1
                if found < least:
                    self.stale.append((found, least))
            except DatabaseBusy:
                self.failed.append(time.monotonic())
            await asyncio.sleep(0.005)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.01)


async def test_standby_takes_over_from_a_primary_that_is_killed_under_load(
    pair: tuple[postgres.Server, postgres.Server],
) -> None:
    primary, standby = pair
    with pytest.raises(DatabaseUnusable) as caught:
        await Database(postgres.several(standby, standby)).open()
    assert standby.password not in str(caught.value)
    # The standby is first in the list, and is not used while it is a standby.
    load, url = Load(), postgres.several(standby, primary)
    async with (
        Database(url, patience=0.5) as one,
        Database(url, patience=0.5) as two,
        asyncio.TaskGroup() as group,
    ):
        await one.write(create_table)
        for database in (one, two):
            for run in (load.write, load.read, load.read):
                group.create_task(run(database))
        await load.until(lambda: load.acknowledged > 20)
        assert load.failed == []
        await asyncio.to_thread(primary.kill)
        await load.until(lambda: len(load.failed) > 10)
        await asyncio.to_thread(standby.execute, "SELECT pg_promote(true, 20)")
        promoted, before = time.monotonic(), load.acknowledged
        await load.until(lambda: load.acknowledged > before + 20)
        for database in (one, two):
            assert await wait_for_connection(database, connected=True) < 2.0
        recovered = max(load.failed) - promoted
        noticed = asyncio.Event()
        two.subscribe("things", noticed.set)
        await one.write(increment, topics=("things",))
        load.acknowledged += 1
        await asyncio.wait_for(noticed.wait(), 1.0)
        load.stopping = True
    [(n,)] = standby.execute("SELECT n FROM things")
    assert load.acknowledged <= n - 1 <= load.acknowledged + load.uncertain
    assert load.stale == []
    assert recovered < 10.0, "calls fail only until the standby has taken over"
