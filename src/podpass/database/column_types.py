"""Text that means the same in every database."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Boolean, Dialect, Double, String
from sqlalchemy.types import TypeDecorator, TypeEngine

from podpass.database.errors import TextDamaged, ValueUnfit


class NotUtf8(bytes):
    """What SQLite keeps as a text and is none: a value of no column's type, so that its row is damaged."""


def decoded(kept: bytes) -> str | NotUtf8:
    """Read a text of SQLite's, whatever it is."""
    try:
        return kept.decode()
    except UnicodeDecodeError:
        return NotUtf8(kept)


class Text(TypeDecorator[str]):
    """A column of text that is compared and ordered byte for byte, whatever the database's locale.

    Errors:  ValueUnfit for a NUL character, which PostgreSQL does not keep, and SQLite's own tools cut at;
             TextDamaged.
    """

    impl = String
    cache_ok = True

    @property
    def python_type(self) -> type[str]:
        return str

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        collation = "C" if dialect.name == "postgresql" else None
        return dialect.type_descriptor(String(collation=collation))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        del dialect
        if value is None:
            return None
        if not isinstance(value, str):
            raise TextDamaged(f"the database holds {type(value).__name__} where a text belongs")
        if "\0" in value:
            raise ValueUnfit("a text holds a NUL character")
        return value


_KEPT_AS = {0: False, 1: True}


class Flag(TypeDecorator[bool]):
    """A column of true or false.

    SQLite keeps a number, or whatever somebody else wrote; that is given as it stands, for `check_types` to
    refuse: as a truth value, `'false'` would be true.
    """

    impl = Boolean
    cache_ok = True

    @property
    def python_type(self) -> type[bool]:
        return bool

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        del dialect, coltype
        return lambda value: _KEPT_AS.get(value, value)


# Midnight before the years 1 and 10000: beyond them no date can be written.
BEGIN, END = -62135596800.0, 253402300800.0


class Moment(Double[float]):
    """A column of seconds since the epoch; a row in which they are no date is damaged."""
