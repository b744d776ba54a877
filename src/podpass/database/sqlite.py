"""A SQLite file: statements run in the loop, where a local commit is shorter than a switch to a thread."""

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
from podpass.database.column_types import decoded
from podpass.database.errors import DatabaseBusy, DatabaseFailed, telling
from podpass.database.notifications import News
from podpass.database.prepared import Prepared, Values, from_driver

_log = logging.getLogger(__name__)

_TURN_SECONDS = 0.01
# Well under the second in which every process of one file must have heard of a change.
_POLL_SECONDS = 0.4

Result = TypeVar("Result")


class Sqlite:
    """One connection to a file, and the watch over what other processes write to it."""

    def __init__(self, url: URL, news: News, patience: float, *, make: bool) -> None:
        self._url = url
        self._news = news
        self._patience = patience
        self._make = make
        self._engine: Engine | None = None
        self._driver: Any = None
        self._seen = 0
        self._file: tuple[int, int] | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def engine(self) -> Engine:
        assert self._engine is not None, "the database is not open"
        return self._engine

    async def open(self) -> None:
        """Open the file, making it if it is new and may be made.

        Errors:  DatabaseFailed, OSError.
        """
        self._engine = engine.sqlite(self._url, make=self._make)
        await self._patiently(self._connect)
        self._news.hears(heard=True)
        self._watching = asyncio.create_task(self._watch(), name="database-watch")

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])
            self._watching = None
        self._news.hears(heard=False)
        if self._engine is not None:
            self._engine.dispose()
            self._engine = self._driver = None

    async def read(
        self, step: Callable[[Connection], Result], seconds: float | None, *, once: bool = False
    ) -> Result:
        """Run a step that sees one state of the database; twice where a text is none."""
        connection = await self._patiently(lambda: self._begun(self.engine.connect()), seconds)
        with connection, telling():
            try:
                if not once:
                    return step(connection)
            except OperationalError as exc:
                if not _is_undecoded(exc.orig):
                    raise
            # Once more, of the same state, and by way of what would slow down every read of what is whole.
            with self._bearing():
                return step(connection)

    async def fetch(self, query: Prepared, values: Values) -> list[Any]:
        """Give the rows of one statement."""
        sql, given = query.on(self.engine.dialect, values)
        try:
            # Outside of every transaction: a step never leaves one open when it gives the loop back.
            return self._driver.execute(sql, given).fetchall()  # type: ignore[no-any-return]
        except sqlite3.Error:
            return await self._patiently(lambda: self._fetched(sql, given))

    async def write(
        self, step: Callable[[Connection], Result], tells: Iterable[str], seconds: float | None
    ) -> Result:
        """Run a step in a transaction that nobody else's comes between."""
        connection = await self._patiently(
            lambda: self._begun(engine.writes(self.engine.connect())), seconds
        )
        # From here on without a turn of the loop: the connection is the only one. What writes does not run
        # twice, and waits for the disk longer than for texts.
        with connection, telling(), self._bearing():
            result = step(connection)
            try:
                connection.commit()
            except BaseException:
                # It may have left the transaction open, and with it the lock that every writer waits for.
                with contextlib.suppress(sqlite3.Error):
                    self._driver.rollback()
                raise
            finally:
                self._news.tell(tells)
        return result

    async def look(self) -> None:
        """Check that the file that was opened is still there, and a row of each table can be read.

        Errors:  DatabaseFailed.
        """
        self._check_file()
        await self._patiently(self._look)

    def _check_file(self) -> None:
        if self._file != _identity(self._url.database):
            raise DatabaseFailed(
                "the database is gone",
                cause="its file is another one, or none",
                hint="put the file back, or stop everything that has the old one open and start it again",
            )

    def _look(self) -> None:
        # By a connection of its own: this one's pages are in memory, whatever became of the file.
        with (
            from_driver(self.engine.dialect),
            contextlib.closing(
                sqlite3.connect(f"file:{quote(self._url.database or '')}?mode=rw", uri=True)
            ) as other,
        ):
            tables = other.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
            other.text_factory = bytes  # a text that is none is damage of its row
            for (table,) in tables:
                other.execute(f'SELECT * FROM "{table}" LIMIT 1').fetchall()  # noqa: S608 our own table

    async def _patiently(self, work: Callable[[], Result], seconds: float | None = None) -> Result:
        """Do what changes nothing when it fails, again and again until the file's lock is free."""
        deadline = time.monotonic() + (seconds or self._patience)
        while True:
            try:
                with telling():
                    return work()
            except DatabaseBusy:
                if time.monotonic() >= deadline:
                    raise
            await asyncio.sleep(_TURN_SECONDS)

    @contextlib.contextmanager
    def _bearing(self) -> Iterator[None]:
        """Read texts that are none, without a turn of the loop."""
        self._driver.text_factory = decoded
        try:
            yield
        finally:
            self._driver.text_factory = str

    def _connect(self) -> None:
        with self.engine.connect() as connection:
            self._driver = connection.connection.driver_connection
        self._file = _identity(self._url.database)
        self._seen = self._version()

    def _begun(self, connection: Connection) -> Connection:
        try:
            connection.begin()
        except BaseException:
            connection.close()
            raise
        return connection

    def _fetched(self, sql: str, given: Any) -> list[Any]:
        with from_driver(self.engine.dialect), self._bearing():
            return self._driver.execute(sql, given).fetchall()  # type: ignore[no-any-return]

    def _version(self) -> int:
        """Give a number that changes when another process commits."""
        [(version,)] = self._fetched("PRAGMA data_version", ())
        return int(version)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            try:
                with telling():
                    self._check_file()
                    version = self._version()
            except DatabaseFailed as exc:
                if self._news.heard:
                    _log.error("database_not_watched", extra=exc.facts)
                # Nobody knows what others write meanwhile: nothing is kept.
                self._news.hears(heard=False)
                continue
            if not self._news.heard:
                _log.info("database_watched")
            if version != self._seen or not self._news.heard:
                self._seen = version
                self._news.hears(heard=True)


def _is_undecoded(said: object) -> bool:
    """Tell whether the driver itself stopped, at a text that is no UTF-8: SQLite's faults have a number."""
    return getattr(said, "sqlite_errorcode", None) is None


def _identity(path: str | None) -> tuple[int, int] | None:
    try:
        found = Path(path or "").stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
