"""Device codes in the database (RFC 8628): a device may poll one replica while its user signs in at another.

Rows are found by keyed digests of both codes, and their data is sealed to the row, so a copy of the database
reveals no code. The key is needed because a short user code could be found by brute force.
"""

import secrets
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from podpass.clock import Clock
from podpass.database import Database, decoding_row
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.schema import devices
from podpass.exchange.sign_in import code_rows, codes
from podpass.exchange.sign_in.codes import Approval, DeviceCode
from podpass.exchange.signing.token_sealer import TokenSealer

# Without letters and digits that look alike.
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_USER_CODE_CHARS = 9
_NEVER = float(-(2**62))
# A used code frees its space; pending codes expire within 15 minutes.
_RETRY_SECONDS = 60
_DEVICE, _USER_CODE = "device-code", "user-code"
_STORED = select(devices.c.digest, devices.c.polled, devices.c.sealed)


class DeviceCodes:
    """Stores device codes and their user codes."""

    def __init__(self, database: Database, seal: TokenSealer, clock: Clock) -> None:
        self._database = database
        self._seal = seal
        self._clock = clock

    async def create(
        self, *, client_id: str, segment: str, scope: str, version: int = 2
    ) -> tuple[str, DeviceCode]:
        """Create a device code; return it and its data.

        Raises AadstsError 90055 when too many are pending; DatabaseFailed.
        """
        text = secrets.token_urlsafe(48)
        digest = self._seal.digest(_DEVICE, text)
        device = DeviceCode(
            client_id=client_id,
            segment=segment,
            scope=scope,
            user_code="".join(secrets.choice(_ALPHABET) for _ in range(_USER_CODE_CHARS)),
            begun=self._clock(),
            version=version,
        )
        row = {
            "digest": digest,
            "user_code": self._seal.digest(_USER_CODE, device.user_code),
            "begun": device.begun,
            "polled": _NEVER,
            "sealed": self._seal_row(digest, device),
        }

        def step(connection: Connection) -> bool:
            code_rows.delete_expired(
                connection, devices, "begun", device.begun, codes.DEVICE_SECONDS
            )
            # Every client may create a code, so deleting the oldest would let clients end pending sign-ins.
            if code_rows.count_rows(connection, devices) >= codes.MAX_STORED:
                return False
            connection.execute(insert(devices).values(row))
            return True

        if not await self._database.write(step):
            raise AadstsError(numbers.TOO_MANY_REQUESTS).with_response(
                status=429, retry_seconds=_RETRY_SECONDS
            )
        return text, device

    async def find(self, user_code: str) -> DeviceCode:
        """Return the device code with a user code that a user entered.

        Raises AadstsError 50053 after too many wrong ones, 70018, 70020; DatabaseFailed.
        """
        now = self._clock()
        digest = self._seal.digest(_USER_CODE, codes.normalize_user_code(user_code))

        def step(connection: Connection) -> DeviceCode | AadstsError:
            # The write is serialized, so that all parallel guesses are counted.
            if code_rows.is_guessing_limited(connection, now):
                return AadstsError(numbers.USER_LOCKED)
            found = self._find_pending(connection, digest)
            if found is None:
                code_rows.record_wrong_code(connection, now)
                return AadstsError(numbers.UNKNOWN_CODE)
            return found[1]

        # Read first, so that further guesses do not block the writes of others.
        if await self._database.read(
            lambda connection: code_rows.is_guessing_limited(connection, now)
        ):
            raise AadstsError(numbers.USER_LOCKED)
        found = await self._database.write(step)
        if isinstance(found, AadstsError):
            raise found
        codes.check_device_code(found, now)
        return found

    async def complete(self, user_code: str, approval: Approval | None) -> None:
        """Store the approval of the user; None if the user declined.

        Raises AadstsError 70018; DatabaseFailed.
        """
        user_code_digest = self._seal.digest(_USER_CODE, user_code)

        def step(connection: Connection) -> bool:
            found = self._find_pending(connection, user_code_digest)
            if found is None:
                return False
            digest, device = found
            completed = replace(device, approval=approval, declined=approval is None)
            change = update(devices).where(devices.c.digest == digest)
            connection.execute(
                change.values(user_code=None, sealed=self._seal_row(digest, completed))
            )
            return True

        if not await self._database.write(step):
            raise AadstsError(numbers.UNKNOWN_CODE)

    async def poll(self, text: str, client_id: str) -> DeviceCode:
        """Return the device code and delete it if the user has signed in.

        Raises AadstsError 70018, 70020, 50196, 65004, 70016; DatabaseFailed.
        """
        digest = self._seal.digest(_DEVICE, text)
        found = _STORED.where(devices.c.digest == digest)

        def step(connection: Connection) -> DeviceCode | AadstsError:
            row = connection.execute(found).first()
            device = None if row is None else self._unseal_row(row)
            if row is None or device is None or device.client_id != client_id:
                return AadstsError(numbers.UNKNOWN_CODE)
            now = self._clock()
            try:
                codes.check_device_code(device, now)
            except AadstsError as exc:
                return exc
            if device.declined or device.approval is not None:
                connection.execute(delete(devices).where(devices.c.digest == digest))
                declined = AadstsError(numbers.SIGN_IN_DECLINED).with_response(
                    error="authorization_declined"
                )
                return declined if device.declined else device
            change = update(devices).where(devices.c.digest == digest)
            connection.execute(change.values(polled=now))
            return codes.pending_error(now, row.polled)

        def is_known(connection: Connection) -> bool:
            return connection.execute(found).first() is not None

        if not await self._database.read(is_known):
            raise AadstsError(numbers.UNKNOWN_CODE)
        answer = await self._database.write(step)
        if isinstance(answer, AadstsError):
            raise answer
        return answer

    def _find_pending(
        self, connection: Connection, digest: bytes
    ) -> tuple[bytes, DeviceCode] | None:
        row = connection.execute(_STORED.where(devices.c.user_code == digest)).first()
        return None if row is None else (row.digest, self._unseal_row(row))

    def _seal_row(self, digest: bytes, device: DeviceCode) -> bytes:
        return self._seal.seal(
            code_rows.seal_context(_DEVICE, digest), codes.serialize(device)
        ).encode()

    def _unseal_row(self, row: Any) -> DeviceCode:
        with decoding_row(devices.name, code_rows.display_key(row.digest)):
            sealed = bytes(row.sealed).decode()
        return codes.deserialize_device_code(
            self._seal.open(code_rows.seal_context(_DEVICE, row.digest), sealed)
        )
