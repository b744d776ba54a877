"""Tables made and brought up to date: from every earlier schema, whole or not at all, once."""

import ast
import asyncio
import importlib
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from podpass.database import Database
from podpass.database.errors import DatabaseUnusable
from podpass.database.migrate import Chain, climb, recorded, scripts
from podpass.directory.store.directory import Directory
from podpass.resource.store import SecretStore
from tests.database.earlier import (
    DUMPS,
    KEY,
    STORES,
    copy,
    lines,
    opened,
    restore,
    rows,
    rows_of,
    tables,
)

CLIENT = "11111111-aaaa-4bbb-8ccc-000000000001"
TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"

PREPARE = """
import asyncio, sys
from podpass.database import Database
from podpass.{package}.schema import CHAIN, metadata

async def main():
    async with Database(sys.argv[1]) as database:
        await database.prepare(metadata, CHAIN)
        print("alembic" in sys.modules)

asyncio.run(main())
"""


def every_revision() -> list[tuple[str, str]]:
    return [
        (store, f"{number:04}")
        for store, (_, chain) in STORES.items()
        for number in range(1, int(chain.head) + 1)
    ]


async def prepare(url: str, *stores: str) -> None:
    async with Database(url) as database:
        for store in stores:
            await database.prepare(*STORES[store])


def revision_of(url: str, chain: Chain) -> str | None:
    with opened(url) as engine, engine.connect() as connection:
        return recorded(connection, chain)


@pytest.mark.parametrize(("store", "number"), DUMPS)
async def test_what_an_earlier_database_held_is_there(
    tmp_path: Path, store: str, number: int
) -> None:
    url = f"sqlite:///{restore(tmp_path / 'old.db', (store, number))}"
    before = rows_of(store, number)
    await prepare(url, store)
    assert revision_of(url, STORES[store][1]) == STORES[store][1].head
    with opened(url) as engine, engine.connect() as connection:
        after = rows(connection)
    for table, held in before.items():
        pairs = zip(after[table], held, strict=True)
        assert [{name: row[name] for name in old} for row, old in pairs] == held


@pytest.mark.parametrize(("store", "revision"), every_revision())
async def test_every_revision_climbs_to_the_tables_of_a_new_database(
    database_url: str, store: str, revision: str
) -> None:
    schema, chain = STORES[store]
    with opened(database_url) as engine:
        with engine.begin() as connection:
            climb(connection, chain, None, revision)
        await prepare(database_url, store)
        with engine.begin() as connection:
            climbed = tables(connection, chain)
            for name in [*climbed, chain.stamp.name]:
                cascade = "" if engine.dialect.name == "sqlite" else " CASCADE"
                connection.exec_driver_sql(f'DROP TABLE "{name}"{cascade}')
        await prepare(database_url, store)
        with engine.connect() as connection:
            assert climbed == tables(connection, chain)
            assert set(climbed) >= set(schema.tables)


@pytest.mark.parametrize(("store", "number"), DUMPS)
async def test_rows_of_an_earlier_schema_come_along_on_either_database(
    database_url: str, store: str, number: int
) -> None:
    _, chain = STORES[store]
    with opened(database_url) as engine:
        with engine.begin() as connection:
            climb(connection, chain, None, f"{number:04}")
            copy(connection, rows_of(store, number))
        await prepare(database_url, store)
        with engine.connect() as connection:
            found = rows(connection)
    for table, held in rows_of(store, number).items():
        assert len(found[table]) == len(held)


async def test_a_directory_of_schema_1_is_used_as_one_of_today(tmp_path: Path) -> None:
    url = f"sqlite:///{restore(tmp_path / 'directory.db', ('directory', 1))}"
    async with Directory(Database(url)) as directory:
        web = await directory.find_identity(TENANT, CLIENT)
        assert web is not None
        assert (web.location, web.application_id, web.has_principal) == ("eastus", None, True)
        assert web.credentials[0].id
        [app] = await directory.list_identities(TENANT, "An App")
        assert app.application_id
        vault = await directory.find_vault("demo")
        assert vault is not None
        # Its secrets lie under its name.
        assert (vault.uid, vault.location, vault.retention_days) == ("demo", "westeurope", 90)
        [held] = await directory.assignments.list()
        assert held.name
        # Deleted with all that lies in it, as one of today.
        assert await directory.groups.delete(vault.resource_id.split("/")[2], "podpass")
        assert await directory.find_identity(TENANT, CLIENT) is None


@pytest.mark.parametrize("number", [1, 2])
async def test_secrets_of_an_earlier_schema_open_with_their_key(
    tmp_path: Path, number: int
) -> None:
    url = f"sqlite:///{restore(tmp_path / 'vault.db', ('vault', number))}"
    (tmp_path / "vault.key").write_bytes(KEY)
    async with SecretStore(Database(url), tmp_path / "vault.key") as store:
        found = await store.get("demo", "name")
        assert found is not None
        assert (found.name, found.value.reveal(), found.tags) == ("Name", "second", {"a": "b"})
        assert await store.expire(5 + 90 * 86400) == 1


@pytest.mark.parametrize(("store", "number"), [("directory", 1), ("vault", 1)])
async def test_an_upgrade_that_fails_half_way_leaves_the_database_as_it_was(
    tmp_path: Path, store: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = restore(tmp_path / "old.db", (store, number))
    before = lines(path)
    real = scripts

    def failing(chain: Chain, found: str | None, target: str) -> list[object]:
        last = list(real(chain, found, target))[-1]
        undo = last.upgrade

        def upgrade() -> None:
            undo()
            raise RuntimeError("the power went out")

        return [*list(real(chain, found, target))[:-1], type("Script", (), {"upgrade": upgrade})]

    monkeypatch.setattr("podpass.database.migrate.scripts", failing)
    with pytest.raises(RuntimeError, match="power"):
        await prepare(f"sqlite:///{path}", store)
    assert lines(path) == before


async def test_several_processes_that_start_together_upgrade_once(tmp_path: Path) -> None:
    path = restore(tmp_path / "old.db", ("directory", 1))
    with closing(sqlite3.connect(path)) as connection, connection:
        # Enough that they meet: a second run of a script fails at the columns that are there.
        connection.executemany(
            "INSERT INTO identities VALUES (?, ?, ?, 'x', 'application', NULL, NULL, 1)",
            [(TENANT, f"client-{n}", f"object-{n}") for n in range(5000)],
        )
    code = PREPARE.format(package="directory")
    started = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code,
            f"sqlite:///{path}",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    answers = await asyncio.gather(*(one.communicate() for one in started))
    assert [
        (one.returncode, said[1].decode()[-400:])
        for one, said in zip(started, answers, strict=True)
    ] == [(0, "")] * 3
    assert revision_of(f"sqlite:///{path}", STORES["directory"][1]) == STORES["directory"][1].head


def test_neither_a_new_database_nor_a_current_one_imports_alembic(tmp_path: Path) -> None:
    for package in ("directory", "resource", "directory"):
        command = [
            sys.executable,
            "-c",
            PREPARE.format(package=package),
            f"sqlite:///{tmp_path}/new.db",
        ]
        assert (
            subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"
        )


async def test_a_stamp_that_is_no_text_is_refused_and_left(tmp_path: Path) -> None:
    """SQLite keeps bytes in a column of text."""
    _, chain = STORES["vault"]
    path = tmp_path / "directory.db"
    database_url = f"sqlite:///{path}"
    await prepare(database_url, "vault")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE {chain.stamp.name} SET version_num = x'ff'")
        connection.commit()
    with pytest.raises(DatabaseUnusable, match="does not say which schema") as refused:
        await prepare(database_url, "vault")
    assert "backup" in refused.value.hint


async def test_a_database_of_a_newer_podpass_is_refused_and_left(database_url: str) -> None:
    _, chain = STORES["vault"]
    await prepare(database_url, "vault")
    with opened(database_url) as engine, engine.begin() as connection:
        connection.execute(chain.stamp.update().values(version_num="9999"))
    with pytest.raises(
        DatabaseUnusable, match="of a newer podpass: its vault has schema 9999"
    ) as caught:
        await prepare(database_url, "vault")
    assert "start the podpass that last used it" in caught.value.hint
    assert revision_of(database_url, chain) == "9999"


async def test_a_stamp_that_no_podpass_wrote_is_refused(database_url: str) -> None:
    _, chain = STORES["vault"]
    await prepare(database_url, "vault")
    with opened(database_url) as engine, engine.begin() as connection:
        connection.execute(chain.stamp.update().values(version_num="0000"))
    with pytest.raises(DatabaseUnusable, match="does not know schema 0000"):
        await prepare(database_url, "vault")


async def test_tables_of_somebody_else_are_not_used(database_url: str) -> None:
    _, chain = STORES["directory"]
    with opened(database_url) as engine, engine.begin() as connection:
        Table("users", MetaData(), Column("id", Integer, primary_key=True)).create(connection)
    with pytest.raises(DatabaseUnusable, match="tables that podpass did not make: users"):
        await prepare(database_url, "directory")
    assert revision_of(database_url, chain) is None


async def test_stores_of_one_database_have_chains_of_their_own(database_url: str) -> None:
    await prepare(database_url, *STORES)
    await prepare(database_url, *reversed(STORES))
    for _, chain in STORES.values():
        assert revision_of(database_url, chain) == chain.head


async def test_the_number_of_one_store_is_not_taken_for_anothers(tmp_path: Path) -> None:
    url = f"sqlite:///{restore(tmp_path / 'directory.db', ('directory', 1))}"
    await prepare(url, "vault", "authority", "directory")
    for _, chain in STORES.values():
        assert revision_of(url, chain) == chain.head
    assert "schema_version" not in "".join(lines(tmp_path / "directory.db"))


@pytest.mark.parametrize("store", list(STORES))
def test_a_chains_head_is_its_last_script_and_no_script_reads_the_schema(store: str) -> None:
    """A script that imports the tables of today would do something else tomorrow."""
    _, chain = STORES[store]
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
