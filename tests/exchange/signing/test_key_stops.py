"""Keys that are kept in step, and the end of that."""

import asyncio
from pathlib import Path

from podpass.database import Database
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.exchange.signing.key_store import TOPIC


async def test_a_stop_is_heeded_in_the_moment_in_which_keys_change(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path}/keys.db") as database:
        keys = await AuthorityKeys.open(database, bytes(32))
        async with keys.running():
            await asyncio.sleep(0.05)
            [running] = [
                task for task in asyncio.all_tasks() if task.get_name() == "authority-keys"
            ]
            # The news and the stop reach it in one turn of the loop.
            await database.write(lambda _: None, tells=(TOPIC,))
            running.cancel()
            await asyncio.wait([running], timeout=1)
            assert running.cancelled()
