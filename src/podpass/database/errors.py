"""What can go wrong with a database, in words of ours; no statement and no value of one is ever shown."""

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

# What SQLite calls its faults, and PostgreSQL; by the first that begins with it.
_FULL = ("SQLITE_FULL", "53100")
_READ_ONLY = ("SQLITE_READONLY", "25006")
_BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED", "55P03", "40001", "40P01", "57", "08", "53", "25P03")
# The server shuts down, crashed or starts; the connection failed.
_GONE = ("57P", "08")
# A value too large for an index, of a kind the column does not keep, or with a sign it does not know.
_UNFIT = ("54000", "22")
# No right to make tables in the schema, or not even to see it.
_FORBIDDEN = ("42501", "3F000")
# What to do where PostgreSQL is not to be had, by a word of its driver's: a connection that was never made
# has no number.
_SERVER_HINTS = (
    ("authentication failed", "see the user and the password in the database's URL"),
    ("does not exist", "make it first, as the server's administrator: createuser, createdb"),
    ("resolve", "see the host in the database's URL"),
    ("", "see whether PostgreSQL runs, and host and port in the database's URL"),
)
_ENGINE_FAULTS = (OperationalError, InternalError, DatabaseError, InterfaceError, DataError)


class DatabaseUnusable(Error):
    """The database cannot be opened, or was written by another version of podpass."""

    code = "database_unusable"
    hint = "use the version of podpass that made it, or another database"


class DatabaseFailed(Error):
    """The database does not do what it is asked: its disk is full, read-only, damaged, or somebody else's.

    Shapes:  `message` is one sentence without names of files, fit for a caller; `cause` of the facts is what
             the database said. `retry_seconds` is None where waiting does not help.
    """

    code = "database_failed"
    hint = "see the disk that holds it, and restore the database from a backup if it is damaged"
    retry_seconds: int | None = None

    @property
    def again_seconds(self) -> int:
        """When to ask again: clients of a damaged one do so whatever we say, so at least not at once."""
        return self.retry_seconds or 30


class DatabaseFull(DatabaseFailed):
    """There is no room left for a write."""

    code = "database_full"
    # Insufficient Storage: clients try 500 and 503 again by themselves, which does not help here.
    status = 507
    hint = "free space on the disk that holds the database; what was there before is whole"


class DatabaseReadOnly(DatabaseFailed):
    """The file or its disk does not take writes."""

    code = "database_read_only"
    status = 507
    hint = "make the database and its disk writable again; what was there before is whole"


class DatabaseBusy(DatabaseFailed):
    """Somebody else writes, or the server is not to be had; a later try may do."""

    code = "database_busy"
    status = 503
    hint = "look for another program that holds the database open"
    retry_seconds = 2


class DatabaseUncertain(DatabaseBusy):
    """The database was lost while it committed: the change may be there, or not."""

    code = "database_uncertain"
    hint = "look whether the change is there before making it again"


class ValueUnfit(Error, DontWrapMixin):
    """A value cannot be kept: it holds a NUL character, or is too large for what finds it again."""

    code = "value_unfit"
    status = 400
    hint = "leave out control characters and shorten the value"


class TextDamaged(DatabaseFailed, DontWrapMixin):
    """What was read as a text is none, and would be looked up: callers hold texts, so a row is damaged."""

    hint = "restore the database from a backup"


@contextmanager
def telling() -> Iterator[None]:
    """Tell of a fault of the engine below the statements as an error of ours; others pass.

    Errors:  DatabaseFailed, ValueUnfit.
    """
    try:
        yield
    except PoolTimeout as exc:
        raise DatabaseBusy("the database is busy", cause="no connection is free") from exc
    except _ENGINE_FAULTS as exc:
        if type(exc) not in _ENGINE_FAULTS and _number(exc) not in _FORBIDDEN:
            raise  # what a statement is to blame for: a row that is there twice, wrong SQL
        raise told(exc) from exc


def told(exc: SQLAlchemyError) -> Error:
    """Say what a fault of the engine comes to."""
    # What the driver says, not SQLAlchemy, which would show the statement and its values.
    said = getattr(exc, "orig", None)
    name = _number(exc)
    cause = f"{first_line(said) or type(exc).__name__} {name}".rstrip()
    if name.startswith(_FULL):
        return DatabaseFull("the disk is full", cause=cause)
    if name.startswith(_READ_ONLY):
        return DatabaseReadOnly("the database is read-only", cause=cause)
    if name in _FORBIDDEN:
        owner = "let the URL's user own the database: ALTER DATABASE name OWNER TO user"
        return DatabaseFailed("the database forbids it to this user", cause=cause, hint=owner)
    if name.startswith(_BUSY) or lost(exc):
        busy = None if name.startswith("SQLITE") else _server_hint(cause)
        return DatabaseBusy("the database is busy", cause=cause, hint=busy)
    if name.startswith(_UNFIT) or isinstance(exc, DataError):
        # The driver's sentence may show the value.
        return ValueUnfit("the database does not keep such a value", cause=name)
    other = _server_hint(cause) if name.startswith("28") else None
    return DatabaseFailed("the database cannot be read or written", cause=cause, hint=other)


def lost(exc: SQLAlchemyError) -> bool:
    """Tell whether the server was not reached, or the connection to it is gone."""
    if not isinstance(exc, DBAPIError):
        return False
    if exc.connection_invalidated:
        return True
    said: Any = exc.orig
    if (state := getattr(said, "sqlstate", None)) is not None:
        return str(state).startswith(_GONE)
    # What the driver itself says, having lost the server or never reached it, has no number.
    unreached = isinstance(exc, (OperationalError, InterfaceError))
    return unreached and type(said).__module__.startswith("psycopg")


def _number(exc: SQLAlchemyError) -> str:
    said = getattr(exc, "orig", None)
    return getattr(said, "sqlite_errorname", None) or getattr(said, "sqlstate", None) or ""


def _server_hint(cause: str) -> str:
    return next(hint for word, hint in _SERVER_HINTS if word in cause)


def first_line(said: object) -> str:
    """Give what a driver said without what follows: a server's DETAIL line shows values."""
    return str(said).partition("\n")[0] if said is not None else ""
