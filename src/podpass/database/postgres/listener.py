"""What other processes wrote to a PostgreSQL database: LISTEN on a connection of its own."""

import asyncio
import logging
from typing import Any

from sqlalchemy import URL

from podpass.database import engine
from podpass.database.errors import DatabaseBusy, first_line
from podpass.database.notifications import News

_log = logging.getLogger(__name__)

CHANNEL = "podpass"
# The server is asked so often whether it is there, and must have answered within the second in which every
# replica has heard of a change: a connection can be dead without a word.
_ASK_SECONDS = 0.25
_LEASE_SECONDS = 0.9
_AGAIN_SECONDS = 0.25


class Listening:
    """Hears of every commit of others while it is connected, and says so when it is not.

    Shapes:  `name` is this process's, whose own news are told without a way round.
    """

    def __init__(self, url: URL, news: News, name: str) -> None:
        self._url = url
        self._news = news
        self._name = name
        self._heard = asyncio.Event()
        self._away = False
        self._lease: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self, seconds: float) -> None:
        """Listen until closed; returns when it hears.

        Errors:  DatabaseBusy.
        """
        self._task = asyncio.create_task(self._run(), name="database-listening")
        try:
            async with asyncio.timeout(seconds):
                await self._heard.wait()
        except TimeoutError as exc:
            raise DatabaseBusy("the database is busy", cause="LISTEN is not answered") from exc

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self._lapse()

    async def _run(self) -> None:
        import psycopg

        while True:
            try:
                await self._listen()
            except (psycopg.Error, OSError, TimeoutError) as exc:
                self._missed(first_line(exc) or "no answer in time")
            finally:
                self._lapse()
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _listen(self) -> None:
        connection = await self._connect()
        try:
            await connection.execute(f"LISTEN {CHANNEL}")
            await self._hear_itself(connection)
            while True:
                self._alive()
                async for notice in connection.notifies(timeout=_ASK_SECONDS):
                    self._told(notice.payload)
                async with asyncio.timeout(_LEASE_SECONDS):
                    await connection.execute("SELECT 1")
        finally:
            await connection.close()

    async def _hear_itself(self, connection: Any) -> None:
        """Make sure that news arrive: some poolers and engines take LISTEN, and never deliver.

        Errors:  TimeoutError.
        """
        await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, f"{self._name} "))
        async for _ in connection.notifies(timeout=_LEASE_SECONDS, stop_after=1):
            return
        raise TimeoutError

    async def _connect(self) -> Any:
        import psycopg

        given = engine.connect_arguments(self._url)
        return await psycopg.AsyncConnection.connect(autocommit=True, **given)

    def _told(self, payload: str) -> None:
        sender, _, topic = payload.partition(" ")
        if sender != self._name:
            self._news.tell([topic])

    def _alive(self) -> None:
        """Trust what is kept for another while."""
        if self._lease is not None:
            self._lease.cancel()
        self._lease = asyncio.get_running_loop().call_later(_LEASE_SECONDS, self._lapse)
        if not self._news.heard:
            self._news.hears(heard=True)
        if self._away:
            self._away = False
            _log.info("database_heard")
        self._heard.set()

    def _missed(self, cause: str) -> None:
        """Tell it once, however often it is tried."""
        if not self._away:
            _log.warning("database_not_heard", extra={"cause": cause})
        self._away = True

    def _lapse(self) -> None:
        """Trust nothing any more."""
        if self._lease is not None:
            self._lease.cancel()
            self._lease = None
        if self._news.heard:
            self._news.hears(heard=False)
