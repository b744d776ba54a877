"""A durable SQL database: SQLite in WAL with full sync here, PostgreSQL for several replicas.

Statements are SQLAlchemy Core and hold to what both understand. A commit takes a fraction of a
millisecond, so stores commit in the loop that serves and acknowledge only afterwards.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

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
from sqlalchemy.exc import SQLAlchemyError

from podpass import files
from podpass.errors import Error

_BUSY_SECONDS = 5

Steps = Mapping[int, Callable[[Connection], None]]


class DatabaseUnusable(Error):
    """The database cannot be opened, or was written by another version of podpass."""

    code = "database_unusable"
    hint = "use the version of podpass that made it, or another data dir"


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
        raise DatabaseUnusable(f"{_name(url)} cannot be opened as a database") from exc
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


def reading(engine: Engine) -> Connection:
    """Connect to read; no write lock is taken."""
    return engine.connect().execution_options(isolation_level="AUTOCOMMIT")


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
        f"busy_timeout = {_BUSY_SECONDS * 1000}",
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
    # The lock first: what a transaction reads to decide stays true until it has written.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
