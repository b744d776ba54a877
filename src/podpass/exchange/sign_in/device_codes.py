"""Device codes in the database: a device may poll one replica while its user signs in at another.

Both codes are found by keyed digests and what they stand for is sealed to its row, so a copy of the
database shows neither; the short one could be found by trying if it were a plain digest.
"""

import secrets
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from podpass.clock import Clock
from podpass.database import Database, check_types, shaping
from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.schema import devices
from podpass.exchange.sign_in import code_rows, codes
from podpass.exchange.sign_in.codes import Approval, Device
from podpass.exchange.signing.token_sealer import Seal

# Without letters and digits that are taken for one another.
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_USER_CODE_CHARS = 9
_NEVER = float(-(2**62))
# Room comes as devices are done; the last of those that wait is over in a quarter of an hour.
_ROOM_SECONDS = 60
_DEVICE, _USER_CODE = "device-code", "user-code"
_KEPT = select(devices.c.digest, devices.c.polled, devices.c.sealed)


class Devices:
    """Device codes, and the short codes that people type."""

    def __init__(self, database: Database, seal: Seal, clock: Clock) -> None:
        self._database = database
        self._seal = seal
        self._clock = clock

    async def begin(self, *, client_id: str, segment: str, scope: str) -> tuple[str, Device]:
        """Begin a sign-in; give the device code and what it stands for.

        Errors:  Refused 90055 when too many wait; DatabaseFailed.
        """
        text = secrets.token_urlsafe(48)
        digest = self._seal.digest(_DEVICE, text)
        device = Device(
            client_id=client_id,
            segment=segment,
            scope=scope,
            user_code="".join(secrets.choice(_ALPHABET) for _ in range(_USER_CODE_CHARS)),
            begun=self._clock(),
        )
        row = {
            "digest": digest,
            "user_code": self._seal.digest(_USER_CODE, device.user_code),
            "begun": device.begun,
            "polled": _NEVER,
            "sealed": self._close(digest, device),
        }

        def step(connection: Connection) -> bool:
            code_rows.drop_expired(connection, devices, "begun", device.begun, codes.DEVICE_SECONDS)
            # Anybody may begin one: to drop the oldest then would let anybody end those that others
            # wait for.
            if code_rows.count(connection, devices) >= codes.MAX_HELD:
                return False
            connection.execute(insert(devices).values(row))
            return True

        if not await self._database.write(step):
            raise Refused(90055).answered(status=429, retry_seconds=_ROOM_SECONDS)
        return text, device

    async def find(self, user_code: str) -> Device:
        """Find the device whose code somebody typed.

        Errors:  Refused 50053 after too many wrong ones, 70018, 70020; DatabaseFailed.
        """
        now = self._clock()
        typed = self._seal.digest(_USER_CODE, codes.plain(user_code))

        def step(connection: Connection) -> Device | Refused:
            # Counted by those who come one at a time: a hundred guesses sent at once are a hundred.
            if code_rows.is_guessing(connection, now):
                return Refused(50053)
            found = self._waiting(connection, typed)
            if found is None:
                code_rows.note_wrong(connection, now)
                return Refused(70018)
            return found[1]

        # Whoever goes on guessing does not keep others from writing.
        if await self._database.read(lambda connection: code_rows.is_guessing(connection, now)):
            raise Refused(50053)
        found = await self._database.write(step)
        if isinstance(found, Refused):
            raise found
        codes.check_device(found, now)
        return found

    async def settle(self, user_code: str, approval: Approval | None) -> None:
        """Note that the user signed in, or declined (None).

        Errors:  Refused 70018; DatabaseFailed.
        """
        typed = self._seal.digest(_USER_CODE, user_code)

        def step(connection: Connection) -> bool:
            found = self._waiting(connection, typed)
            if found is None:
                return False
            digest, device = found
            settled = replace(device, approval=approval, declined=approval is None)
            change = update(devices).where(devices.c.digest == digest)
            connection.execute(change.values(user_code=None, sealed=self._close(digest, settled)))
            return True

        if not await self._database.write(step):
            raise Refused(70018)

    async def poll(self, text: str, client_id: str) -> Device:
        """Ask whether the user has signed in; the answer that he has is given once.

        Errors:  Refused 70018, 70020, 50196, 65004, 70016; DatabaseFailed.
        """
        digest = self._seal.digest(_DEVICE, text)
        found = _KEPT.where(devices.c.digest == digest)

        def step(connection: Connection) -> Device | Refused:
            row = connection.execute(found).first()
            device = None if row is None else self._open(row)
            if row is None or device is None or device.client_id != client_id:
                return Refused(70018)
            now = self._clock()
            try:
                codes.check_device(device, now)
            except Refused as exc:
                return exc
            if device.declined or device.approval is not None:
                connection.execute(delete(devices).where(devices.c.digest == digest))
                declined = Refused(65004).answered(error="authorization_declined")
                return declined if device.declined else device
            change = update(devices).where(devices.c.digest == digest)
            connection.execute(change.values(polled=now))
            return codes.unfinished(now, row.polled)

        def is_known(connection: Connection) -> bool:
            return connection.execute(found).first() is not None

        if not await self._database.read(is_known):
            raise Refused(70018)
        answer = await self._database.write(step)
        if isinstance(answer, Refused):
            raise answer
        return answer

    def _waiting(self, connection: Connection, typed: bytes) -> tuple[bytes, Device] | None:
        row = connection.execute(_KEPT.where(devices.c.user_code == typed)).first()
        return None if row is None else (row.digest, self._open(row))

    def _close(self, digest: bytes, device: Device) -> bytes:
        return self._seal.close(code_rows.place(_DEVICE, digest), codes.write(device)).encode()

    def _open(self, row: Any) -> Device:
        with shaping(devices.name, code_rows.shown(row.digest)):
            check_types(row, _KEPT)
            sealed = bytes(row.sealed).decode()
        return codes.read_device(self._seal.read(code_rows.place(_DEVICE, row.digest), sealed))
