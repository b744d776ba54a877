"""Databases that fail: full, read-only, locked by another process, or with corrupt values."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table

from podpass.database import Database
from podpass.database.column_types import Flag, Moment, Text

INVALID_UTF8 = "CAST(x'ff' AS TEXT)"
INVALID_TIMES = ("9e999", "-9e999", "1e300", "-1e12", "253402300800.0")
# Values that SQLite accepts in a column of a STRICT table, and podpass never writes.
_CORRUPT_VALUES: dict[type, str] = {Text: INVALID_UTF8, Flag: "2", Moment: "9e999"}


@contextmanager
def fill_disk(database: Database, path: Path) -> Iterator[None]:
    """Prevent new pages; a write must be longer than the free space in the existing pages."""
    del path
    with _pragma(database, "max_page_count = 1", "max_page_count = 1000000"):
        yield


@contextmanager
def make_read_only(database: Database, path: Path) -> Iterator[None]:
    """Reject writes, like a disk that is mounted read-only."""
    del path
    with _pragma(database, "query_only = 1", "query_only = 0"):
        yield


@contextmanager
def lock_database(database: Database | None, path: Path) -> Iterator[None]:
    """Lock the database, like another program during a write; a given store waits for it only briefly."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.MonkeyPatch.context() as patched:
            if database is not None:
                patched.setattr(database._backend, "_patience", 0.1)
            yield
    finally:
        other.close()


@contextmanager
def _pragma(database: Database, before: str, after: str) -> Iterator[None]:
    engine = database._backend.engine
    # The pool has one connection, so the setting applies to the connection of the store.
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


def corrupt(path: Path, statement: str, *values: object) -> None:
    """Change one row in a way that podpass never does."""
    other = sqlite3.connect(path)
    assert other.execute(statement, values).rowcount == 1
    other.commit()
    other.close()


def corrupt_values(table: Table, *but: str) -> list[tuple[Table, str]]:
    """Return an assignment of a corrupt value for each column of a table that can hold one, except `but`."""
    return [
        (table, f'"{column.name}" = {value}')
        for column in table.columns
        if column.name not in but
        for kind, value in _CORRUPT_VALUES.items()
        if isinstance(column.type, kind)
    ]


def skipped_rows(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the causes logged for rows that lists left out."""
    found = [each for each in caplog.records if each.getMessage() == "corrupt_row_skipped"]
    return [str(vars(each)["cause"]) for each in found]


# Each fault with the status, the message and the header Retry-After that every API answers a write with.
failing_writes = pytest.mark.parametrize(
    ("fault", "status", "message", "retry_after"),
    [
        (fill_disk, 507, "the disk is full", None),
        (make_read_only, 507, "read-only", None),
        (lock_database, 503, "busy", "2"),
    ],
)


def check_failed_write_is_logged(caplog: pytest.LogCaptureFixture, times: int = 1) -> None:
    """Check that each failed write is one error line with the cause, without the values and the stack."""
    lines = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert len(lines) == times
    assert "SQLITE_" in vars(lines[0])["cause"]
    for line in lines:
        assert line.exc_info is None
        assert not any(letter * 4 in repr(vars(line)) for letter in "nv")
