"""Statements of the hot path: compiled once for a database, then only the driver's work."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import ClauseElement

Values = Mapping[str, object]


class Prepared:
    """One statement with named parameters, which sees one state of the database.

    Shapes:  rows come as the driver gives them: SQLite knows no booleans.
    """

    def __init__(self, query: ClauseElement) -> None:
        self._query = query
        self._compiled: dict[str, tuple[str, Mapping[str, object], tuple[str, ...] | None]] = {}

    def on(self, dialect: Dialect, values: Values) -> tuple[str, Any]:
        """Give statement and parameters as the driver of a database takes them."""
        found = self._compiled.get(dialect.name)
        if found is None:
            made: Any = self._query.compile(dialect=dialect)
            places = tuple(made.positiontup) if made.positional else None
            found = self._compiled[dialect.name] = (str(made), made.params, places)
        sql, constants, places = found
        given = {**constants, **values}
        return sql, given if places is None else [given[name] for name in places]


@contextmanager
def from_driver(dialect: Dialect) -> Iterator[None]:
    """Let faults of the driver look like those of statements that went through SQLAlchemy."""
    kind: Any = dialect.dbapi
    try:
        yield
    except kind.Error as exc:
        raise DBAPIError.instance("", (), exc, kind.Error, dialect=dialect) from exc
