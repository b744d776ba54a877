"""SQLite backend. Statements run in the event loop: a local commit takes less time than a thread switch."""

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from sqlalchemy import URL, Engine
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from podpass.database import engine
from podpass.database.column_types import decode_text
from podpass.database.errors import DatabaseBusy, DatabaseFailed, translate_driver_errors
from podpass.database.notifications import ChangeNotifier
from podpass.database.prepared import PreparedStatement, Values, wrap_driver_errors

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.01
# Every process must notice a change of a shared file within a second.
_POLL_SECONDS = 0.4

Result = TypeVar("Result")


class SqliteBackend:
    """One connection to a file, and a task that polls it for changes by other processes."""

    def __init__(self, url: URL, notifier: ChangeNotifier, patience: float, *, make: bool) -> None:
        self._url = url
        self._notifier = notifier
        self._patience = patience
        self._make = make
        self._engine: Engine | None = None
        self._driver: Any = None
        self._last_version = 0
        self._file: tuple[int, int] | None = None
        self._poll_task: asyncio.Task[None] | None = None

    @property
    def engine(self) -> Engine:
        assert self._engine is not None, "the database is not open"
        return self._engine

    async def open(self) -> None:
        """Open the file, and create it if it does not exist and may be created.

        Raises DatabaseFailed, DatabaseUnusable, OSError.
        """
        self._engine = engine.create_sqlite_engine(self._url, make=self._make)
        await self._retry_while_busy(self._connect)
        self._notifier.set_connected(connected=True)
        self._poll_task = asyncio.create_task(self._poll_changes(), name="database-poll")

    async def close(self) -> None:
        if self._poll_task is not None:
            self._poll_task.cancel()
            await asyncio.wait([self._poll_task])
            self._poll_task = None
        self._notifier.set_connected(connected=False)
        if self._engine is not None:
            self._engine.dispose()
            self._engine = self._driver = None

    async def read(
        self, step: Callable[[Connection], Result], seconds: float | None, *, once: bool = False
    ) -> Result:
        """Run a step that sees one state of the database. Run it again if a text is invalid UTF-8."""
        connection = await self._retry_while_busy(
            lambda: self._begin(self.engine.connect()), seconds
        )
        with connection, translate_driver_errors():
            try:
                if not once:
                    return step(connection)
            except OperationalError as exc:
                if not _is_decode_error(exc.orig):
                    raise
            # The second run sees the same state. It decodes each text in Python, which would slow down every
            # other read.
            with self._allow_invalid_utf8():
                return step(connection)

    async def fetch(self, statement: PreparedStatement, values: Values) -> list[Any]:
        """Return the rows of one statement."""
        sql, given = statement.render(self.engine.dialect, values)
        try:
            # No transaction is open here: a step never leaves one open when it returns to the event loop.
            return self._driver.execute(sql, given).fetchall()  # type: ignore[no-any-return]
        except sqlite3.Error:
            return await self._retry_while_busy(lambda: self._fetch_any_text(sql, given))

    async def write(
        self, step: Callable[[Connection], Result], topics: Iterable[str], seconds: float | None
    ) -> Result:
        """Run a step in a write transaction, which excludes all other writers."""
        connection = await self._retry_while_busy(
            lambda: self._begin(engine.use_write_transaction(self.engine.connect())), seconds
        )
        # No await from here on: the process has only this connection. A write step is never retried, so
        # Python decodes its texts from the start; the write to the disk takes longer than that.
        with connection, translate_driver_errors(), self._allow_invalid_utf8():
            result = step(connection)
            try:
                connection.commit()
            except BaseException:
                # The transaction may still be open and hold the lock that every writer waits for.
                with contextlib.suppress(sqlite3.Error):
                    self._driver.rollback()
                raise
            finally:
                self._notifier.publish(topics)
        return result

    async def ping(self) -> None:
        """Check that the opened file still exists and a row of each table can be read.

        Raises DatabaseFailed.
        """
        self._check_file()
        await self._retry_while_busy(self._read_file)
        # A damaged page stays in the memory of this connection after a repair of the file, so requests fail.
        await self._retry_while_busy(self._read_own_pages)

    def _check_file(self) -> None:
        if self._file != _file_identity(self._url.database):
            raise DatabaseFailed(
                "the database is gone",
                cause="the file was removed or replaced",
                hint="put the file back, or restart every process that has the old file open",
            )

    def _read_own_pages(self) -> None:
        with wrap_driver_errors(self.engine.dialect), self._allow_invalid_utf8():
            _read_each_table(self._driver)

    def _read_file(self) -> None:
        # Another connection, because this one has the pages in memory even if the file was deleted.
        with (
            wrap_driver_errors(self.engine.dialect),
            contextlib.closing(
                sqlite3.connect(f"file:{quote(self._url.database or '')}?mode=rw", uri=True)
            ) as other,
        ):
            other.text_factory = decode_text  # invalid UTF-8 affects one row, not the database
            _read_each_table(other)

    async def _retry_while_busy(
        self, work: Callable[[], Result], seconds: float | None = None
    ) -> Result:
        """Retry until the file's lock is free. A failed attempt must change nothing."""
        deadline = time.monotonic() + (seconds or self._patience)
        while True:
            try:
                with translate_driver_errors():
                    return work()
            except DatabaseBusy:
                if time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(_RETRY_SECONDS)

    @contextlib.contextmanager
    def _allow_invalid_utf8(self) -> Iterator[None]:
        """Read invalid UTF-8 as `InvalidUtf8` inside this context, which must not await."""
        self._driver.text_factory = decode_text
        try:
            yield
        finally:
            self._driver.text_factory = str

    def _connect(self) -> None:
        with self.engine.connect() as connection:
            self._driver = connection.connection.driver_connection
        self._file = _file_identity(self._url.database)
        self._last_version = self._data_version()

    def _begin(self, connection: Connection) -> Connection:
        try:
            connection.begin()
        except BaseException:
            connection.close()
            raise
        return connection

    def _fetch_any_text(self, sql: str, given: Any) -> list[Any]:
        with wrap_driver_errors(self.engine.dialect), self._allow_invalid_utf8():
            return self._driver.execute(sql, given).fetchall()  # type: ignore[no-any-return]

    def _data_version(self) -> int:
        """Return a number that changes when another process commits."""
        [(version,)] = self._fetch_any_text("PRAGMA data_version", ())
        return int(version)

    async def _poll_changes(self) -> None:
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            try:
                with translate_driver_errors():
                    self._check_file()
                    version = self._data_version()
            except DatabaseFailed as exc:
                if self._notifier.is_connected:
                    _log.error("database_polling_failed", extra=exc.facts)
                # Changes by other processes are not noticed, so nothing may be cached.
                self._notifier.set_connected(connected=False)
                continue
            if not self._notifier.is_connected:
                _log.info("database_polling_recovered")
            if version != self._last_version or not self._notifier.is_connected:
                self._last_version = version
                self._notifier.set_connected(connected=True)


def _read_each_table(connection: Any) -> None:
    tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    for (table,) in tables:
        connection.execute(f'SELECT * FROM "{table}" LIMIT 1').fetchall()  # noqa: S608 our own table


def _is_decode_error(original: object) -> bool:
    """Return whether the driver failed to decode a text: errors of SQLite itself have a code."""
    return getattr(original, "sqlite_errorcode", None) is None


def _file_identity(path: str | None) -> tuple[int, int] | None:
    try:
        found = Path(path or "").stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
