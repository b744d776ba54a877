"""Rows that hold what podpass never wrote: each is told by its place, and takes no other with it."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Select, Table

from podpass.database.column_types import BEGIN, END, Moment
from podpass.database.errors import DatabaseFailed

_log = logging.getLogger(__name__)
Shape = TypeVar("Shape")
_heard: "ContextVar[list[RowDamaged] | None]" = ContextVar("damaged_rows", default=None)
# What comes of values that podpass never wrote, where they are made a shape.
WRONG = (ValueError, TypeError, LookupError)


class RowDamaged(DatabaseFailed):
    """A row holds what podpass never wrote; the others are not concerned."""

    code = "row_damaged"
    hint = "stop podpass, then restore the database from a backup, or delete this row with sqlite3"


@contextmanager
def shaping(table: str, key: str, hint: str | None = None) -> Iterator[None]:
    """Read one row inside; what is wrong with its values is told with the row's place.

    Shapes:  `hint` is for rows that others belong to, which nobody is to delete.
    Errors:  RowDamaged.
    """
    try:
        yield
    except WRONG as exc:
        raise damaged(table, key, exc, hint) from exc


def damaged(table: str, key: str, exc: Exception, hint: str | None = None) -> RowDamaged:
    """Say what is wrong with a row, by its place."""
    # It goes to terminals, and is as damaged as the rest of the row may be.
    shown = key if str(key).isprintable() else repr(key)
    said = f"the row of {shown} in table {table} cannot be read"
    return RowDamaged(said, cause=f"{said}: {type(exc).__name__}: {exc}"[:400], hint=hint)


_KEPT_AS = {
    str: ("a text", frozenset({str})),
    bool: ("a flag", frozenset({bool})),
    int: ("a whole number", frozenset({int})),
    float: ("a number", frozenset({float, int})),
    bytes: ("bytes", frozenset({bytes, memoryview})),
}
# SQLite knows no flags; a union has one type for a place, which is that of numbers on PostgreSQL.
_DRIVERS: dict[type, frozenset[type]] = {bool: frozenset({int}), int: frozenset({float})}


class Types:
    """What the values of rows have to be, by the columns that they are of.

    Shapes:  a place for each value, in their order; one that is None is of no column. `from_driver` for rows
             of a `Prepared`.
    """

    def __init__(
        self, places: Iterable[ColumnElement[Any] | None], *, from_driver: bool = False
    ) -> None:
        self._places = [None if one is None else _kept_as(one, from_driver) for one in places]
        self._fit: set[tuple[type, ...]] = set()
        self._moments = [
            (at, one.name)
            for at, one in enumerate(self._places)
            if one is not None and one.is_moment
        ]

    def check(self, row: Sequence[Any]) -> None:
        """Check a row: SQLite keeps any value in any column.

        Errors:  TypeError; ValueError for a time that is no date. `shaping` tells them.
        """
        found = tuple(map(type, row))
        # Rows of a table are of few makes, which differ in what is null: one look tells that one more fits.
        if found not in self._fit:
            self._check_types(found)
        for at, name in self._moments:
            if (value := row[at]) is not None and not BEGIN <= value < END:
                raise ValueError(f"{name}: want seconds since the epoch, found {value}")

    def _check_types(self, found: tuple[type, ...]) -> None:
        for place, kind in zip(self._places, found, strict=True):
            if place is not None and kind not in place.allowed:
                raise TypeError(f"{place.name}: want {place.want}, found {kind.__name__}")
        self._fit.add(found)


def check_types(row: Sequence[Any], of: Table | Select[Any]) -> None:
    """Check that the values of a row are of their columns' types.

    Shapes:  `row` has a value for each column of the table, or of the query, in their order.
    Errors:  TypeError; ValueError for a time that is no date. `shaping` tells them.
    """
    _types(of).check(row)


@cache
def _types(of: Table | Select[Any]) -> Types:
    return Types(of.selected_columns if isinstance(of, Select) else of.columns)


@dataclass(frozen=True, slots=True)
class _Place:
    """What may stand in one column."""

    name: str
    want: str
    allowed: frozenset[type]
    is_moment: bool


def _kept_as(column: Any, from_driver: bool) -> _Place:
    kind = column.type.python_type
    want, allowed = _KEPT_AS[kind]
    if from_driver:
        allowed |= _DRIVERS.get(kind, frozenset())
    allowed |= {NoneType} if column.nullable else set()
    return _Place(column.name, want, allowed, isinstance(column.type, Moment))


@contextmanager
def hearing() -> Iterator[list[RowDamaged]]:
    """Give the rows that lists inside leave out, each once: who asked may want to know of them."""
    heard: list[RowDamaged] = []
    token = _heard.set(heard)
    try:
        yield heard
    finally:
        _heard.reset(token)


def readable(rows: Iterable[Any], shape: Callable[[Any], Shape]) -> list[Shape]:
    """Shape the rows of a list; one that is damaged is logged and left out, the others are answered."""
    found = []
    for row in rows:
        try:
            found.append(shape(row))
        except RowDamaged as exc:
            _log.error("row_damaged", extra=exc.facts)
            _tell(exc)
    return found


def _tell(exc: RowDamaged) -> None:
    heard = _heard.get()
    # A page is read anew where it is short, and its damaged rows come again.
    if heard is not None and exc.message not in [one.message for one in heard]:
        heard.append(exc)


def list_page(
    connection: Connection, query: Select[Any], limit: int | None, shape: Callable[[Any], Shape]
) -> list[Shape]:
    """Read the rows of a list, all or as many as the limit, without those that are damaged."""
    if limit is None:
        return readable(connection.execute(query).all(), shape)
    return full_page(limit, lambda many: connection.execute(query.limit(many)).all(), shape)


def full_page(
    limit: int, read: Callable[[int], Sequence[Any]], shape: Callable[[Any], Shape]
) -> list[Shape]:
    """Shape as many rows as a page has: a page that is short for a damaged row would look like the last."""
    damaged = 0
    while True:
        rows = read(limit + damaged)
        found = readable(rows, shape)
        left_out = len(rows) - len(found)
        if left_out == damaged or len(rows) < limit + damaged:
            return found
        damaged = left_out
