"""Authenticate users of the directory by password, and check their assignment to applications.

After too many wrong passwords in a row, a user is locked for a time, as by Entra's smart lockout; during that
time a correct password is refused too. Only existing users are counted, so the table stays small.
"""

import asyncio
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from podpass.clock import Clock
from podpass.database import Database, row_decoder
from podpass.directory.model import Tenant, User
from podpass.exchange.client_auth import directory_lookup
from podpass.exchange.client_auth.directory_lookup import DirectoryReader
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.schema import lockouts
from podpass.exchange.sign_in import passwords
from podpass.exchange.sign_in.clients import Client
from podpass.exchange.sign_in.codes import SKEW_SECONDS, Approval
from podpass.exchange.sign_in.passwords import check_password

MAX_ATTEMPTS = 10
LOCKOUT_SECONDS = 60
_MAX_CONCURRENT = 2


class UserAuthenticator:
    """Authenticates users; pages and token endpoint share one lockout."""

    def __init__(self, directory: DirectoryReader, database: Database, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._lockout = PasswordLockout(database, clock)

    async def authenticate(self, tenant: Tenant | None, name: str, password: str) -> Approval:
        """Check a user's name and password; without a tenant, the domain of the name selects it.

        Raises AadstsError 50059, 90002, 50034, 50053, 50126.
        """
        name = name.strip()
        if tenant is None:
            domain = name.rpartition("@")[2] if "@" in name else ""
            if not domain:
                raise AadstsError(numbers.NO_TENANT)
            tenant = await self._directory.find_tenant(domain)
            if tenant is None:
                raise AadstsError(numbers.UNKNOWN_TENANT, tenant=domain).with_response(step="user")
        user = await self._directory.users.find(tenant.id, name)
        if user is None:
            raise AadstsError(numbers.UNKNOWN_USER, user=name, tenant=tenant.id)
        if not await self._lockout.check(user.id, password, user.password):
            raise AadstsError(numbers.WRONG_PASSWORD)
        return Approval(
            tenant_id=tenant.id,
            user_id=user.id,
            password=passwords.fingerprint(user.password),
            authenticated=int(self._clock()),
        )

    async def find_user(self, approval: Approval) -> User:
        """Return the user of an approval, if the password has not changed since.

        Raises AadstsError 50034, 50173.
        """
        user = await self._directory.users.get(approval.user_id)
        if user is None:
            raise AadstsError(
                numbers.UNKNOWN_USER, user=approval.user_id, tenant=approval.tenant_id
            )
        if approval.password != passwords.fingerprint(user.password):
            raise AadstsError(numbers.GRANT_REVOKED)
        return user

    async def check_assignment(self, client: Client, user: User) -> None:
        """Check that a user is assigned to an application that requires assignment.

        Raises AadstsError 50105.
        """
        if client.identity is None:
            return
        if await directory_lookup.is_assignment_missing(self._directory, client.identity, user.id):
            raise AadstsError(numbers.USER_NOT_ASSIGNED, client=client.id, name=client.name)


class PasswordLockout:
    """Compares passwords, and locks users after too many wrong ones."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._hashing = asyncio.Semaphore(_MAX_CONCURRENT)

    async def check(self, user_id: str, password: str, stored: str) -> bool:
        """Compare a password with a stored hash; the attempt counts as failed until the comparison succeeds.

        Raises AadstsError 50053 for a locked user; DatabaseFailed.
        """
        now = self._clock()

        def count(connection: Connection) -> bool:
            wrong, since = _read_count(connection, user_id)
            if _is_locked(wrong, since, now):
                return False
            _reset(connection, user_id)
            row = {"user_id": user_id, "wrong": wrong % MAX_ATTEMPTS + 1, "since": now}
            connection.execute(insert(lockouts).values(row))
            return True

        # Read first, so that further guesses do not block the writes of others.
        if _is_locked(*await self._database.read(lambda c: _read_count(c, user_id)), now):
            raise AadstsError(numbers.USER_LOCKED)
        # Counted before the comparison, so that all parallel guesses are counted.
        if not await self._database.write(count):
            raise AadstsError(numbers.USER_LOCKED)
        async with self._hashing:
            is_correct = await asyncio.to_thread(check_password, password, stored)
        if is_correct:
            await self._database.write(lambda connection: _reset(connection, user_id))
        return is_correct


def _read_count(connection: Connection, user_id: str) -> tuple[int, float]:
    row = connection.execute(select(lockouts).where(lockouts.c.user_id == user_id)).first()
    if row is None:
        return 0, 0.0
    return _decode(row)


@row_decoder(lockouts, key=lambda row: row.user_id)
def _decode(row: Row[Any]) -> tuple[int, float]:
    return row.wrong, row.since


def _reset(connection: Connection, user_id: str) -> None:
    connection.execute(delete(lockouts).where(lockouts.c.user_id == user_id))


def _is_locked(wrong: int, since: float, now: float) -> bool:
    # A clock that is set far back must not extend the lockout; a slightly slow clock must not end it.
    return wrong >= MAX_ATTEMPTS and -SKEW_SECONDS <= now - since < LOCKOUT_SECONDS
