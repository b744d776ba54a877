"""PostgreSQL backend. Steps run in a bounded thread pool, so a slow server never blocks the event loop.

One round trip and no thread switch: half the time of a step, and a third of the CPU.
"""

import asyncio
import contextvars
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from uuid import uuid4

from sqlalchemy import URL, Dialect, Engine, text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from podpass.database import engine
from podpass.database.errors import (
    DatabaseBusy,
    DatabaseUncertain,
    DatabaseUnusable,
    first_line,
    is_connection_lost,
    translate_driver_errors,
)
from podpass.database.notifications import ChangeNotifier
from podpass.database.postgres.listener import CHANNEL, NotificationListener
from podpass.database.prepared import PreparedStatement, Values, wrap_driver_errors

# How long calls fail immediately after an attempt that did not reach the server.
_OPEN_SECONDS = 0.5


class CircuitBreaker:
    """Fails calls immediately after a failed attempt; closes when the listener reaches the server again."""

    def __init__(self, notifier: ChangeNotifier) -> None:
        self._notifier = notifier
        self._open_until = 0.0
        self._cause = ""

    def record_failure(self, message: object) -> None:
        """Record that the server was not reached, and the driver's message."""
        self._open_until = time.monotonic() + _OPEN_SECONDS
        self._cause = first_line(message)

    @property
    def is_open(self) -> bool:
        return time.monotonic() < self._open_until and not self._notifier.is_connected

    def check(self) -> None:
        """Reject a call while the circuit is open. Raises DatabaseBusy."""
        if self.is_open:
            raise DatabaseBusy("the database is unavailable", cause=self._cause)


# The advisory lock of all podpass writers in a database. The number is arbitrary.
_WRITE_LOCK = 0x706F6470
_READ = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
_CLOSE_SECONDS = 2.0
# A live server ends a statement at its own timeout. This process stops waiting a little later.
_GRACE_SECONDS = 0.4
_PING = text("SELECT 1")
_LOCK = text(f"SELECT pg_advisory_xact_lock({_WRITE_LOCK})")
_NOTIFY = text(f"SELECT pg_notify('{CHANNEL}', :news)")

Result = TypeVar("Result")
CONNECTIONS = 2


class PostgresBackend:
    """A pool of connections with one thread each, a pool for single statements, and a listener."""

    def __init__(
        self, url: URL, notifier: ChangeNotifier, patience: float, connections: int
    ) -> None:
        self._url = url
        self._notifier = notifier
        self._patience = patience
        self._connections = connections
        self._engine: Engine | None = None
        self._breaker = CircuitBreaker(notifier)

    @property
    def engine(self) -> Engine:
        assert self._engine is not None, "the database is not open"
        return self._engine

    async def open(self) -> None:
        """Connect, and start the listener. Raises DatabaseFailed, DatabaseUnusable."""
        self._name = uuid4().hex
        self._used: set[Any] = set()
        self._engine = engine.create_postgres_engine(self._url, self._connections, self._used)
        self._threads = ThreadPoolExecutor(self._connections, thread_name_prefix="database")
        self._read_slots = asyncio.Semaphore(self._connections - 1)
        self._write_slot = asyncio.Semaphore(1)
        self._running: set[asyncio.Future[Any]] = set()
        self._listener = NotificationListener(self._url, self._notifier, self._name)
        self._statements = AsyncStatementPool(
            self._url, self._engine.dialect, self._breaker, self._patience
        )
        await self._run_in_thread(self._check_encoding, self._read_slots)
        await self._listener.open(2 * self._patience)

    async def close(self) -> None:
        if self._engine is None:
            return
        await self._listener.close()
        self._notifier.set_connected(connected=False)
        await self._statements.close()
        if self._running:
            await asyncio.wait(self._running, timeout=_CLOSE_SECONDS)
        # Steps that still wait for an answer fail as for a lost connection.
        engine.shut_down_sockets(self._used)
        self._threads.shutdown()
        self._engine.dispose()
        self._engine = None

    async def ping(self) -> None:
        """Check that the server answers. Raises DatabaseFailed."""
        await self.read(lambda connection: connection.execute(_PING).close(), None)

    async def read(
        self, step: Callable[[Connection], Result], seconds: float | None, *, once: bool = False
    ) -> Result:
        """Run a step that sees one state of the database. Run it again if the connection was lost."""

        def work() -> Result:
            with self._connect() as connection:
                reading = connection.execution_options(**_READ)
                _extend_timeouts(reading, seconds)
                return step(reading)

        attempt = work if once else lambda: self._retry_once(work)
        return await self._run_in_thread(attempt, self._read_slots, seconds)

    async def fetch(self, statement: PreparedStatement, values: Values) -> list[Any]:
        """Return the rows of one statement, in one round trip."""
        return await self._statements.fetch(statement, values)

    async def write(
        self, step: Callable[[Connection], Result], topics: Iterable[str], seconds: float | None
    ) -> Result:
        """Run a step in a transaction that excludes all other writers."""

        changed: list[str] = []

        def work() -> Result:
            with self._retry_once(lambda: self._lock(seconds)) as connection:
                result = step(connection)
                changed.extend(topics)
                for topic in changed:
                    connection.execute(_NOTIFY, {"news": f"{self._name} {topic}"})
                _commit(connection)
            return result

        return await self._run_in_thread(
            work,
            self._write_slot,
            seconds,
            then=lambda: self._notifier.publish(changed),
            on_timeout=DatabaseUncertain,
        )

    async def _run_in_thread(
        self,
        work: Callable[[], Result],
        slots: asyncio.Semaphore,
        seconds: float | None = None,
        then: Callable[[], None] = lambda: None,
        on_timeout: type[DatabaseBusy] = DatabaseBusy,
    ) -> Result:
        """Run `work` in a thread. `then` follows in the event loop, even after the caller was cancelled.

        Raises DatabaseBusy when it takes longer than the server's own timeout.
        """
        self._breaker.check()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (seconds or engine.STEP_SECONDS) + _GRACE_SECONDS
        try:
            async with asyncio.timeout(seconds or self._patience):
                await slots.acquire()
        except TimeoutError as exc:
            raise DatabaseBusy("the database is busy", cause="all connections are in use") from exc
        run = contextvars.copy_context().run
        future = loop.run_in_executor(self._threads, run, _translating_errors(work))
        self._running.add(future)

        def done(_: object) -> None:
            self._running.discard(future)
            slots.release()
            then()
            if not future.cancelled():
                future.exception()  # read it, so that asyncio does not report an unread exception

        future.add_done_callback(done)
        await asyncio.wait([future], timeout=deadline - loop.time())
        if not future.done():
            raise on_timeout("the database does not answer", cause="no answer in time")
        return future.result()

    def _connect(self) -> Connection:
        try:
            return self.engine.connect()
        except SQLAlchemyError as exc:
            self._breaker.record_failure(getattr(exc, "orig", None) or exc)
            raise

    def _retry_once(self, work: Callable[[], Result]) -> Result:
        """Run `work`, which changes nothing, again if a server restart closed the pooled connection."""
        try:
            return work()
        except DBAPIError as exc:
            if not is_connection_lost(exc) or self._breaker.is_open:
                raise
        return work()

    def _lock(self, seconds: float | None) -> Connection:
        from psycopg import IsolationLevel

        connection = self._connect()
        try:
            driver: Any = connection.connection.driver_connection
            # A read before it set the pooled connection to "read and write". None restores the server's
            # setting.
            driver.read_only = None
            # Behind a pooler, the default of the session may be another one.
            driver.isolation_level = IsolationLevel.READ_COMMITTED
            _extend_timeouts(connection, seconds)
            connection.execute(_LOCK)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_encoding(self) -> None:
        with self._connect() as connection:
            encoding = connection.scalar(text("SHOW server_encoding"))
        if encoding != "UTF8":
            raise DatabaseUnusable(
                f"the database is encoded in {encoding}", hint="create one with ENCODING 'UTF8'"
            )


def _translating_errors(work: Callable[[], Result]) -> Callable[[], Result]:
    def run() -> Result:
        with translate_driver_errors():
            return work()

    return run


def _extend_timeouts(connection: Connection, seconds: float | None) -> None:
    """Allow this transaction more time than a request has."""
    if seconds is not None:
        limit = {"limit": f"{seconds:.0f}s"}
        for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(text(f"SELECT set_config('{name}', :limit, true)"), limit)


def _commit(connection: Connection) -> None:
    try:
        connection.commit()
    except DBAPIError as exc:
        if is_connection_lost(exc):
            raise DatabaseUncertain(
                "the database was lost while it wrote", cause="the connection ended in COMMIT"
            ) from exc
        raise


class AsyncStatementPool:
    """A pool that opens connections on demand, and replaces all of them after a restart of the server."""

    def __init__(
        self, url: URL, dialect: Dialect, breaker: CircuitBreaker, patience: float
    ) -> None:
        self._url = url
        self._dialect = dialect
        self._breaker = breaker
        self._patience = patience
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._free: list[Any] = []
        self._used: set[Any] = set()

    async def close(self) -> None:
        """Abort the running statements, and close every connection."""
        engine.shut_down_sockets(self._used)
        for _ in range(CONNECTIONS):
            await self._slots.acquire()
        await self._close_free()

    async def _close_free(self) -> None:
        while self._free:
            await self._free.pop().close()

    async def fetch(self, statement: PreparedStatement, values: Values) -> list[Any]:
        """Return the rows of one statement. Raises DatabaseFailed."""
        self._breaker.check()
        sql, given = statement.render(self._dialect, values)
        await self._acquire_slot()
        try:
            with translate_driver_errors():
                return await self._fetch_with_retry(sql, given)
        finally:
            self._slots.release()

    async def _acquire_slot(self) -> None:
        if not self._slots.locked():
            await self._slots.acquire()
            return
        try:
            async with asyncio.timeout(self._patience / 2):
                await self._slots.acquire()
        except TimeoutError as exc:
            raise DatabaseBusy("the database is busy", cause="all connections are in use") from exc

    async def _fetch_with_retry(self, sql: str, given: Any) -> list[Any]:
        if self._free:
            try:
                return await self._fetch_on(self._free.pop(), sql, given)
            except DBAPIError as exc:
                if not is_connection_lost(exc):
                    raise
            # The server was restarted, so the other connections are lost too.
            await self._close_free()
        return await self._fetch_on(await self._connect(), sql, given)

    async def _fetch_on(self, connection: Any, sql: str, given: Any) -> list[Any]:
        loop, rows = asyncio.get_running_loop(), None
        # If the answer is late, the socket is shut down: a cancellation would wait for the server again.
        timer = loop.call_later(self._patience, engine.shut_down_sockets, (connection,))
        self._used.add(connection)
        try:
            with wrap_driver_errors(self._dialect):
                # Binary: parsing a row takes half the CPU.
                cursor = connection.cursor(binary=True)
                await cursor.execute(sql, given, prepare=True)
                rows = await cursor.fetchall()
        except DBAPIError as exc:
            if loop.time() < timer.when():
                raise
            message = "the database does not answer"
            raise DatabaseBusy(message, cause="no answer in time") from exc
        finally:
            timer.cancel()
            self._used.discard(connection)
            await self._release(connection, reusable=rows is not None)
        return rows  # type: ignore[no-any-return]

    async def _release(self, connection: Any, *, reusable: bool) -> None:
        if reusable:
            self._free.append(connection)
        else:
            # The statement is still running, or the connection is lost.
            await connection.close()

    async def _connect(self) -> Any:
        import psycopg

        with wrap_driver_errors(self._dialect):
            try:
                connection = await psycopg.AsyncConnection.connect(
                    autocommit=True, **engine.connect_arguments(self._url)
                )
                cursor = await connection.execute(engine.SESSION)
                engine.adapt_to_pooler(connection, await cursor.fetchone())
            except psycopg.Error as exc:
                self._breaker.record_failure(exc)
                raise
        return connection
