"""Receives notifications about changes by other processes: LISTEN on a separate PostgreSQL connection.

A pooler delivers notifications to no client or to another one, and LISTEN may still appear to work. Through a
pooler, this connection therefore polls for commits instead.
"""

import asyncio
import logging
from typing import Any, NoReturn

from sqlalchemy import URL

from podpass.database import engine
from podpass.database.errors import DatabaseBusy, first_line
from podpass.database.notifications import ChangeNotifier

_log = logging.getLogger(__name__)

CHANNEL = "podpass"
# A connection can be dead without an error, so the server is queried this often.
_HEARTBEAT_SECONDS = 0.25
# Every replica must learn of a change within a second: without an answer for this long, nothing may be
# cached.
_LEASE_SECONDS = 0.9
_RECONNECT_SECONDS = 0.25


class NotificationListener:
    """Publishes every commit of other processes, and reports when it is disconnected.

    `name` identifies this process, whose own changes are published without the server.
    """

    def __init__(self, url: URL, notifier: ChangeNotifier, name: str) -> None:
        self._url = url
        self._notifier = notifier
        self._name = name
        self._connected = asyncio.Event()
        self._is_disconnect_logged = False
        self._lease: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self, seconds: float) -> None:
        """Start to listen in the background, and return when notifications arrive. Raises DatabaseBusy."""
        self._task = asyncio.create_task(self._run(), name="database-listener")
        try:
            async with asyncio.timeout(seconds):
                await self._connected.wait()
        except TimeoutError as exc:
            raise DatabaseBusy("the database is busy", cause="LISTEN is not answered") from exc

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self._expire_lease()

    async def _run(self) -> None:
        import psycopg

        while True:
            try:
                await self._listen()
            except (psycopg.Error, OSError, TimeoutError) as exc:
                # Log a disconnect once, not with each failed attempt to reconnect.
                cause = first_line(exc) or "no answer in time"
                if not self._is_disconnect_logged:
                    _log.warning("notifications_disconnected", extra={"cause": cause})
                self._is_disconnect_logged = True
            finally:
                self._expire_lease()
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _listen(self) -> None:
        connection = await self._connect()
        try:
            cursor = await connection.execute(engine.SESSION)
            if engine.adapt_to_pooler(connection, await cursor.fetchone()):
                await self._poll(connection)
            await connection.execute(f"LISTEN {CHANNEL}")
            await self._check_delivery(connection)
            while True:
                self._renew_lease()
                async for notice in connection.notifies(timeout=_HEARTBEAT_SECONDS):
                    self._on_notify(notice.payload)
                async with asyncio.timeout(_LEASE_SECONDS):
                    await connection.execute("SELECT 1")
        finally:
            await connection.close()

    async def _poll(self, connection: Any) -> NoReturn:
        """Publish every topic whenever a transaction of the server may have committed.

        The list of running and completed transactions differs after each commit that changed data, in any
        database of the server.
        """
        previous = None
        while True:
            async with asyncio.timeout(_LEASE_SECONDS):
                cursor = await connection.execute("SELECT pg_current_snapshot()::text")
                current = await cursor.fetchone()
            if previous is not None and current != previous:
                self._notifier.publish_all()
            previous = current
            self._renew_lease()
            await asyncio.sleep(_HEARTBEAT_SECONDS)

    async def _check_delivery(self, connection: Any) -> None:
        """Check that notifications arrive: some poolers and engines accept LISTEN and deliver nothing.

        Raises TimeoutError.
        """
        await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, f"{self._name} "))
        async for _ in connection.notifies(timeout=_LEASE_SECONDS, stop_after=1):
            return
        raise TimeoutError

    async def _connect(self) -> Any:
        import psycopg

        given = engine.connect_arguments(self._url)
        return await psycopg.AsyncConnection.connect(autocommit=True, **given)

    def _on_notify(self, payload: str) -> None:
        sender, _, topic = payload.partition(" ")
        if sender != self._name:
            self._notifier.publish([topic])

    def _renew_lease(self) -> None:
        """Allow caching until the lease expires."""
        if self._lease is not None:
            self._lease.cancel()
        self._lease = asyncio.get_running_loop().call_later(_LEASE_SECONDS, self._expire_lease)
        if not self._notifier.is_connected:
            self._notifier.set_connected(connected=True)
        if self._is_disconnect_logged:
            self._is_disconnect_logged = False
            _log.info("notifications_connected")
        self._connected.set()

    def _expire_lease(self) -> None:
        """Forbid caching."""
        if self._lease is not None:
            self._lease.cancel()
            self._lease = None
        if self._notifier.is_connected:
            self._notifier.set_connected(connected=False)
