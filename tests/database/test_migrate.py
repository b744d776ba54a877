"""Tables are created and upgraded: from every revision, in one transaction, once."""

import ast
import asyncio
import importlib
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, select

from podpass.database import Database
from podpass.database.errors import DatabaseUnusable
from podpass.database.migrate import MigrationChain, current_revision, list_scripts, upgrade
from podpass.lab.services import create_directory
from podpass.lab.services.vault.store import VaultStore
from podpass.lab.services.vault.vaults import Vaults
from tests.database import example_store
from tests.database.stored_schemas import (
    DUMPS,
    KEY,
    STORES,
    describe_tables,
    dump_lines,
    insert_rows,
    open_engine,
    read_dump_rows,
    read_rows,
    restore,
)
from tests.run_program import run_text

CLIENT = "11111111-aaaa-4bbb-8ccc-000000000001"
TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
EXAMPLE = (example_store.metadata, example_store.CHAIN)
ALL_STORES = STORES | {"example": EXAMPLE}

PREPARE = """
import asyncio, sys
from podpass.database import Database
from {module} import CHAIN, metadata

async def main():
    async with Database(sys.argv[1]) as database:
        await database.prepare(metadata, CHAIN)
        print("alembic" in sys.modules)

asyncio.run(main())
"""


def list_revisions() -> list[tuple[str, str]]:
    return [
        (store, f"{number:04}")
        for store, (_, chain) in ALL_STORES.items()
        for number in range(1, int(chain.head) + 1)
    ]


async def prepare(url: str, *stores: str) -> None:
    async with Database(url) as database:
        for store in stores:
            await database.prepare(*ALL_STORES[store])


def read_revision(url: str, chain: MigrationChain) -> str | None:
    with open_engine(url) as engine, engine.connect() as connection:
        return current_revision(connection, chain)


def create_example(url: str, revision: str, *names: str) -> None:
    """Create the example store at a revision, with a row for each name."""
    with open_engine(url) as engine, engine.begin() as connection:
        upgrade(connection, example_store.CHAIN, None, revision)
        rows = [{"name": name, "size": size} for size, name in enumerate(names)]
        insert_rows(connection, {"example_things": rows})


@pytest.mark.parametrize(("store", "revision"), DUMPS)
async def test_database_of_each_revision_is_upgraded_with_its_rows(
    tmp_path: Path, store: str, revision: str
) -> None:
    url = f"sqlite:///{restore(tmp_path / 'old.db', (store, revision))}"
    before = read_dump_rows(store, revision)
    await prepare(url, store)
    assert read_revision(url, STORES[store][1]) == STORES[store][1].head
    with open_engine(url) as engine, engine.connect() as connection:
        after = read_rows(connection)
    for table, rows in before.items():
        pairs = zip(after[table], rows, strict=True)
        assert [{name: row[name] for name in old} for row, old in pairs] == rows


@pytest.mark.parametrize(("store", "revision"), DUMPS)
def test_dump_of_a_revision_has_the_tables_that_its_migrations_create(
    tmp_path: Path, store: str, revision: str
) -> None:
    """A released migration never changes, so its dump never changes."""
    _, chain = STORES[store]
    path = restore(tmp_path / "dump.db", (store, revision))
    with open_engine(f"sqlite:///{tmp_path}/new.db") as engine, engine.begin() as connection:
        upgrade(connection, chain, None, revision)
        created = describe_tables(connection, chain)
    with open_engine(f"sqlite:///{path}") as engine, engine.connect() as connection:
        assert describe_tables(connection, chain) == created


@pytest.mark.parametrize(("store", "revision"), list_revisions())
async def test_every_revision_is_upgraded_to_the_tables_of_a_new_database(
    database_url: str, store: str, revision: str
) -> None:
    schema, chain = ALL_STORES[store]
    with open_engine(database_url) as engine:
        with engine.begin() as connection:
            upgrade(connection, chain, None, revision)
        await prepare(database_url, store)
        with engine.begin() as connection:
            upgraded = describe_tables(connection, chain)
            for name in [*upgraded, chain.stamp.name]:
                cascade = "" if engine.dialect.name == "sqlite" else " CASCADE"
                connection.exec_driver_sql(f'DROP TABLE "{name}"{cascade}')
        await prepare(database_url, store)
        with engine.connect() as connection:
            assert upgraded == describe_tables(connection, chain)
            assert set(upgraded) >= set(schema.tables)
            assert all(table["strict"] for table in upgraded.values())


@pytest.mark.parametrize(("store", "revision"), DUMPS)
async def test_rows_of_each_revision_are_unchanged_on_both_databases(
    database_url: str, store: str, revision: str
) -> None:
    _, chain = STORES[store]
    with open_engine(database_url) as engine:
        with engine.begin() as connection:
            upgrade(connection, chain, None, revision)
            insert_rows(connection, read_dump_rows(store, revision))
        await prepare(database_url, store)
        with engine.connect() as connection:
            found = read_rows(connection)
    for table, rows in read_dump_rows(store, revision).items():
        assert len(found[table]) == len(rows)


async def test_upgrade_fills_the_columns_that_it_adds(database_url: str) -> None:
    create_example(database_url, "0001", "Web", "API")
    await prepare(database_url, "example")
    query = select(example_store.things).order_by(example_store.things.c.name)
    async with Database(database_url) as database:
        found = await database.read(lambda one: [tuple(row) for row in one.execute(query)])
    assert found == [("API", 1, "api"), ("Web", 0, "web")]
    assert read_revision(database_url, example_store.CHAIN) == "0003"


async def test_baseline_directory_is_used_after_an_upgrade(tmp_path: Path) -> None:
    url = f"sqlite:///{restore(tmp_path / 'directory.db', ('directory', '0001'))}"
    async with create_directory(Database(url)) as directory:
        web = await directory.find_identity(TENANT, CLIENT)
        assert web is not None
        assert (web.location, web.application_id, web.has_principal) == ("westeurope", None, True)
        assert web.credentials[0].id
        vault = await directory.store(Vaults).get("demo")
        assert vault is not None
        [assigned] = await directory.assignments.list()
        assert assigned.name
        assert await directory.identities.delete(TENANT, CLIENT)
        assert await directory.find_identity(TENANT, CLIENT) is None


async def test_secrets_of_a_baseline_vault_open_with_their_key(tmp_path: Path) -> None:
    url = f"sqlite:///{restore(tmp_path / 'vault.db', ('vault', '0001'))}"
    (tmp_path / "vault.key").write_bytes(KEY)
    async with VaultStore(Database(url), tmp_path / "vault.key") as store:
        found = await store.get("demo", "name")
        assert found is not None
        assert (found.name, found.value.reveal(), found.tags) == ("Name", "second", {"a": "b"})
        assert await store.purge_expired(5 + 90 * 86400) == 1


@pytest.mark.parametrize("revision", ["0001", "0002"])
async def test_failed_upgrade_leaves_the_database_unchanged(
    tmp_path: Path, revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "old.db"
    create_example(f"sqlite:///{path}", revision, "Web")
    before = dump_lines(path)

    def failing(chain: MigrationChain, found: str | None, target: str) -> list[object]:
        *others, last = list_scripts(chain, found, target)
        original = last.upgrade

        def run() -> None:
            original()
            raise RuntimeError("the power failed")

        return [*others, type("Script", (), {"upgrade": run})]

    monkeypatch.setattr("podpass.database.migrate.list_scripts", failing)
    with pytest.raises(RuntimeError, match="power"):
        await prepare(f"sqlite:///{path}", "example")
    assert dump_lines(path) == before


@pytest.mark.processes
async def test_processes_that_start_together_upgrade_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    # A second run of a migration fails at the column that exists. The rows make the upgrade take long enough.
    create_example(url, "0001", *(f"thing-{number}" for number in range(5000)))
    code = PREPARE.format(module="tests.database.example_store")
    started = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code,
            url,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        for _ in range(3)
    ]
    results = await asyncio.gather(*(one.communicate() for one in started))
    assert [
        (one.returncode, output[1].decode()[-400:])
        for one, output in zip(started, results, strict=True)
    ] == [(0, "")] * 3
    assert read_revision(url, example_store.CHAIN) == example_store.CHAIN.head


@pytest.mark.processes
def test_neither_a_new_database_nor_a_current_one_imports_alembic(tmp_path: Path) -> None:
    for package in ("directory.store", "lab.services.vault", "directory.store"):
        code = PREPARE.format(module=f"podpass.{package}.schema")
        command = [sys.executable, "-c", code, f"sqlite:///{tmp_path}/new.db"]
        done = run_text(command, check=True)
        assert done.stdout == "False\n"


async def test_stamp_with_invalid_utf8_is_refused_and_left_unchanged(tmp_path: Path) -> None:
    _, chain = STORES["vault"]
    path = tmp_path / "directory.db"
    database_url = f"sqlite:///{path}"
    await prepare(database_url, "vault")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE {chain.stamp.name} SET version_num = CAST(x'ff' AS TEXT)")
        connection.commit()
    with pytest.raises(DatabaseUnusable, match="does not say which schema") as caught:
        await prepare(database_url, "vault")
    assert "backup" in caught.value.hint
    with closing(sqlite3.connect(path)) as connection:
        query = f"SELECT hex(version_num) FROM {chain.stamp.name}"
        assert connection.execute(query).fetchall() == [("FF",)]


async def test_database_of_a_newer_podpass_is_refused_and_left_unchanged(database_url: str) -> None:
    _, chain = STORES["vault"]
    await prepare(database_url, "vault")
    with open_engine(database_url) as engine, engine.begin() as connection:
        connection.execute(chain.stamp.update().values(version_num="9999"))
    with pytest.raises(
        DatabaseUnusable, match="of a newer podpass: its vault has schema 9999"
    ) as caught:
        await prepare(database_url, "vault")
    assert "start the podpass that last used it" in caught.value.hint
    assert read_revision(database_url, chain) == "9999"


async def test_unknown_stamp_is_refused(database_url: str) -> None:
    _, chain = STORES["vault"]
    await prepare(database_url, "vault")
    with open_engine(database_url) as engine, engine.begin() as connection:
        connection.execute(chain.stamp.update().values(version_num="0000"))
    with pytest.raises(DatabaseUnusable, match="does not know schema 0000"):
        await prepare(database_url, "vault")


async def test_database_with_tables_of_another_program_is_refused(database_url: str) -> None:
    _, chain = STORES["directory"]
    with open_engine(database_url) as engine, engine.begin() as connection:
        Table("users", MetaData(), Column("id", Integer, primary_key=True)).create(connection)
    with pytest.raises(DatabaseUnusable, match="tables that podpass did not make: users"):
        await prepare(database_url, "directory")
    assert read_revision(database_url, chain) is None


async def test_each_store_of_a_database_has_its_own_revision(database_url: str) -> None:
    await prepare(database_url, *STORES)
    await prepare(database_url, *reversed(STORES))
    for _, chain in STORES.values():
        assert read_revision(database_url, chain) == chain.head


@pytest.mark.parametrize("store", list(ALL_STORES))
def test_head_is_the_last_migration_and_no_migration_imports_the_schema(store: str) -> None:
    """A migration that imports the current tables would change with them."""
    _, chain = ALL_STORES[store]
    folder = Path(str(importlib.import_module(chain.package).__file__)).parent
    found = sorted(folder.glob("v*.py"))
    assert [path.name[1:5] for path in found] == [f"{n:04}" for n in range(1, len(found) + 1)]
    assert found[-1].name.startswith(f"v{chain.head}_")
    for path in found:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert "schema" not in [
                    str(node.module).rpartition(".")[2],
                    *(a.name for a in node.names),
                ]
