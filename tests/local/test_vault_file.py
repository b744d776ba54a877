"""An older data dir kept its vault in a file of its own: it is moved once, whenever that is cut short."""

import shutil
from pathlib import Path

from podpass.database import Database
from podpass.local.legacy_vault import take_over
from podpass.resource.store import SecretStore
from tests.database.earlier import KEY, restore


async def secrets(database: Database, folder: Path) -> str:
    async with SecretStore(database, folder / "vault.key") as store:
        found = await store.get("demo", "name")
        assert found is not None
        assert len(await store.page_versions("demo", "name", after=0, limit=9)) == 2
        assert await store.get_deleted("demo", "gone") is not None
        return found.value.reveal()


async def test_the_secrets_of_an_older_data_dir_are_moved_once(tmp_path: Path) -> None:
    (tmp_path / "vault.key").write_bytes(KEY)
    old = restore(tmp_path / "vault.db", ("vault", 1))
    shutil.copy(old, tmp_path / "copy.db")
    async with Database(f"sqlite:///{tmp_path}/directory.db") as database:
        assert await take_over(database, old) == 3
        assert list(tmp_path.glob("vault.db*")) == []
        assert await secrets(database, tmp_path) == "second"
        # As if it had been killed before the old file went.
        shutil.copy(tmp_path / "copy.db", old)
        assert await take_over(database, old) == 0
        assert not old.exists()
        assert await secrets(database, tmp_path) == "second"


async def test_a_new_data_dir_has_nothing_to_move(tmp_path: Path) -> None:
    async with Database(f"sqlite:///{tmp_path}/directory.db") as database:
        assert await take_over(database, tmp_path / "vault.db") == 0
