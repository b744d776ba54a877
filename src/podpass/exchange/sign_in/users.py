"""Authenticate users of the directory by password, and check their assignment to applications."""

from podpass.clock import Clock
from podpass.database import Database
from podpass.directory.model import Tenant, User
from podpass.exchange.client_auth import directory_lookup
from podpass.exchange.client_auth.directory_lookup import DirectoryReader
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.sign_in import passwords
from podpass.exchange.sign_in.clients import Client
from podpass.exchange.sign_in.codes import Approval
from podpass.exchange.sign_in.lockout import PasswordLockout


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
            tenant = await self._tenant_of(name)
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

    async def _tenant_of(self, name: str) -> Tenant:
        domain = name.rpartition("@")[2] if "@" in name else ""
        if not domain:
            raise AadstsError(numbers.NO_TENANT)
        tenant = await self._directory.find_tenant(domain)
        if tenant is None:
            raise AadstsError(numbers.UNKNOWN_TENANT, tenant=domain).with_response(step="user")
        return tenant

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
