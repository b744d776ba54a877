"""How each kind of database is connected to: durable, bounded in time, and private.

SQLite in WAL with full sync; PostgreSQL by psycopg. A server's own settings may make a commit surer than we
ask, never less sure.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from podpass import files
from podpass.database.errors import DatabaseUnusable

# One try for the file's lock; longer waits are made in turns, between which the loop serves.
_LOCK_MILLISECONDS = 10
_WRITES = "podpass_writes"
_DRIVER = "postgresql+psycopg"
_URL_HINT = (
    "give sqlite:////absolute/path or postgresql://user:password@host:port/database; in user and password"
    " write what is no letter, digit, '-', '.' or '_' as %40"
)

# How soon a server that is gone is found out, whatever the connection was doing. The URL may say otherwise.
_CONNECT = {
    "connect_timeout": 2,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
    "application_name": "podpass",
}
# Nobody who is served waits longer than this for a step, whatever becomes of it.
STEP_SECONDS = 3.0
# In milliseconds. A replica that lost its machine in the middle of a write holds the lock no longer.
_SESSION = {
    "statement_timeout": f"{STEP_SECONDS * 1000:.0f}",
    "lock_timeout": "1000",
    "idle_in_transaction_session_timeout": "5000",
    "tcp_user_timeout": "5000",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "client_encoding": "UTF8",
    # What the server's setting or its locale say must not change what a statement means.
    "TimeZone": "UTC",
    "default_transaction_isolation": "read committed",
}
_ASKED = "current_setting('synchronous_commit')"
_SURE = f"CASE {_ASKED} WHEN 'off' THEN 'on' ELSE {_ASKED} END"
# What every connection begins with.
SESSION = "SELECT " + ", ".join(
    (
        *(f"set_config('{name}', '{value}', false)" for name, value in _SESSION.items()),
        f"set_config('synchronous_commit', {_SURE}, false)",
    )
)


def parsed(url: str) -> URL:
    """Read a database's URL.

    Errors:  DatabaseUnusable for one that cannot be read, or is of another kind; it shows nothing of it.
    """
    try:
        made = make_url(url.strip())  # of a file: a line, with its end
    except (ArgumentError, ValueError):
        # Not even as its cause: what is wrong with it may be that a password stands where the port should.
        raise DatabaseUnusable("the database's URL cannot be read", hint=_URL_HINT) from None
    backend = made.get_backend_name()
    if backend == "sqlite" and made.database:
        return made
    if backend in ("postgresql", "postgres"):
        return _checked(made.set(drivername=_DRIVER))
    raise DatabaseUnusable(f"{backend} is no database that podpass keeps things in", hint=_URL_HINT)


def _checked(url: URL) -> URL:
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo

    try:
        make_conninfo(**connect_arguments(url))
    except (ArgumentError, ProgrammingError, ValueError):
        raise DatabaseUnusable(
            "the database's URL has an option that PostgreSQL does not know", hint=_URL_HINT
        ) from None
    return url


def shown(url: URL) -> str:
    """Write a URL for people: without its password, and without its options, which may hold one too."""
    return url.set(query={}).render_as_string(hide_password=True)


def sqlite(url: URL, *, make: bool) -> Engine:
    """Make the engine of a SQLite file: one connection, which its process reads and writes through.

    So `PRAGMA data_version` on it changes for what other processes write, never for what this one does.

    Errors:  OSError, for a file that is not there and is not to be made.
    """
    assert url.database
    try:
        # Before SQLite does, which would let the umask choose; its journal files copy the mode.
        flags = os.O_WRONLY | (os.O_CREAT if make else 0)
        os.close(os.open(url.database, flags, files.PRIVATE_FILE))
    except OSError as exc:
        if make or exc.errno != errno.EROFS:
            raise
        url = _read_only(url.database)
    engine = create_engine(url, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0)
    event.listen(engine, "connect", _on_sqlite_connect)
    event.listen(engine, "begin", _on_sqlite_begin)
    return engine


def _read_only(path: str) -> URL:
    """Name a file on a disk that takes no writes any more, so that what is left can be read."""
    query = {"mode": "ro", "uri": "true"}
    # Without a journal SQLite would want to make one; with one, what is in it has to be read too.
    if not Path(f"{path}-wal").exists():
        query["immutable"] = "1"
    return URL.create("sqlite", database=f"file:{quote(str(Path(path).absolute()))}", query=query)


def postgres(url: URL, connections: int, used: set[Any]) -> Engine:
    """Make the engine of a PostgreSQL server, with no more connections than told.

    Shapes:  `used` holds those of the driver that are in use at any moment.
    """
    made = create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=0.5,
        connect_args=_defaults(url),
    )
    event.listen(made, "connect", _on_postgres_connect)
    event.listen(made, "checkout", lambda connection, *_: used.add(connection))
    for over in ("checkin", "invalidate", "close"):
        event.listen(made, over, lambda connection, *_: used.discard(connection))
    return made


def connect_arguments(url: URL) -> dict[str, Any]:
    """Give what the driver connects with, for a connection outside of the pool."""
    arguments: Any = url.get_dialect()().create_connect_args(url)
    return {**_defaults(url), **arguments[1]}


def hang_up(used: Collection[Any]) -> None:
    """End connections that are in use; whoever waits on one is told that it is lost."""
    for connection in (one for one in tuple(used) if not one.closed):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)


def _defaults(url: URL) -> dict[str, Any]:
    return {name: value for name, value in _CONNECT.items() if name not in url.query}


def writes(connection: Connection) -> Connection:
    """Let the next transaction of a SQLite connection be one that writes."""
    return connection.execution_options(**{_WRITES: True})


def _on_sqlite_connect(connection: Any, _record: object) -> None:
    # The driver would begin transactions by itself, late and without the write lock.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {_LOCK_MILLISECONDS}",
        "journal_mode = WAL",
        # Full: a commit is on the disk before anyone is told of it.
        "synchronous = FULL",
        "foreign_keys = ON",
        # 16 MB: what leads to the rows of a million credentials stays in memory, the rows need not.
        "cache_size = -16384",
        # What was deleted is overwritten, not left in free pages.
        "secure_delete = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_sqlite_begin(connection: Connection) -> None:
    # The lock first: what a transaction reads to decide stays true until it has written. Readers take
    # none, and none stops them.
    asked = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if asked else "BEGIN")


def _on_postgres_connect(connection: Any, _record: object) -> None:
    autocommit, connection.autocommit = connection.autocommit, True
    connection.execute(SESSION)
    connection.autocommit = autocommit
