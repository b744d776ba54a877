"""Statements for every token request: compiled once for each database, then run directly by the driver."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Dialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import ClauseElement

Values = Mapping[str, object]


class PreparedStatement:
    """One statement with named parameters, which reads one state of the database.

    Values are those of the driver: SQLite returns 0 and 1 for booleans.
    """

    def __init__(self, query: ClauseElement) -> None:
        self._query = query
        self._compiled: dict[str, tuple[str, Mapping[str, object], tuple[str, ...] | None]] = {}

    def render(self, dialect: Dialect, values: Values) -> tuple[str, Any]:
        """Return the SQL and the parameters in the form that the driver expects."""
        found = self._compiled.get(dialect.name)
        if found is None:
            compiled: Any = self._query.compile(dialect=dialect)
            names = tuple(compiled.positiontup) if compiled.positional else None
            found = self._compiled[dialect.name] = (str(compiled), compiled.params, names)
        sql, constants, names = found
        given = {**constants, **values}
        return sql, given if names is None else [given[name] for name in names]


@contextmanager
def wrap_driver_errors(dialect: Dialect) -> Iterator[None]:
    """Convert errors of the driver into the SQLAlchemy errors that `translate_driver_errors` handles."""
    kind: Any = dialect.dbapi
    try:
        yield
    except kind.Error as exc:
        raise DBAPIError.instance("", (), exc, kind.Error, dialect=dialect) from exc
