"""Wrong passwords in a row, counted by user at all replicas together.

A user's name takes so many of them and is then left alone for a while, right password or not, as Entra's
lock-out does. Only users that exist are counted, so the table stays small.
"""

import asyncio

from sqlalchemy import Connection, delete, insert, select

from podpass.clock import Clock
from podpass.database import Database, check_types, shaping
from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.schema import guesses
from podpass.exchange.sign_in.codes import SKEW_SECONDS
from podpass.exchange.sign_in.passwords import check_password

MAX_GUESSES = 10
LOCKED_SECONDS = 60
_AT_ONCE = 2


class Guesses:
    """Compare passwords, and count those that are wrong."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._hashing = asyncio.Semaphore(_AT_ONCE)

    async def check(self, user_id: str, password: str, kept: str) -> bool:
        """Compare a password, counting it as wrong until it has proved right.

        Errors:  Refused 50053 for a user who is left alone now; DatabaseFailed.
        """
        now = self._clock()

        def count(connection: Connection) -> bool:
            wrong, since = _counted(connection, user_id)
            if _is_locked(wrong, since, now):
                return False
            _forget(connection, user_id)
            row = {"user_id": user_id, "wrong": wrong % MAX_GUESSES + 1, "since": now}
            connection.execute(insert(guesses).values(row))
            return True

        # Whoever goes on guessing does not keep others from writing.
        if _is_locked(*await self._database.read(lambda c: _counted(c, user_id)), now):
            raise Refused(50053)
        # Counted before it is compared: a hundred guesses sent at once are a hundred guesses.
        if not await self._database.write(count):
            raise Refused(50053)
        async with self._hashing:
            fits = await asyncio.to_thread(check_password, password, kept)
        if fits:
            await self._database.write(lambda connection: _forget(connection, user_id))
        return fits


def _counted(connection: Connection, user_id: str) -> tuple[int, float]:
    row = connection.execute(select(guesses).where(guesses.c.user_id == user_id)).first()
    if row is None:
        return 0, 0.0
    with shaping(guesses.name, row.user_id):
        check_types(row, guesses)
    return row.wrong, row.since


def _forget(connection: Connection, user_id: str) -> None:
    connection.execute(delete(guesses).where(guesses.c.user_id == user_id))


def _is_locked(wrong: int, since: float, now: float) -> bool:
    # A clock set far back must not lock a user for longer; one that is a little behind must not unlock.
    return wrong >= MAX_GUESSES and -SKEW_SECONDS <= now - since < LOCKED_SECONDS
