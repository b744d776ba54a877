"""Creates database engines whose commits are durable and whose waits are bounded.

SQLite in WAL mode with full sync; PostgreSQL by psycopg. The settings of a PostgreSQL server may make commits
more durable than podpass requires, never less.
"""

import contextlib
import errno
import os
import re
import socket
import sqlite3
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from podpass import files
from podpass.database.errors import DatabaseUnusable

# Timeout of one attempt to lock the file. The event loop runs between attempts.
_LOCK_MILLISECONDS = 10
# The first version with STRICT tables.
_MIN_SQLITE = (3, 37, 0)
_WRITES = "podpass_writes"
_DRIVER = "postgresql+psycopg"
_URL_HINT = (
    "use sqlite:////absolute/path or postgresql://user:password@host:port/database (several servers: "
    "host1:port1,host2:port2); percent-encode characters"
    " other than letters, digits, '-', '.' and '_' in the user and the password: %40 for @"
)

# These detect a lost server quickly, in every state of the connection. The URL may override them.
_CONNECT_DEFAULTS = {
    "connect_timeout": 2,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
    "application_name": "podpass",
}
# The longest run time of a step for a request.
STEP_SECONDS = 3.0
# In milliseconds. They also bound how long a replica that crashed during a write holds the lock.
_SESSION = {
    "statement_timeout": f"{STEP_SECONDS * 1000:.0f}",
    "lock_timeout": "1000",
    "idle_in_transaction_session_timeout": "5000",
    "tcp_user_timeout": "5000",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "client_encoding": "UTF8",
    # The meaning of a statement must not depend on the server's settings.
    "TimeZone": "UTC",
    "default_transaction_isolation": "read committed",
}
_CURRENT = "current_setting('synchronous_commit')"
_DURABLE = f"CASE {_CURRENT} WHEN 'off' THEN 'on' ELSE {_CURRENT} END"
# The first statement of every connection. Its first column is the process ID of the server's process.
SESSION = "SELECT " + ", ".join(
    (
        "pg_backend_pid()",
        *(f"set_config('{name}', '{value}', false)" for name, value in _SESSION.items()),
        f"set_config('synchronous_commit', {_DURABLE}, false)",
    )
)
# The first statement of every transaction through a pooler, which may run each one in another session. A
# value that is set for the session would not apply, or would apply to other clients.
_LOCAL = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "TimeZone")
_TRANSACTION = "SELECT " + ", ".join(
    (
        *(f"set_config('{name}', '{_SESSION[name]}', true)" for name in _LOCAL),
        f"set_config('synchronous_commit', {_DURABLE}, true)",
    )
)
_POOLED = "podpass_pooled"
# The hosts of a URL with several servers, as libpq writes them.
_HOSTS = re.compile(r"(postgres(?:ql)?://(?:[^/?#]*@)?)([^@/?#]*,[^@/?#]*)((?:[/?].*)?)")
_HOST = re.compile(r"(?P<host>[^\[\]:]+|\[(?P<ipv6>[0-9A-Fa-f:.]+)\])(?::(?P<port>[0-9]+))?")


def parse_url(url: str) -> URL:
    """Parse a database URL.

    Raises DatabaseUnusable for an invalid URL or another kind of database; the error shows no part of the
    URL.
    """
    try:
        # A URL that is read from a file ends with a line break.
        parsed = _parse_hosts(url.strip()) or make_url(url.strip())
    except (ArgumentError, ValueError):
        # The cause is not shown either: in a wrong URL the password may be in the place of the port.
        raise DatabaseUnusable("the database's URL cannot be read", hint=_URL_HINT) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite" and parsed.database:
        return parsed
    if backend in ("postgresql", "postgres"):
        return _check_options(parsed.set(drivername=_DRIVER))
    raise DatabaseUnusable(f"podpass does not support {backend} databases", hint=_URL_HINT)


def _parse_hosts(text: str) -> URL | None:
    """Parse a PostgreSQL URL with several hosts; return None for every other URL.

    Raises ValueError for a list that has an invalid host.
    """
    if (parts := _HOSTS.fullmatch(text)) is None:
        return None
    hosts = [_HOST.fullmatch(each) for each in parts[2].split(",")]
    found = [each for each in hosts if each is not None]
    if len(found) < len(hosts):
        raise ValueError("a host is invalid")
    url = make_url(parts[1] + parts[3])
    names = ",".join(each["ipv6"] or each["host"] for each in found)
    ports = ",".join(each["port"] or "5432" for each in found)
    # Only the primary: a standby refuses writes, and its data may be old.
    options = {"target_session_attrs": "read-write", **url.query}
    return url.set(query={**options, "host": names, "port": ports})


def _check_options(url: URL) -> URL:
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo

    try:
        make_conninfo(**connect_arguments(url))
    except (ArgumentError, ProgrammingError, ValueError):
        raise DatabaseUnusable(
            "the database's URL has an option that PostgreSQL does not know", hint=_URL_HINT
        ) from None
    return url


def redact_url(url: URL) -> str:
    """Return a URL without its password and its options, which may contain a password."""
    shown = url.set(query={})
    if isinstance(hosts := url.query.get("host"), str):
        shown = shown.set(host=hosts)
    return shown.render_as_string(hide_password=True)


def create_sqlite_engine(url: URL, *, make: bool) -> Engine:
    """Create the engine of a SQLite file, with one connection for all reads and writes of the process.

    `PRAGMA data_version` on it changes with commits of other processes, never with those of this one.

    Raises OSError, for a file that does not exist if `make` is false; DatabaseUnusable for an old SQLite.
    """
    assert url.database
    if sqlite3.sqlite_version_info < _MIN_SQLITE:
        raise DatabaseUnusable(
            f"SQLite {sqlite3.sqlite_version} is too old",
            hint="use a Python with SQLite 3.37 or later",
        )
    try:
        # SQLite would create the file with a mode that the umask chooses. Its journal files copy the mode.
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
    """Return the URL of a file on a read-only disk, so that its data can be read."""
    query = {"mode": "ro", "uri": "true"}
    # Without a journal SQLite would create one. If a journal exists, its content must be read too.
    if not Path(f"{path}-wal").exists():
        query["immutable"] = "1"
    return URL.create("sqlite", database=f"file:{quote(str(Path(path).absolute()))}", query=query)


def create_postgres_engine(url: URL, connections: int, used: set[Any]) -> Engine:
    """Create the engine of a PostgreSQL server, with a bounded number of connections.

    `used` always holds the driver's connections that are in use.
    """
    created = create_engine(
        url, pool_size=connections, max_overflow=0, pool_timeout=0.5, connect_args=_defaults(url)
    )
    event.listen(created, "connect", _on_postgres_connect)
    event.listen(created, "begin", _on_postgres_begin)
    event.listen(created, "checkout", lambda connection, *_: used.add(connection))
    for end in ("checkin", "invalidate", "close"):
        event.listen(created, end, lambda connection, *_: used.discard(connection))
    return created


def connect_arguments(url: URL) -> dict[str, Any]:
    """Return the driver's arguments for a connection outside the pool."""
    arguments: Any = url.get_dialect()().create_connect_args(url)
    return {**_defaults(url), **arguments[1]}


def shut_down_sockets(used: Collection[Any]) -> None:
    """Shut down the sockets in use. A call that waits on one fails as for a lost connection."""
    for connection in (one for one in tuple(used) if not one.closed):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)


def _defaults(url: URL) -> dict[str, Any]:
    return {name: value for name, value in _CONNECT_DEFAULTS.items() if name not in url.query}


def use_write_transaction(connection: Connection) -> Connection:
    """Make the next transaction of a SQLite connection a write transaction."""
    return connection.execution_options(**{_WRITES: True})


def _on_sqlite_connect(connection: Any, _record: object) -> None:
    # The driver would start transactions itself: late, and without the write lock.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {_LOCK_MILLISECONDS}",
        "journal_mode = WAL",
        # Full: a commit is on the disk before it is acknowledged.
        "synchronous = FULL" if files.is_durable() else "synchronous = OFF",
        "foreign_keys = ON",
        # 16 MB: enough for the index pages of a million credentials.
        "cache_size = -16384",
        # Deleted data is overwritten, and does not remain in free pages.
        "secure_delete = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_sqlite_begin(connection: Connection) -> None:
    # A writer takes the lock first, so that the values that it reads stay current until it commits. Readers
    # take no lock and do not wait for locks.
    is_write = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")


def _on_postgres_connect(connection: Any, record: Any) -> None:
    autocommit, connection.autocommit = connection.autocommit, True
    record.info[_POOLED] = adapt_to_pooler(connection, connection.execute(SESSION).fetchone())
    connection.autocommit = autocommit


def _on_postgres_begin(connection: Connection) -> None:
    if connection.info[_POOLED]:
        connection.exec_driver_sql(_TRANSACTION)


def adapt_to_pooler(connection: Any, row: Sequence[Any] | None) -> bool:
    """Return whether a connection is to a pooler; for a pooler, disable prepared statements.

    `row` is the result of SESSION. A pooler gives its clients process IDs of its own.
    """
    assert row is not None
    is_pooled = bool(row[0] != connection.info.backend_pid)
    if is_pooled:
        # The next statement may reach another session, which has not prepared it.
        connection.prepare_threshold = None
    return is_pooled
