"""Authorization codes in the database: every replica accepts them, and each is redeemed once.

Rows are found by a keyed digest of the code, and their data is sealed to the row, so a copy of the database
reveals no code. Writes are serialized, so only one of several parallel requests redeems a code.
"""

import secrets

from sqlalchemy import Connection, delete, insert, select, update

from podpass.clock import Clock
from podpass.database import Database, decoding_row
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.schema import codes
from podpass.exchange.sign_in import code_rows
from podpass.exchange.sign_in import codes as pending
from podpass.exchange.sign_in.codes import AuthorizationCode
from podpass.exchange.signing.token_sealer import TokenSealer

_CODE = "authorization-code"
_STORED = select(codes.c.used, codes.c.sealed)


class AuthorizationCodes:
    """Stores authorization codes, each for one redemption."""

    def __init__(self, database: Database, seal: TokenSealer, clock: Clock) -> None:
        self._database = database
        self._seal = seal
        self._clock = clock

    async def issue(self, code: AuthorizationCode) -> str:
        """Issue a code; the oldest are deleted if there are too many. Raises DatabaseFailed."""
        text = secrets.token_urlsafe(32)
        digest = self._seal.digest(_CODE, text)
        sealed = self._seal.seal(
            code_rows.seal_context(_CODE, digest), pending.serialize(code)
        ).encode()

        def step(connection: Connection) -> None:
            code_rows.delete_expired(
                connection, codes, "issued", self._clock(), pending.CODE_SECONDS
            )
            if (excess := code_rows.count_rows(connection, codes) - pending.MAX_STORED + 1) > 0:
                oldest = select(codes.c.digest).order_by(codes.c.issued).limit(excess)
                connection.execute(delete(codes).where(codes.c.digest.in_(oldest)))
            row = {"digest": digest, "issued": code.issued, "used": 0, "sealed": sealed}
            connection.execute(insert(codes).values(row))

        await self._database.write(step)
        return text

    async def redeem(self, text: str) -> AuthorizationCode:
        """Redeem a code; it is used up, even if the client is the wrong one.

        Raises AadstsError 54005, 70000, 70008; DatabaseFailed.
        """
        digest = self._seal.digest(_CODE, text)
        found = _STORED.where(codes.c.digest == digest)

        def is_known(connection: Connection) -> bool:
            return connection.execute(found).first() is not None

        def take(connection: Connection) -> tuple[bool, str]:
            row = connection.execute(found).first()
            if row is None:
                return False, ""
            # Decoded before the update, so that a damaged row is neither changed nor redeemed.
            with decoding_row(codes.name, code_rows.display_key(digest)):
                sealed = bytes(row.sealed).decode()
            change = update(codes).where(codes.c.digest == digest)
            connection.execute(change.values(used=1, sealed=b""))
            return bool(row.used), sealed

        # Read first, so that an invented code causes no write.
        if not await self._database.read(is_known):
            raise AadstsError(numbers.INVALID_GRANT, reason="the code is unknown")
        used, sealed = await self._database.write(take)
        if used:
            raise AadstsError(numbers.CODE_REDEEMED)
        if not sealed:
            raise AadstsError(numbers.INVALID_GRANT, reason="the code is unknown")
        code = pending.deserialize_code(
            self._seal.open(code_rows.seal_context(_CODE, digest), sealed)
        )
        pending.check_code(code, self._clock())
        return code
