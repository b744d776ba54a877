"""Stopping the background task of the signing keys."""

import asyncio
from pathlib import Path

from podpass.database import Database
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.exchange.signing.key_store import TOPIC


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
