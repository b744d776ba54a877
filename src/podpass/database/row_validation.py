"""Decodes database rows into model objects. A row that cannot be decoded is reported by table and key.

The database enforces the type of each value: PostgreSQL always, SQLite because its tables are STRICT. This
module checks what the types do not enforce: invalid UTF-8, a text that a damaged page turned into a blob,
flags other than 0 and 1, times outside the calendar, and every ValueError, TypeError or LookupError that the
decoder of a table raises, for example for JSON of the wrong shape. A corrupt row is never decoded partially,
and never hides the other rows of a list.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Select, String, Table

from podpass.database.column_types import MAX_TIME, MIN_TIME, Flag, InvalidUtf8, Moment, Text
from podpass.database.errors import DatabaseFailed

_log = logging.getLogger(__name__)
Model = TypeVar("Model")
Arguments = ParamSpec("Arguments")
_collected: "ContextVar[list[CorruptRowError] | None]" = ContextVar("corrupt_rows", default=None)
# The exceptions of a decoder for a value that podpass never writes.
DECODE_ERRORS = (ValueError, TypeError, LookupError)


class CorruptRowError(DatabaseFailed):
    """A row holds a value that podpass never writes. Other rows are not affected."""

    code = "corrupt_row"
    hint = "stop podpass, then restore the database from a backup, or delete this row with sqlite3"


@contextmanager
def decoding_row(table: str, key: str, hint: str | None = None) -> Iterator[None]:
    """Convert an error that decoding raises into one that names the row's table and key.

    `hint` replaces the default hint, for rows that must not be deleted. Raises CorruptRowError.
    """
    try:
        yield
    except DECODE_ERRORS as exc:
        raise corrupt_row(table, key, exc, hint) from exc


def corrupt_row(table: str, key: str, exc: Exception, hint: str | None = None) -> CorruptRowError:
    """Create the error for a row that cannot be decoded."""
    # The key is printed on terminals, and may itself be corrupt.
    shown = key if str(key).isprintable() else repr(key)
    message = f"the row of {shown} in table {table} cannot be read"
    return CorruptRowError(
        message, cause=f"{message}: {type(exc).__name__}: {exc}"[:400], hint=hint
    )


class RowCheck:
    """Checks the values of rows beyond the types of their columns.

    One column for each value of a row, in order; None for a value that belongs to no column. It accepts rows
    of a `PreparedStatement` too, in which SQLite's flags are integers.
    """

    def __init__(self, columns: Iterable[Any]) -> None:
        self._columns = list(columns)
        self._texts = self._columns_of_type(String, Text)
        self._flags = self._columns_of_type(Flag)
        self._times = self._columns_of_type(Moment)

    def _columns_of_type(self, *kinds: type) -> list[tuple[int, str]]:
        return [
            (index, str(column.name))
            for index, column in enumerate(self._columns)
            if column is not None and isinstance(column.type, kinds)
        ]

    def check(self, row: Sequence[Any]) -> None:
        """Check one row.

        Raises ValueError, which names the column. `decoding_row` adds the table and the key.
        """
        kinds = [*map(type, row)]
        if InvalidUtf8 in kinds:
            raise ValueError(f"{self._find_invalid_text(row)}: want text, found invalid UTF-8")
        if bytes in kinds:
            # One bit of a damaged page turns a text into a blob of the same bytes.
            for index, name in self._texts:
                if kinds[index] is bytes:
                    raise ValueError(f"{name}: want text, found a blob")
        for index, name in self._flags:
            if row[index] not in (0, 1):
                raise ValueError(f"{name}: want a flag, found {row[index]}")
        for index, name in self._times:
            if (value := row[index]) is not None and not MIN_TIME <= value < MAX_TIME:
                raise ValueError(f"{name}: want seconds since the epoch, found {value}")

    def _find_invalid_text(self, row: Sequence[Any]) -> str:
        found = next(index for index, value in enumerate(row) if type(value) is InvalidUtf8)
        column = self._columns[found]
        return "a value" if column is None else str(column.name)


def row_decoder(
    source: Table | Select[Any],
    key: Callable[[Any], Any],
    *,
    table: str = "",
    hint: str | None = None,
) -> Callable[
    [Callable[Concatenate[Any, Arguments], Model]], Callable[Concatenate[Any, Arguments], Model]
]:
    """Create a decorator that validates a row before a function builds a model from it.

    `source` is the table or query that the rows come from; `key` names a row in errors; `table` is required
    for a query. The decoder raises CorruptRowError, for every exception that the function raises for a
    value.
    """
    columns = source.columns if isinstance(source, Table) else source.selected_columns
    check = RowCheck(columns)
    name = source.name if isinstance(source, Table) else table

    def decorate(
        build: Callable[Concatenate[Any, Arguments], Model],
    ) -> Callable[Concatenate[Any, Arguments], Model]:
        @wraps(build)
        def decode(row: Any, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Model:
            with decoding_row(name, key(row), hint):
                check.check(row)
                return build(row, *args, **kwargs)

        return decode

    return decorate


@contextmanager
def collecting_errors() -> Iterator[list[CorruptRowError]]:
    """Collect, once each, the corrupt rows that lists omit inside this context."""
    collected: list[CorruptRowError] = []
    token = _collected.set(collected)
    try:
        yield collected
    finally:
        _collected.reset(token)


def decode_rows(rows: Iterable[Any], decode: Callable[[Any], Model]) -> list[Model]:
    """Decode the rows of a list. A corrupt row is logged and left out."""
    found = []
    for row in rows:
        try:
            found.append(decode(row))
        except CorruptRowError as exc:
            _log.error("corrupt_row_skipped", extra=exc.facts)
            collected = _collected.get()
            # A page with corrupt rows is read a second time with a higher limit, and has the same rows again.
            if collected is not None and exc.message not in [one.message for one in collected]:
                collected.append(exc)
    return found


def fetch_first(
    connection: Connection, query: Select[Any], decode: Callable[[Any], Model]
) -> Model | None:
    """Read the first row, or None. Raises CorruptRowError."""
    row = connection.execute(query).first()
    return None if row is None else decode(row)


def fetch_page(
    connection: Connection, query: Select[Any], limit: int | None, decode: Callable[[Any], Model]
) -> list[Model]:
    """Read the rows of a list, up to the limit, without the corrupt ones."""
    if limit is None:
        return decode_rows(connection.execute(query).all(), decode)
    return decode_full_page(limit, lambda size: connection.execute(query.limit(size)).all(), decode)


def decode_full_page(
    limit: int, read: Callable[[int], Sequence[Any]], decode: Callable[[Any], Model]
) -> list[Model]:
    """Decode a page with as many rows as the limit.

    Corrupt rows are replaced by later ones, because clients treat a short page as the last one.
    """
    corrupt = 0
    while True:
        rows = read(limit + corrupt)
        found = decode_rows(rows, decode)
        left_out = len(rows) - len(found)
        if left_out == corrupt or len(rows) < limit + corrupt:
            return found
        corrupt = left_out
