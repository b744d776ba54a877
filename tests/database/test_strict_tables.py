"""SQLite refuses values of a wrong type in every table; a damaged page is refused by table and key."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Table

from podpass.clock import system
from podpass.database import CorruptRowError, Database
from podpass.directory.model import Identity, IdentityKind, Tenant
from podpass.directory.store.directory import Directory
from tests.database.stored_schemas import NEWEST_DUMPS, STORES, restore

# By Python type of a column: values of other types that SQLite cannot convert.
OTHER_TYPES = {
    str: ("x'ff'",),
    bytes: ("'zz'", "7", "CAST(x'ff' AS TEXT)"),
    bool: ("'false'", "x'ff'", "0.5"),
    int: ("'zz'", "x'ff'", "0.5"),
    float: ("'zz'", "x'ff'"),
}
COLUMNS = [
    column
    for schema, _ in STORES.values()
    for table in schema.sorted_tables
    for column in table.columns
]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    """Provide a database with the tables of all stores and at least one row in each table."""
    path: Path = restore(tmp_path_factory.mktemp("strict") / "all.db", *NEWEST_DUMPS)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


def format_name(column: Column[object]) -> str:
    assert isinstance(column.table, Table)
    return f"{column.table.name}.{column.name}"


@pytest.mark.parametrize("column", COLUMNS, ids=format_name)
def test_value_of_another_type_is_refused(file: sqlite3.Connection, column: Column[object]) -> None:
    assert isinstance(column.table, Table)
    for value in OTHER_TYPES[column.type.python_type]:
        statement = f'UPDATE "{column.table.name}" SET "{column.name}" = {value}'
        with pytest.raises(sqlite3.IntegrityError, match=r"cannot store|datatype mismatch"):
            file.execute(statement)


@pytest.mark.parametrize(
    "column",
    [one for one in COLUMNS if not one.nullable and one.autoincrement is not True],
    ids=format_name,
)
def test_null_is_refused_in_a_required_column(
    file: sqlite3.Connection, column: Column[object]
) -> None:
    assert isinstance(column.table, Table)
    with pytest.raises(sqlite3.IntegrityError, match=r"NOT NULL|datatype mismatch"):
        file.execute(f'UPDATE "{column.table.name}" SET "{column.name}" = NULL')


TENANT = "11111111-1111-1111-1111-111111111111"
IDENTITY = Identity(
    tenant_id=TENANT,
    client_id="22222222-2222-2222-2222-222222222222",
    object_id="33333333-3333-3333-3333-333333333333",
    name="shop-api",
    kind=IdentityKind.APPLICATION,
    application_id="44444444-4444-4444-4444-444444444444",
)


async def test_text_column_that_a_flipped_bit_made_a_blob_is_a_corrupt_row(tmp_path: Path) -> None:
    path = tmp_path / "directory.db"
    async with Database(f"sqlite:///{path}") as database, Directory(database, (), system) as one:
        await one.create_tenant(Tenant(id=TENANT, display_name="t", domains=()))
        await one.identities.put(IDENTITY)
    flip_type_of_object_id(path)
    async with Database(f"sqlite:///{path}") as database, Directory(database, (), system) as one:
        assert await one.identities.list(TENANT) == []
        with pytest.raises(CorruptRowError) as caught:
            await one.identities.get(TENANT, IDENTITY.client_id)
    assert f"the row of {IDENTITY.client_id} in table identities" in caught.value.message
    assert "object_id: want text, found a blob" in str(caught.value.facts["cause"])


def flip_type_of_object_id(path: Path) -> None:
    """Flip the lowest bit of the type of `object_id` in the header of the only row of `identities`."""
    checkpoint = sqlite3.connect(path)
    checkpoint.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    checkpoint.close()
    content = path.read_bytes()
    # The header of a row has 13 + 2 * length for each text: three GUIDs, then the name.
    header = bytes([13 + 2 * 36] * 3 + [13 + 2 * len(IDENTITY.name)])
    assert content.count(header) == 1
    path.write_bytes(content.replace(header, header[:2] + bytes([header[2] ^ 1]) + header[3:]))
