"""Sealed values that are no longer accepted, in the database: sent consent forms, and ended sessions.

All replicas together accept a form once, and a session until its sign-out. A form contains the approval of
its user, so a second submission would grant and sign in without a password. Rows have a keyed digest of the
value's ID. A row is written only for a value that this service sealed after a correct password, so callers
cannot fill the table.
"""

import secrets
from collections.abc import Callable

from sqlalchemy import Connection, Select, insert, select

from podpass.clock import Clock
from podpass.database import Database
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.schema import used_forms
from podpass.exchange.sign_in import code_rows
from podpass.exchange.sign_in.codes import SKEW_SECONDS
from podpass.exchange.signing.token_sealer import TokenSealer

_FORM, _SESSION = "consent-form", "console-session"
# The longest lifetime of a value: that of a session. A form is valid for a shorter time.
SESSION_SECONDS = 12 * 3600
_KEEP_SECONDS = SESSION_SECONDS + SKEW_SECONDS


def create_id() -> str:
    """Create the ID of a form or a session, for its sealed value."""
    return secrets.token_urlsafe(16)


class UsedForms:
    """Stores which forms were sent and which sessions have ended, until these have expired."""

    def __init__(self, database: Database, seal: TokenSealer, clock: Clock) -> None:
        self._database = database
        self._seal = seal
        self._clock = clock

    async def use(self, form_id: str) -> None:
        """Record that a form was sent; the writes of all replicas are serialized.

        Raises AadstsError 50089 for a form that was sent before; DatabaseFailed.
        """
        step = self._store_once(self._seal.digest(_FORM, form_id))
        if not await self._database.write(step):
            raise AadstsError(numbers.FORM_EXPIRED)

    async def end_session(self, session_id: str) -> None:
        """Record that a session has ended. Raises DatabaseFailed."""
        await self._database.write(self._store_once(self._seal.digest(_SESSION, session_id)))

    async def has_ended(self, session_id: str) -> bool:
        """Return whether a session has ended. Raises DatabaseFailed."""
        ended = _find(self._seal.digest(_SESSION, session_id))
        return await self._database.read(lambda c: c.execute(ended).first() is not None)

    def _store_once(self, digest: bytes) -> Callable[[Connection], bool]:
        now = self._clock()

        def step(connection: Connection) -> bool:
            code_rows.delete_expired(connection, used_forms, "at", now, _KEEP_SECONDS)
            if connection.execute(_find(digest)).first() is not None:
                return False
            connection.execute(insert(used_forms).values(digest=digest, at=now))
            return True

        return step


def _find(digest: bytes) -> Select[tuple[bytes]]:
    return select(used_forms.c.digest).where(used_forms.c.digest == digest)
