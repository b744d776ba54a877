"""The content of a database, to restore it: all rows of all tables, in memory."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

Row = tuple[Any, ...]
Tables = Mapping[str, frozenset[Row]]
# The signing and sealing keys of the token service.
KEY_TABLES = frozenset({"authority_keys", "authority_seals"})
_SEQUENCES = "sqlite_sequence"


def read_tables(connection: Connection) -> Tables:
    """Return the rows of all tables."""
    query = "SELECT name FROM sqlite_schema WHERE type = 'table'"
    names = [str(name) for (name,) in connection.exec_driver_sql(query)]
    return {name: _rows(connection, name) for name in names}


def restore_tables(connection: Connection, wanted: Tables) -> frozenset[str]:
    """Restore the rows of all tables; return the names of the tables that had changed."""
    # The rows of several tables refer to each other: the database checks them at the commit.
    connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    changed = frozenset(name for name in wanted if _rows(connection, name) != wanted[name])
    for name in changed:
        _delete(connection, name, _rows(connection, name) - wanted[name])
    # A deletion may have deleted rows of other tables too.
    for name, rows in wanted.items():
        if name != _SEQUENCES:
            _insert(connection, name, rows - _rows(connection, name))
    # The inserts have changed the counters.
    if _SEQUENCES in wanted:
        now = _rows(connection, _SEQUENCES)
        _delete(connection, _SEQUENCES, now - wanted[_SEQUENCES])
        _insert(connection, _SEQUENCES, wanted[_SEQUENCES] - now)
    return changed


def _rows(connection: Connection, table: str) -> frozenset[Row]:
    found = connection.exec_driver_sql(f'SELECT * FROM "{table}"')  # noqa: S608 our own table
    return frozenset(tuple(row) for row in found)


def _columns(connection: Connection, table: str) -> list[str]:
    found = connection.exec_driver_sql(f'PRAGMA table_info("{table}")')
    return [f'"{row[1]}"' for row in found]


def _delete(connection: Connection, table: str, rows: frozenset[Row]) -> None:
    if rows:
        condition = " AND ".join(f"{name} IS ?" for name in _columns(connection, table))
        statement = f'DELETE FROM "{table}" WHERE {condition}'  # noqa: S608 our own table
        connection.exec_driver_sql(statement, list(rows))


def _insert(connection: Connection, table: str, rows: frozenset[Row]) -> None:
    if rows:
        places = ", ".join("?" for _ in _columns(connection, table))
        statement = f'INSERT INTO "{table}" VALUES ({places})'  # noqa: S608 our own table
        connection.exec_driver_sql(statement, list(rows))
