"""Errors of a database. They never show a statement or its values."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.exc import (
    DatabaseError,
    DataError,
    DBAPIError,
    DontWrapMixin,
    InterfaceError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from podpass.errors import Error

# Prefixes of SQLite error names and of PostgreSQL SQLSTATE codes; the first match applies.
_FULL = ("SQLITE_FULL", "53100")
_READ_ONLY = ("SQLITE_READONLY", "25006")
_CORRUPT = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "XX001", "XX002")
_BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED", "55P03", "40001", "40P01", "57", "08", "53", "25P03")
# The server is shutting down, has crashed or is starting, or the connection failed.
_CONNECTION_LOST = ("57P", "08")
# A value that is too large for an index, or has a type or a character that the column does not accept.
_UNSTORABLE = ("54000", "22")
# A setting of the session, not a value: a server without its time zone files, for example, does not know UTC.
_SETTING = "22023"
# The user has no right to create tables in the schema, or no access to it.
_FORBIDDEN = ("42501", "3F000")
# Hints for a PostgreSQL server that cannot be reached, by a word in the driver's message: a connection that
# was never established has no SQLSTATE.
_SERVER_HINTS = (
    ("authentication failed", "check the user and the password in the database's URL"),
    ("does not exist", "create it first, as the server's administrator: createuser, createdb"),
    ("resolve", "check the host in the database's URL"),
    ("", "check that PostgreSQL runs, and the host and port in the database's URL"),
)
_ENGINE_ERRORS = (OperationalError, InternalError, DatabaseError, InterfaceError, DataError)


class DatabaseUnusable(Error):
    """The database cannot be opened, or was written by another version of podpass."""

    code = "database_unusable"
    hint = "use the version of podpass that created it, or another database"


class DatabaseFailed(Error):
    """The database failed: a full, read-only or corrupt disk, or a missing permission.

    `message` is one sentence without file names, safe to send to a caller; `cause` in the facts is the
    database's own message. `retry_seconds` is None if a retry does not help.
    """

    code = "database_failed"
    hint = "check the disk that holds it, and restore the database from a backup if it is corrupt"
    retry_seconds: int | None = None

    @property
    def retry_after_seconds(self) -> int:
        """Return the seconds for Retry-After, at least 1, because clients retry in any case."""
        return self.retry_seconds or 30


class DatabaseFull(DatabaseFailed):
    """The disk has no space for a write."""

    code = "database_full"
    # Insufficient Storage: clients retry 500 and 503 automatically, which does not help here.
    status = 507
    hint = "free space on the disk that holds the database; existing data is intact"


class DatabaseReadOnly(DatabaseFailed):
    """The database file or its disk is read-only."""

    code = "database_read_only"
    status = 507
    hint = "make the database and its disk writable again; existing data is intact"


class DatabaseDamaged(DatabaseFailed):
    """The database is damaged: a retry does not help, and new writes would be lost."""

    code = "database_damaged"
    hint = (
        "stop every process that uses it, then run `podpass restore FILE --replace` with a backup; without a"
        " backup, move the file away to start without its data"
    )


class DatabaseBusy(DatabaseFailed):
    """Another process writes, or the server is unavailable. A retry may succeed."""

    code = "database_busy"
    status = 503
    hint = "check for another program that holds the database open"
    retry_seconds = 2


class DatabaseUncertain(DatabaseBusy):
    """The connection was lost during a commit: the change may be stored or not."""

    code = "database_uncertain"
    hint = "check whether the change is stored before you repeat it"


class UnstorableValue(Error, DontWrapMixin):
    """A value cannot be stored: it contains a NUL character, or is too large for an index."""

    code = "unstorable_value"
    status = 400
    hint = "leave out control characters and shorten the value"


class CorruptTextError(DatabaseFailed, DontWrapMixin):
    """Invalid UTF-8 from one row was used to query another row."""

    hint = "restore the database from a backup"


@contextmanager
def translate_driver_errors() -> Iterator[None]:
    """Convert errors of the database engine into errors of this module; others pass unchanged.

    Raises DatabaseFailed, UnstorableValue.
    """
    try:
        yield
    except PoolTimeout as exc:
        raise DatabaseBusy("the database is busy", cause="no connection is free") from exc
    except _ENGINE_ERRORS as exc:
        if type(exc) not in _ENGINE_ERRORS and _error_code(exc) not in _FORBIDDEN:
            raise  # an error of the statement: a duplicate row, wrong SQL
        raise to_database_error(exc) from exc


def to_database_error(exc: SQLAlchemyError) -> Error:
    """Convert an error of the engine into an error of this module."""
    # The driver's message, because SQLAlchemy's shows the statement and its values.
    original = getattr(exc, "orig", None)
    name = _error_code(exc)
    cause = f"{first_line(original) or type(exc).__name__} {name}".rstrip()
    if name.startswith(_FULL):
        return DatabaseFull("the disk is full", cause=cause)
    if name.startswith(_READ_ONLY):
        return DatabaseReadOnly("the database is read-only", cause=cause)
    if name.startswith(_CORRUPT):
        return DatabaseDamaged("the database is damaged", cause=cause)
    if name in _FORBIDDEN:
        owner = "let the URL's user own the database: ALTER DATABASE name OWNER TO user"
        return DatabaseFailed("the database forbids it to this user", cause=cause, hint=owner)
    if name.startswith(_BUSY) or is_connection_lost(exc):
        busy = None if name.startswith("SQLITE") else _server_hint(cause)
        return DatabaseBusy("the database is busy", cause=cause, hint=busy)
    if name == _SETTING:
        refused = "see the log of the PostgreSQL server; it needs its time zone files, also for UTC"
        return DatabaseFailed("the database refuses a setting", cause=cause, hint=refused)
    if name.startswith(_UNSTORABLE) or isinstance(exc, DataError):
        # The driver's message may show the value.
        return UnstorableValue("the database cannot store such a value", cause=name)
    other = _server_hint(cause) if name.startswith("28") else None
    return DatabaseFailed("the database cannot be read or written", cause=cause, hint=other)


def is_connection_lost(exc: SQLAlchemyError) -> bool:
    """Return whether the server was not reached, or the connection to it was lost."""
    if not isinstance(exc, DBAPIError):
        return False
    if exc.connection_invalidated:
        return True
    original: Any = exc.orig
    if (state := getattr(original, "sqlstate", None)) is not None:
        return str(state).startswith(_CONNECTION_LOST)
    # Errors that the driver itself raises, for a server that it cannot reach or lost the connection to, have
    # no SQLSTATE.
    unreached = isinstance(exc, (OperationalError, InterfaceError))
    return unreached and type(original).__module__.startswith("psycopg")


def _error_code(exc: SQLAlchemyError) -> str:
    original = getattr(exc, "orig", None)
    return getattr(original, "sqlite_errorname", None) or getattr(original, "sqlstate", None) or ""


def _server_hint(cause: str) -> str:
    return next(hint for word, hint in _SERVER_HINTS if word in cause)


def first_line(message: object) -> str:
    """Return the first line of a driver's message; the DETAIL line after it contains values."""
    return str(message).partition("\n")[0] if message is not None else ""
