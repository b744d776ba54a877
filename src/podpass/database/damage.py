"""Rows that hold what podpass never wrote: each is told by its place, and takes no other with it."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from types import NoneType
from typing import Any, TypeVar

from sqlalchemy import Select, Table

from podpass.database.faults import DatabaseFailed

_log = logging.getLogger(__name__)
Shape = TypeVar("Shape")
_heard: "ContextVar[list[RowDamaged] | None]" = ContextVar("damaged_rows", default=None)


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
    except (ValueError, TypeError, LookupError) as exc:
        said = f"the row of {key} in table {table} cannot be read"
        raise RowDamaged(
            said, cause=f"{said}: {type(exc).__name__}: {exc}"[:400], hint=hint
        ) from exc


@dataclass(frozen=True, slots=True)
class _Types:
    """What the columns of a table or a query hold: their names, the types of each, and rows known to fit."""

    columns: Sequence[tuple[str, str, frozenset[type]]]
    fit: set[tuple[type, ...]]


_KEPT_AS = {
    str: ("a text", frozenset({str})),
    bool: ("a flag", frozenset({bool})),
    int: ("a whole number", frozenset({int})),
    float: ("a number", frozenset({float, int})),
    bytes: ("bytes", frozenset({bytes, memoryview})),
}


def check_types(row: Sequence[Any], of: Table | Select[Any]) -> None:
    """Check that the values of a row are of their columns' types: SQLite keeps any value in any column.

    Shapes:  `row` has a value for each column of the table, or of the query, in their order.
    Errors:  TypeError, which `shaping` tells.
    """
    types, found = _types(of), tuple(map(type, row))
    # Rows of a table are of few makes, which differ in what is null: one look tells that another fits too.
    if found in types.fit:
        return
    for (name, want, allowed), kind in zip(types.columns, found, strict=True):
        if kind not in allowed:
            raise TypeError(f"{name}: want {want}, found {kind.__name__}")
    types.fit.add(found)


@cache
def _types(of: Table | Select[Any]) -> _Types:
    columns = []
    for column in of.selected_columns if isinstance(of, Select) else of.columns:
        want, allowed = _KEPT_AS[column.type.python_type]
        columns.append((column.name, want, allowed | ({NoneType} if column.nullable else set())))
    return _Types(columns, set())


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
