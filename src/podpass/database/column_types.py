"""Column types that store and compare the same values on SQLite and on PostgreSQL.

SQLite tables are STRICT, so each type maps to one of the types that SQLite enforces: TEXT, INTEGER, REAL,
BLOB.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    REAL,
    TEXT,
    BigInteger,
    Boolean,
    Dialect,
    Double,
    Integer,
    MetaData,
    String,
    Table,
)
from sqlalchemy.schema import SchemaItem
from sqlalchemy.types import TypeDecorator, TypeEngine

from podpass.database.errors import CorruptTextError, UnstorableValue


def strict_table(name: str, metadata: MetaData, *items: SchemaItem, **options: Any) -> Table:
    """Define a table that refuses values of a wrong type on both databases."""
    return Table(name, metadata, *items, sqlite_strict=True, **options)


class InvalidUtf8(bytes):
    """The bytes of a SQLite TEXT value that is not valid UTF-8. Row validation rejects it."""


def decode_text(stored: bytes) -> str | InvalidUtf8:
    """Decode a SQLite TEXT value, or return its bytes as `InvalidUtf8`."""
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return InvalidUtf8(stored)


class Text(TypeDecorator[str]):
    """A text column that is compared and ordered by bytes, independent of the locale of the database.

    Raises UnstorableValue for a NUL character: PostgreSQL does not store it, and the sqlite3 tool stops at
    it; CorruptTextError.
    """

    impl = String
    cache_ok = True

    @property
    def python_type(self) -> type[str]:
        return str

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(String(collation="C"))
        return dialect.type_descriptor(TEXT())

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        del dialect
        if value is None:
            return None
        if not isinstance(value, str):
            raise CorruptTextError("the database holds invalid UTF-8 in a text column")
        if "\0" in value:
            raise UnstorableValue("a text contains a NUL character")
        return value


_BOOLEANS = {0: False, 1: True}


class Flag(TypeDecorator[bool]):
    """A boolean column.

    SQLite stores an integer. A value other than 0 and 1 is returned unchanged, and row validation rejects it:
    2 must not count as true.
    """

    impl = Boolean
    cache_ok = True

    @property
    def python_type(self) -> type[bool]:
        return bool

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        kind = Boolean() if dialect.name == "postgresql" else Integer()
        return dialect.type_descriptor(kind)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        del dialect, coltype
        return lambda value: _BOOLEANS.get(value, value)


# The start of the years 1 and 10000: `datetime` cannot represent a time outside this range.
MIN_TIME, MAX_TIME = -62135596800.0, 253402300800.0


class Moment(TypeDecorator[float]):
    """A column of seconds since the epoch. Row validation rejects values that `datetime` cannot represent."""

    impl = Double
    cache_ok = True

    @property
    def python_type(self) -> type[float]:
        return float

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        kind: TypeEngine[Any] = Double() if dialect.name == "postgresql" else REAL()
        return dialect.type_descriptor(kind)


# A number of seconds, which need not be a valid date.
Seconds: TypeEngine[float] = Double().with_variant(REAL(), "sqlite")
# 64 bits. On SQLite only a column of type INTEGER can be an AUTOINCREMENT primary key.
WholeNumber: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")


def short_text(length: int) -> TypeEngine[str]:
    """Return the type of a text column whose values podpass generates: ASCII, up to `length` characters."""
    return String(length).with_variant(TEXT(), "sqlite")
