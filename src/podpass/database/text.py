"""Text that means the same in every database."""

from typing import Any

from sqlalchemy import Dialect, String
from sqlalchemy.types import TypeDecorator, TypeEngine

from podpass.database.faults import TextDamaged, ValueUnfit


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
