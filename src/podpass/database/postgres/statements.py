"""Runs single statements on PostgreSQL in the event loop, on a few separate connections.

One round trip and no thread switch: half the time of a step, and a third of the CPU.
"""

import asyncio
from typing import Any

from sqlalchemy import URL, Dialect
from sqlalchemy.exc import DBAPIError

from podpass.database import engine
from podpass.database.errors import DatabaseBusy, is_connection_lost, translate_driver_errors
from podpass.database.postgres.circuit_breaker import CircuitBreaker
from podpass.database.prepared import PreparedStatement, Values, wrap_driver_errors

CONNECTIONS = 2


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
