"""A durable SQL database: SQLite in WAL with full sync here, PostgreSQL for several replicas.

Statements are SQLAlchemy Core and hold to what both understand. A commit takes a fraction of a
millisecond, so stores commit in the loop that serves and acknowledge only afterwards.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import (
    Column,
    Engine,
    Integer,
    MetaData,
    Table,
    create_engine,
    event,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import DatabaseError, InternalError, OperationalError, SQLAlchemyError

from podpass import files
from podpass.errors import Error

_log = logging.getLogger(__name__)

# Statements run in the loop that serves: whoever else has a file open must not make everybody wait.
_BUSY_SECONDS = 0.5

# What SQLite calls its faults, and PostgreSQL; by the first that begins with it.
_FULL = ("SQLITE_FULL", "53100")
_READ_ONLY = ("SQLITE_READONLY", "25006")
_BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED", "55P03", "40001", "40P01", "57", "08")
_READS = "podpass_reads"
_ENGINE_FAULTS = (OperationalError, InternalError, DatabaseError)

Shape = TypeVar("Shape")
Steps = Mapping[int, Callable[[Connection], None]]


class DatabaseUnusable(Error):
    """The database cannot be opened, or was written by another version of podpass."""

    code = "database_unusable"
    hint = "use the version of podpass that made it, or another data dir"


class DatabaseFailed(Error):
    """The database does not do what it is asked: its disk is full, read-only, damaged, or somebody else's.

    Shapes:  `message` is one sentence without names of files, fit for a caller; `cause` of the facts is what
             the database said. `retry_seconds` is None where waiting does not help.
    """

    code = "database_failed"
    hint = "see the disk that holds the data dir, and restore the database from a backup if it is damaged"
    retry_seconds: int | None = None


class DatabaseFull(DatabaseFailed):
    """There is no room left for a write."""

    code = "database_full"
    # Insufficient Storage: clients try 500 and 503 again by themselves, which does not help here.
    status = 507
    hint = "free space on the disk that holds the data dir; what was there before is whole"


class DatabaseReadOnly(DatabaseFailed):
    """The file or its disk does not take writes."""

    code = "database_read_only"
    status = 507
    hint = "make the data dir and its disk writable again; what was there before is whole"


class DatabaseBusy(DatabaseFailed):
    """Somebody else writes, or the server is not to be had; a later try may do."""

    code = "database_busy"
    status = 503
    hint = "look for another program that holds the database open"
    retry_seconds = 2


class RowDamaged(DatabaseFailed):
    """A row holds what podpass never wrote; the others are not concerned."""

    code = "row_damaged"
    hint = "stop podpass, then restore the database from a backup, or delete this row with sqlite3"


def open_database(
    url: str, schema: MetaData, *, version: int, upgrades: Steps | None = None
) -> Engine:
    """Open a database, making its tables if it is new.

    Shapes:  `sqlite:////absolute/path` or `postgresql+psycopg://...`; `upgrades` are the steps from one
             version to the next, by the one they begin at, and run with the opening in one transaction.
    Errors:  DatabaseUnusable.
    """
    stamp = Table(
        "schema_version", schema, Column("version", Integer, primary_key=True), extend_existing=True
    )
    engine = _engine(url)
    try:
        with engine.begin() as connection:
            found = _upgraded(connection, stamp, upgrades or {})
            if found in (None, version):
                schema.create_all(connection)
            if found is None:
                connection.execute(insert(stamp).values(version=version))
    except SQLAlchemyError as exc:
        engine.dispose()
        failed = _failed(exc)
        said = f"{_name(url)} cannot be opened: {failed.facts['cause']}"
        raise DatabaseUnusable(said, hint=failed.hint) from exc
    if found not in (None, version):
        engine.dispose()
        raise DatabaseUnusable(
            f"{_name(url)} has schema {found}, this podpass reads {version}",
            found=found,
            version=version,
        )
    return engine


def _upgraded(connection: Connection, stamp: Table, steps: Steps) -> int | None:
    """Give the version of the tables after every step that there is; None for a new database."""
    if not inspect(connection).has_table(stamp.name):
        return None
    found: int | None = connection.execute(select(stamp.c.version)).scalar_one_or_none()
    while found is not None and (step := steps.get(found)) is not None:
        step(connection)
        found += 1
        connection.execute(update(stamp).values(version=found))
    return found


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Connect to read: one state of the database from the first statement on, whoever writes meanwhile.

    Errors:  DatabaseFailed.
    """
    with telling(), engine.connect().execution_options(**{_READS: True}) as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Write in one transaction, which is on the disk when the block ends.

    Errors:  DatabaseFailed; IntegrityError of what is there already.
    """
    with telling(), engine.begin() as connection:
        yield connection


@contextmanager
def telling() -> Iterator[None]:
    """Tell of a fault of the engine below the statements as an error of ours; others pass.

    Errors:  DatabaseFailed.
    """
    try:
        yield
    except _ENGINE_FAULTS as exc:
        if type(exc) not in _ENGINE_FAULTS:
            raise  # what a statement is to blame for: a row that is there twice, wrong SQL
        raise _failed(exc) from exc


@contextmanager
def shaping(table: str, key: str) -> Iterator[None]:
    """Read one row inside; what is wrong with its values is told with the row's place.

    Errors:  RowDamaged.
    """
    try:
        yield
    except (ValueError, TypeError, LookupError) as exc:
        said = f"the row of {key} in table {table} cannot be read"
        raise RowDamaged(said, cause=f"{said}: {type(exc).__name__}: {exc}"[:400]) from exc


def readable(rows: Iterable[Any], shape: Callable[[Any], Shape]) -> list[Shape]:
    """Shape the rows of a list; one that is damaged is logged and left out, the others are answered."""
    found = []
    for row in rows:
        try:
            found.append(shape(row))
        except RowDamaged as exc:
            _log.error("row_damaged", extra=exc.facts)
    return found


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


def _failed(exc: SQLAlchemyError) -> DatabaseFailed:
    # What the driver says, not SQLAlchemy, which would show the statement and its values.
    said = getattr(exc, "orig", None)
    name = getattr(said, "sqlite_errorname", None) or getattr(said, "sqlstate", None) or ""
    cause = f"{said or type(exc).__name__} {name}".rstrip()
    if name.startswith(_FULL):
        return DatabaseFull("the disk is full", cause=cause)
    if name.startswith(_READ_ONLY):
        return DatabaseReadOnly("the database is read-only", cause=cause)
    if name.startswith(_BUSY):
        return DatabaseBusy("the database is busy", cause=cause)
    return DatabaseFailed("the database cannot be read or written", cause=cause)


def _name(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed)
    if parsed.database:
        # Before SQLite does, which would let the umask choose; its journal files copy the mode.
        os.close(os.open(parsed.database, os.O_WRONLY | os.O_CREAT, files.PRIVATE_FILE))
    engine = create_engine(parsed)
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, _record: object) -> None:
    # The driver would begin transactions by itself, late and without the write lock.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {int(_BUSY_SECONDS * 1000)}",
        "journal_mode = WAL",
        # Full: a commit is on the disk before anyone is told of it.
        "synchronous = FULL",
        "foreign_keys = ON",
        # What was deleted is overwritten, not left in free pages.
        "secure_delete = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_begin(connection: Connection) -> None:
    # The lock first: what a transaction reads to decide stays true until it has written. Readers take
    # none, and none stops them.
    reads = connection.get_execution_options().get(_READS)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
