"""SQLite refuses values of a wrong type in every table of every store."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Column, Table

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
