"""Consent forms that were sent, in the database: all replicas together accept each form once.

A form contains the approval of its user, so a second submission would grant and sign in without a password.
Rows have a keyed digest of the form's ID. A row is written only for a form that this service sealed after a
correct password, so callers cannot fill the table.
"""

import secrets

from sqlalchemy import Connection, insert, select

from podpass.clock import Clock
from podpass.database import Database
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.schema import used_forms
from podpass.exchange.sign_in import code_rows
from podpass.exchange.sign_in.codes import SKEW_SECONDS
from podpass.exchange.sign_in.csrf import FORM_SECONDS
from podpass.exchange.signing.token_sealer import TokenSealer

_FORM = "consent-form"


def create_id() -> str:
    """Create the ID of a form, for its sealed token."""
    return secrets.token_urlsafe(16)


class UsedForms:
    """Stores which forms were sent, until these forms have expired."""

    def __init__(self, database: Database, seal: TokenSealer, clock: Clock) -> None:
        self._database = database
        self._seal = seal
        self._clock = clock

    async def use(self, form_id: str) -> None:
        """Record that a form was sent; the writes of all replicas are serialized.

        Errors:  AadstsError 50089 for a form that was sent before; DatabaseFailed.
        """
        digest, now = self._seal.digest(_FORM, form_id), self._clock()
        sent = select(used_forms.c.digest).where(used_forms.c.digest == digest)

        def step(connection: Connection) -> bool:
            code_rows.delete_expired(connection, used_forms, "at", now, FORM_SECONDS + SKEW_SECONDS)
            if connection.execute(sent).first() is not None:
                return False
            connection.execute(insert(used_forms).values(digest=digest, at=now))
            return True

        if not await self._database.write(step):
            raise AadstsError(50089)
