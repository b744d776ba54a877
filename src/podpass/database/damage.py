"""Rows that hold what podpass never wrote: each is told by its place, and takes no other with it."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

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


def check_texts(*values: object) -> None:
    """Check that values of a row are texts, or nothing: SQLite keeps bytes in a column of text.

    Errors:  TypeError, which `shaping` tells.
    """
    for value in values:
        if value is not None and not isinstance(value, str):
            raise TypeError(f"want a text, found {type(value).__name__}")


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
    # A page is read anew where it is short.
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
