"""Authorization codes in the database: what one replica gave out any other takes, and only one takes it.

Codes are found by a keyed digest and what they stand for is sealed to its row, so a copy of the database
shows neither. Writers come one at a time: of several who present one code at the same moment, one has it.
"""

import secrets

from sqlalchemy import Connection, delete, insert, select, update

from podpass.clock import Clock
from podpass.database import Database, check_types, shaping
from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.schema import codes
from podpass.exchange.sign_in import code_rows
from podpass.exchange.sign_in import codes as pending
from podpass.exchange.sign_in.codes import Code
from podpass.exchange.signing.token_sealer import Seal

_CODE = "authorization-code"
_KEPT = select(codes.c.used, codes.c.sealed)


class Codes:
    """Authorization codes, each good for one redemption."""

    def __init__(self, database: Database, seal: Seal, clock: Clock) -> None:
        self._database = database
        self._seal = seal
        self._clock = clock

    async def issue(self, code: Code) -> str:
        """Give out a code; too many drop the oldest.

        Errors:  DatabaseFailed.
        """
        text = secrets.token_urlsafe(32)
        digest = self._seal.digest(_CODE, text)
        sealed = self._seal.close(code_rows.place(_CODE, digest), pending.write(code)).encode()

        def step(connection: Connection) -> None:
            code_rows.drop_expired(connection, codes, "issued", self._clock(), pending.CODE_SECONDS)
            if (many := code_rows.count(connection, codes) - pending.MAX_HELD + 1) > 0:
                oldest = select(codes.c.digest).order_by(codes.c.issued).limit(many)
                connection.execute(delete(codes).where(codes.c.digest.in_(oldest)))
            row = {"digest": digest, "issued": code.issued, "used": 0, "sealed": sealed}
            connection.execute(insert(codes).values(row))

        await self._database.write(step)
        return text

    async def redeem(self, text: str) -> Code:
        """Take a code back; whoever presents it, it is used from then on.

        Errors:  Refused 54005, 70000, 70008; DatabaseFailed.
        """
        digest = self._seal.digest(_CODE, text)
        found = _KEPT.where(codes.c.digest == digest)

        def is_known(connection: Connection) -> bool:
            return connection.execute(found).first() is not None

        def take(connection: Connection) -> tuple[bool, str]:
            row = connection.execute(found).first()
            if row is None:
                return False, ""
            # Before it is spent: of what cannot be read nothing is lost, and nothing redeemed.
            with shaping(codes.name, code_rows.shown(digest)):
                check_types(row, _KEPT)
                sealed = bytes(row.sealed).decode()
            change = update(codes).where(codes.c.digest == digest)
            connection.execute(change.values(used=1, sealed=b""))
            return bool(row.used), sealed

        # A text that somebody made up costs no write.
        if not await self._database.read(is_known):
            raise Refused(70000, reason="no such code was given out")
        used, sealed = await self._database.write(take)
        if used:
            raise Refused(54005)
        if not sealed:
            raise Refused(70000, reason="no such code was given out")
        code = pending.read_code(self._seal.read(code_rows.place(_CODE, digest), sealed))
        pending.check_code(code, self._clock())
        return code
