"""Databases that fail as they do in the field: full, read-only, held by somebody else, damaged."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table

# By type of a column, what SQLite keeps there although it is of another; the text of one sign is no UTF-8.
NOT_UTF8 = "CAST(x'ff' AS TEXT)"
NO_DATES = ("9e999", "-9e999", "1e300", "-1e12", "253402300800.0")
WRONG = {
    str: ("x'ff'", NOT_UTF8),
    bytes: ("'zz'", "7", NOT_UTF8),
    bool: ("'false'", "2"),
    int: ("'zz'",),
    float: ("'zz'",),
}


@contextmanager
def full(engine: Any, path: Path) -> Iterator[None]:
    """Not one page more than there are; what is to be written has to be longer than what is free."""
    del path
    with _set(engine, "max_page_count = 1", "max_page_count = 1000000"):
        yield


@contextmanager
def read_only(engine: Any, path: Path) -> Iterator[None]:
    """A disk that was mounted without writing."""
    del path
    with _set(engine, "query_only = 1", "query_only = 0"):
        yield


@contextmanager
def held(engine: Any, path: Path) -> Iterator[None]:
    """Another program in the middle of a write."""
    del engine
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


@contextmanager
def _set(engine: Any, before: str, after: str) -> Iterator[None]:
    # One connection at a time, so that of the pool is the one that is met.
    _on_pooled(engine, before)
    try:
        yield
    finally:
        _on_pooled(engine, after)


def _on_pooled(engine: Any, pragma: str) -> None:
    connection = engine.raw_connection()
    try:
        connection.cursor().execute(f"PRAGMA {pragma}")
    finally:
        connection.close()


def damage(path: Path, statement: str, *values: object) -> None:
    """Write what podpass would not."""
    other = sqlite3.connect(path)
    assert other.execute(statement, values).rowcount == 1
    other.commit()
    other.close()


def wrong(table: Table, *but: str) -> list[tuple[Table, str]]:
    """Give each column of a table with each value that is none of its type."""
    return [
        (table, f'"{column.name}" = {value}')
        for column in table.columns
        if column.name not in but
        for value in WRONG[column.type.python_type]
    ]


def left_out(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Give what the rows are said to be that lists left out."""
    found = [each for each in caplog.records if each.getMessage() == "row_damaged"]
    return [str(vars(each)["cause"]) for each in found]
