"""Backup and restore between both databases, with concurrent writers, and after a kill."""

import asyncio
import subprocess
import sys
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import func, select

from podpass.backup import archive, create
from podpass.backup.model import BackupRefused
from podpass.backup.tables import STORES
from podpass.clock import system
from podpass.database import CorruptRowError, Database
from podpass.database.migrate import current_revision, upgrade
from podpass.directory.store import schema as tables
from podpass.directory.store.directory import Directory
from podpass.exchange import schema as authority
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.lab.services.vault.store import VaultStore
from tests import postgres
from tests.backup.sample_databases import (
    KEY,
    TENANT,
    back_up,
    fill,
    fill_with_credentials,
    identity,
    ignore_progress,
    read_all_rows,
    restore_backup,
)
from tests.database import example_store
from tests.database.stored_schemas import insert_rows, open_engine, read_rows
from tests.directory.database_faults import corrupt

pytestmark = pytest.mark.processes

WRITER = """
import asyncio, sys
from podpass.database import Database
from podpass.directory.store.directory import Directory
from tests.backup.sample_databases import identity

async def main():
    async with Directory(Database(sys.argv[1])) as directory:
        for number in range(100, 100000):
            await directory.identities.put(identity(number))
            print(number, flush=True)

asyncio.run(main())
"""

RESTORER = """
import asyncio, sys
from pathlib import Path
from podpass.backup import restore
from podpass.lab.services import add_backup_tables

add_backup_tables()

def report(table, rows):
    print(table, rows, flush=True)

asyncio.run(restore.restore_database(sys.argv[1], Path(sys.argv[2]), report, replaces=True))
"""


def run(code: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", code, *arguments]
    environ = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)


async def test_every_row_is_restored(database_url: str, tmp_path: Path) -> None:
    await fill(database_url, tmp_path)
    before = await read_all_rows(database_url)
    taken = await back_up(database_url, tmp_path / "backup")
    assert taken.rows == {table: len(held) for table, held in before.items()}
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o600
    async with Directory(Database(database_url)) as directory:
        await directory.identities.delete(TENANT, identity(0).client_id)
    await restore_backup(database_url, tmp_path / "backup", replaces=True)
    assert await read_all_rows(database_url) == before


async def test_invalid_utf8_is_backed_up_and_restored(tmp_path: Path) -> None:
    """A second run of the read step would write a second archive into the file."""
    url = f"sqlite:///{tmp_path}/a.db"
    await fill(url, tmp_path)
    change = "UPDATE identities SET location = CAST(x'ff' AS TEXT) WHERE client_id = ?"
    corrupt(tmp_path / "a.db", change, identity(0).client_id)
    await back_up(url, tmp_path / "backup")
    back = f"sqlite:///{tmp_path}/b.db"
    await restore_backup(back, tmp_path / "backup")
    async with Directory(Database(back)) as directory:
        with pytest.raises(CorruptRowError, match=f"{identity(0).client_id} in table identities"):
            await directory.find_identity(TENANT, identity(0).client_id)
        assert await directory.find_identity(TENANT, identity(1).client_id) is not None


@pytest.mark.postgres
async def test_backup_moves_a_database_from_sqlite_to_postgres_and_back(
    postgres_server: postgres.Server, tmp_path: Path
) -> None:
    here, there, back = (
        f"sqlite:///{tmp_path}/a.db",
        postgres_server.fresh(),
        f"sqlite:///{tmp_path}/b.db",
    )
    await fill(here, tmp_path)
    await back_up(here, tmp_path / "one")
    await restore_backup(there, tmp_path / "one")
    assert await read_all_rows(there) == await read_all_rows(here)
    await back_up(there, tmp_path / "two")
    await restore_backup(back, tmp_path / "two")
    assert await read_all_rows(back) == await read_all_rows(here)
    postgres_server.drop(there)


async def test_restored_database_is_fully_usable(database_url: str, tmp_path: Path) -> None:
    source = f"sqlite:///{tmp_path}/source.db"
    await fill(source, tmp_path)
    await back_up(source, tmp_path / "backup")
    await restore_backup(database_url, tmp_path / "backup")
    async with Database(database_url) as database:
        async with Directory(database) as directory:
            before = len(await directory.audit.list(limit=999))
            await directory.identities.put(identity(7))
            # New serial numbers follow the restored ones.
            assert len(await directory.audit.list(limit=999)) > before
            found = await directory.find_identity(TENANT, identity(1).client_id)
            assert found is not None
            assert found.keys[0].certificate == bytes(range(256))
        async with VaultStore(database, tmp_path / "vault.key") as store:
            secret = await store.get("demo", "name")
            assert secret is not None
            assert secret.value.reveal() == "second"
        keys = await AuthorityKeys.open(database, KEY, system)
        async with Database(source) as original:
            other = await AuthorityKeys.open(original, KEY, system)
            assert keys.active.kid == other.active.kid


async def test_existing_rows_are_replaced_only_on_request(
    database_url: str, tmp_path: Path
) -> None:
    await fill(database_url, tmp_path)
    await back_up(database_url, tmp_path / "backup")
    before = await read_all_rows(database_url)
    with pytest.raises(BackupRefused, match="is not empty: table") as caught:
        await restore_backup(database_url, tmp_path / "backup")
    assert "--replace" in caught.value.hint
    assert await read_all_rows(database_url) == before


async def test_sign_ins_in_progress_are_neither_backed_up_nor_restored(
    database_url: str, tmp_path: Path
) -> None:
    """A restore must not make a used code valid again."""
    await fill(database_url, tmp_path)
    code = {"digest": b"d" * 32, "issued": 1.0, "used": 0, "sealed": b"s"}

    async def count(database: Database) -> int:
        query = select(func.count()).select_from(authority.codes)
        return int(await database.read(lambda one: one.execute(query).scalar_one()))

    async with Database(database_url) as database:
        await database.write(lambda one: one.execute(authority.codes.insert(), [code]))
        taken = await back_up(database_url, tmp_path / "backup")
        assert "authority_codes" not in taken.rows
        await restore_backup(database_url, tmp_path / "backup", replaces=True)
        assert await count(database) == 0


async def test_running_replica_uses_the_restored_data(database_url: str, tmp_path: Path) -> None:
    await fill(database_url, tmp_path)
    await back_up(database_url, tmp_path / "backup")
    later = identity(7)
    async with Directory(Database(database_url)) as directory:
        await directory.identities.put(later)
        # This caches the identity.
        assert await directory.find_identity(TENANT, later.client_id) is not None
        # On its own connection, like another process.
        await restore_backup(database_url, tmp_path / "backup", replaces=True)
        async with asyncio.timeout(20):
            while await directory.find_identity(TENANT, later.client_id):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_backup_is_a_consistent_snapshot_during_writes(
    database_url: str, tmp_path: Path
) -> None:
    await fill(database_url, tmp_path)
    target = f"sqlite:///{tmp_path}/target.db"
    with run(WRITER, database_url) as writer:
        assert writer.stdout is not None
        try:
            for number in range(4):
                acknowledged = int(writer.stdout.readline())
                path = tmp_path / f"backup-{number}"
                await back_up(database_url, path)
                await restore_backup(target, path, replaces=True)
                held = await read_all_rows(target)
                made = Counter("applications/create" in repr(row) for row in held["audit_entries"])
                # One transaction writes an identity, its credentials and its audit entry.
                assert len(held["identities"]) == made[True]
                assert len(held["federated_credentials"]) == made[True]
                assert len(held["identities"]) >= 3 + acknowledged - 99
        finally:
            writer.kill()


async def test_killed_restore_changes_nothing(database_url: str, tmp_path: Path) -> None:
    await fill(database_url, tmp_path, identities=1)
    before = await read_all_rows(database_url)
    other = f"sqlite:///{tmp_path}/other.db"
    await fill(other, tmp_path)
    await fill_with_credentials(other, 20_000)
    await back_up(other, tmp_path / "backup")
    for lines in (1, 4, 9):
        with run(RESTORER, database_url, str(tmp_path / "backup")) as restorer:
            assert restorer.stdout is not None
            for _ in range(lines):
                assert restorer.stdout.readline()
            restorer.kill()
        assert await read_all_rows(database_url) == before


async def test_backup_of_an_older_revision_is_upgraded_on_restore(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = example_store.CHAIN
    monkeypatch.setitem(STORES, "example", (example_store.metadata, chain))
    old = f"sqlite:///{tmp_path}/old.db"
    with open_engine(old) as engine, engine.begin() as connection:
        upgrade(connection, chain, None, "0001")
        insert_rows(connection, {"example_things": [{"name": "Web", "size": 1}]})
    manifest = await back_up(old, tmp_path / "backup")
    assert manifest.stores["example"].revision == "0001"
    # Over a database at the head revision, whose tables have to be recreated.
    await fill(database_url, tmp_path)
    async with Database(database_url) as database:
        await database.prepare(example_store.metadata, chain)
    await restore_backup(database_url, tmp_path / "backup", replaces=True)
    with open_engine(database_url) as engine, engine.connect() as connection:
        assert current_revision(connection, chain) == chain.head
        found = read_rows(connection)
    assert found["example_things"] == [{"name": "Web", "size": 1, "name_key": "web"}]
    # A store that is not in the backup stays unchanged.
    assert found["authority_keys"]


async def test_backup_of_many_rows_uses_little_memory(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/many.db"
    await fill(url, tmp_path)
    await fill_with_credentials(url, 40_000)
    await back_up(url, tmp_path / "warm")
    tracemalloc.start()
    try:
        taken = await back_up(url, tmp_path / "backup")
        assert sum(part.size for part in taken.parts) > 7_000_000
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
        tracemalloc.reset_peak()
        archive.check(tmp_path / "backup")
        await restore_backup(f"sqlite:///{tmp_path}/target.db", tmp_path / "backup")
        assert tracemalloc.get_traced_memory()[1] < 16_000_000
    finally:
        tracemalloc.stop()


async def test_empty_database_is_not_backed_up(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/empty.db"
    with open_engine(url) as engine:
        engine.connect().close()
    with pytest.raises(BackupRefused, match="no tables of this podpass") as caught:
        await create.back_up_database(url, tmp_path / "backup", ignore_progress, system)
    assert "start this podpass on it once" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir() if "backup" in path.name] == []


async def test_existing_file_is_not_replaced(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    await fill(url, tmp_path)
    (tmp_path / "backup").write_text("mine")
    with pytest.raises(BackupRefused, match="exists already"):
        await back_up(url, tmp_path / "backup")
    assert (tmp_path / "backup").read_text() == "mine"
    with pytest.raises(BackupRefused, match="cannot be written"):
        await back_up(url, tmp_path / "no" / "folder")


def test_all_stores_are_in_a_backup() -> None:
    assert set(STORES) == {"directory", "authority", "vault"}
    assert STORES["directory"][0] is tables.metadata
