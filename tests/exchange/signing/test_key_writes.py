"""A new key that cannot be written: it is logged, retried with backoff, and generated once."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from podpass.database import Database, DatabaseFailed
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.exchange.signing.key_store import TOPIC
from podpass.exchange.signing.schedule import KeySchedule
from tests.lab.instance.instances import overwrite
from tests.waiting import eventually

SCHEDULE = KeySchedule(
    rotation_seconds=1000, ahead_seconds=100, token_seconds=50, skew_seconds=1000
)


@dataclass
class Service:
    """The keys of a service, its clocks, and a disk that can be `full`."""

    keys: AuthorityKeys
    driver: sqlite3.Connection
    now: float = 1_750_000_000.0
    ticks: float = 0.0

    @classmethod
    async def over(cls, database: Database) -> "Service":
        made: list[Service] = []
        keys = await AuthorityKeys.open(
            database,
            bytes(32),
            lambda: made[0].now if made else cls.now,
            SCHEDULE,
            ticks=lambda: made[0].ticks if made else 0.0,
        )
        driver: Any = await database.read(lambda one: one.connection.driver_connection)
        made.append(cls(keys, driver))
        return made[0]

    def full(self, *, full: bool) -> None:
        """Make every COMMIT fail, as on a full disk."""

        def allow(_action: int, what: str | None, *_: Any) -> int:
            return sqlite3.SQLITE_DENY if what == "COMMIT" else sqlite3.SQLITE_OK

        self.driver.set_authorizer(allow if full else None)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with Database(f"sqlite:///{tmp_path / 'a.db'}") as database:
        made = await Service.over(database)
        yield made
        made.full(full=False)


def logged(caplog: pytest.LogCaptureFixture, event: str) -> int:
    return [record.getMessage() for record in caplog.records].count(event)


async def test_key_that_cannot_be_written_is_generated_once(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "podpass")
    async with service.keys.running():
        service.full(full=True)
        service.now += 1000
        service.keys._wake.set()
        await eventually(lambda: logged(caplog, "signing_key_reconcile_failed") > 0)
        for _ in range(10):
            service.keys._wake.set()
            await asyncio.sleep(0.03)
        assert logged(caplog, "signing_key_reconcile_failed") == 1
        assert logged(caplog, "signing_key_created") == 0
        service.full(full=False)
        service.ticks += 1
        service.keys._wake.set()
        await eventually(lambda: len(service.keys.published) == 3)
        assert logged(caplog, "signing_key_created") == 1


async def test_damaged_database_is_logged_once_a_minute(
    service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Fails if each attempt to read the keys is logged: every process tries several times a second."""
    async with service.keys.running():
        overwrite(tmp_path / "a.db")
        for lines in (1, 2):
            for _ in range(10):
                service.keys._wake.set()
                await asyncio.sleep(0.03)
            await eventually(lambda: logged(caplog, "signing_key_reconcile_failed") > 0)
            assert logged(caplog, "signing_key_reconcile_failed") == lines
            service.ticks += 60


async def test_next_attempt_writes_the_key_of_the_last_attempt(service: Service) -> None:
    service.now += 1000
    service.full(full=True)
    spares = []
    for _ in range(2):
        with pytest.raises(DatabaseFailed):
            await service.keys.ensure_keys()
        spares += [key.kid for key in service.keys._new_keys]
    service.full(full=False)
    await service.keys.ensure_keys()
    assert spares == [service.keys.published[-1].kid] * 2
    service.now += 1000
    await service.keys.ensure_keys()
    assert len({key.kid for key in service.keys.published}) == 4


async def test_rotation_that_was_not_committed_is_not_logged(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "podpass")
    service.full(full=True)
    for change in (service.keys.replace_all, service.keys.rotate):
        with pytest.raises(DatabaseFailed):
            await change()
    assert not caplog.records
    service.full(full=False)
    await service.keys.replace_all()
    assert logged(caplog, "signing_keys_replaced") == 1


# Stopping the background task of the signing keys.


async def test_key_task_stops_when_cancelled_during_a_notification(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path}/keys.db") as database:
        keys = await AuthorityKeys.open(database, bytes(32))
        async with keys.running():
            await asyncio.sleep(0.05)
            [running] = [
                task for task in asyncio.all_tasks() if task.get_name() == "authority-keys"
            ]
            # The notification and the cancellation arrive in one iteration of the event loop.
            await database.write(lambda _: None, topics=(TOPIC,))
            running.cancel()
            await asyncio.wait([running], timeout=1)
            assert running.cancelled()
