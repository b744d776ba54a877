"""A PostgreSQL server: statements run in threads of a bounded pool; no answer keeps the loop waiting."""

import asyncio
import contextvars
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from uuid import uuid4

from sqlalchemy import URL, Engine, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from podpass.database import engine
from podpass.database.errors import (
    DatabaseBusy,
    DatabaseUncertain,
    DatabaseUnusable,
    lost,
    telling,
)
from podpass.database.notifications import News
from podpass.database.postgres.circuit_breaker import Outage
from podpass.database.postgres.listener import CHANNEL, Listening
from podpass.database.postgres.statements import Asking
from podpass.database.prepared import Prepared, Values

# Any number that nobody else takes; every writer of podpass in this database waits for it.
_WRITERS = 0x706F6470
_READ = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
_CLOSING_SECONDS = 2.0
# A server that is alive ends a statement by itself before it is given up here.
_GRACE_SECONDS = 0.4
_ASK = text("SELECT 1")
_LOCK = text(f"SELECT pg_advisory_xact_lock({_WRITERS})")
_NOTIFY = text(f"SELECT pg_notify('{CHANNEL}', :news)")

Result = TypeVar("Result")


class Postgres:
    """A pool of connections with a thread for each, some for single statements, and one to hear others."""

    def __init__(self, url: URL, news: News, patience: float, connections: int) -> None:
        self._url = url
        self._news = news
        self._patience = patience
        self._connections = connections
        self._engine: Engine | None = None
        self._outage = Outage(news)

    @property
    def engine(self) -> Engine:
        assert self._engine is not None, "the database is not open"
        return self._engine

    async def open(self) -> None:
        """Connect once, and listen.

        Errors:  DatabaseFailed, DatabaseUnusable.
        """
        self._name = uuid4().hex
        self._used: set[Any] = set()
        self._engine = engine.postgres(self._url, self._connections, self._used)
        self._threads = ThreadPoolExecutor(self._connections, thread_name_prefix="database")
        self._readers = asyncio.Semaphore(self._connections - 1)
        self._writer = asyncio.Semaphore(1)
        self._running: set[asyncio.Future[Any]] = set()
        self._listening = Listening(self._url, self._news, self._name)
        self._asking = Asking(self._url, self._engine.dialect, self._outage, self._patience)
        await self._in_thread(self._check_encoding, self._readers)
        await self._listening.open(2 * self._patience)

    async def close(self) -> None:
        if self._engine is None:
            return
        await self._listening.close()
        self._news.hears(heard=False)
        await self._asking.close()
        if self._running:
            await asyncio.wait(self._running, timeout=_CLOSING_SECONDS)
        # Whoever still waits for a server that says nothing is told that it is gone.
        engine.hang_up(self._used)
        self._threads.shutdown()
        self._engine.dispose()
        self._engine = None

    async def look(self) -> None:
        """Check that the server answers.

        Errors:  DatabaseFailed.
        """
        await self.read(lambda connection: connection.execute(_ASK).close(), None)

    async def read(
        self, step: Callable[[Connection], Result], seconds: float | None, *, once: bool = False
    ) -> Result:
        """Run a step that sees one state of the database; twice if a connection was dead."""

        def work() -> Result:
            with self._connected() as connection:
                reading = connection.execution_options(**_READ)
                _allow(reading, seconds)
                return step(reading)

        asked = work if once else lambda: self._twice(work)
        return await self._in_thread(asked, self._readers, seconds)

    async def fetch(self, query: Prepared, values: Values) -> list[Any]:
        """Give the rows of one statement, in one exchange with the server."""
        return await self._asking.fetch(query, values)

    async def write(
        self, step: Callable[[Connection], Result], tells: Iterable[str], seconds: float | None
    ) -> Result:
        """Run a step in a transaction that no other writer's comes between."""

        told: list[str] = []

        def work() -> Result:
            with self._twice(lambda: self._locked(seconds)) as connection:
                result = step(connection)
                told.extend(tells)
                for topic in told:
                    connection.execute(_NOTIFY, {"news": f"{self._name} {topic}"})
                _commit(connection)
            return result

        return await self._in_thread(
            work,
            self._writer,
            seconds,
            then=lambda: self._news.tell(told),
            unanswered=DatabaseUncertain,
        )

    async def _in_thread(
        self,
        work: Callable[[], Result],
        gate: asyncio.Semaphore,
        seconds: float | None = None,
        then: Callable[[], None] = lambda: None,
        unanswered: type[DatabaseBusy] = DatabaseBusy,
    ) -> Result:
        """Run in a thread; `then` follows in the loop, also when nobody waits any more.

        Errors:  DatabaseBusy, when it takes longer than the server is allowed to.
        """
        self._outage.check()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (seconds or engine.STEP_SECONDS) + _GRACE_SECONDS
        try:
            async with asyncio.timeout(seconds or self._patience):
                await gate.acquire()
        except TimeoutError as exc:
            raise DatabaseBusy("the database is busy", cause="every connection is at work") from exc
        future = loop.run_in_executor(self._threads, contextvars.copy_context().run, _told(work))
        self._running.add(future)

        def ended(_: object) -> None:
            self._running.discard(future)
            gate.release()
            then()
            if not future.cancelled():
                future.exception()  # whoever was not waited for is not reported as forgotten

        future.add_done_callback(ended)
        await asyncio.wait([future], timeout=deadline - loop.time())
        if not future.done():
            raise unanswered("the database does not answer", cause="no answer in time")
        return future.result()

    def _connected(self) -> Connection:
        try:
            return self.engine.connect()
        except SQLAlchemyError as exc:
            self._outage.note(getattr(exc, "orig", None) or exc)
            raise

    def _twice(self, work: Callable[[], Result]) -> Result:
        """Do what changes nothing; once more if the pool's connection was dead: its server came anew."""
        try:
            return work()
        except DBAPIError as exc:
            if not lost(exc) or self._outage.lasts:
                raise
        return work()

    def _locked(self, seconds: float | None) -> Connection:
        connection = self._connected()
        try:
            # As the server says: the pool left it at "read and write", whatever an administrator has set.
            connection.connection.driver_connection.read_only = None  # type: ignore[union-attr]
            _allow(connection, seconds)
            connection.execute(_LOCK)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_encoding(self) -> None:
        with self._connected() as connection:
            encoding = connection.scalar(text("SHOW server_encoding"))
        if encoding != "UTF8":
            raise DatabaseUnusable(
                f"the database is encoded in {encoding}", hint="make one with ENCODING 'UTF8'"
            )


def _told(work: Callable[[], Result]) -> Callable[[], Result]:
    def told() -> Result:
        with telling():
            return work()

    return told


def _allow(connection: Connection, seconds: float | None) -> None:
    """Let this transaction take longer than what serves may."""
    if seconds is not None:
        limit = {"limit": f"{seconds:.0f}s"}
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(text(f"SELECT set_config('{name}', :limit, true)"), limit)


def _commit(connection: Connection) -> None:
    try:
        connection.commit()
    except DBAPIError as exc:
        if lost(exc):
            raise DatabaseUncertain(
                "the database was lost while it wrote", cause="the connection ended in COMMIT"
            ) from exc
        raise
