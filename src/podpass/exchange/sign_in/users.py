"""Users of the directory who prove that it is they, and which applications take them."""

from podpass.clock import Clock
from podpass.database import Database
from podpass.directory.model import Tenant, User
from podpass.exchange.client_auth import directory_lookup
from podpass.exchange.client_auth.directory_lookup import Directory
from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.sign_in import passwords
from podpass.exchange.sign_in.clients import Client
from podpass.exchange.sign_in.codes import Approval
from podpass.exchange.sign_in.lockout import Guesses


class People:
    """Check users; pages and token endpoint share one count of wrong passwords."""

    def __init__(self, directory: Directory, database: Database, clock: Clock) -> None:
        self._directory = directory
        self._clock = clock
        self._guesses = Guesses(database, clock)

    async def sign_in(self, tenant: Tenant | None, name: str, password: str) -> Approval:
        """Check a user's name and password; without a tenant, the name's domain says it.

        Errors:  Refused 50059, 90002, 50034, 50053, 50126.
        """
        name = name.strip()
        if tenant is None:
            tenant = await self._tenant_of(name)
        user = await self._directory.users.find(tenant.id, name)
        if user is None:
            raise Refused(50034, user=name, tenant=tenant.id)
        if not await self._guesses.check(user.id, password, user.password):
            raise Refused(50126)
        return Approval(
            tenant_id=tenant.id,
            user_id=user.id,
            password=passwords.fingerprint(user.password),
            authenticated=int(self._clock()),
        )

    async def _tenant_of(self, name: str) -> Tenant:
        domain = name.rpartition("@")[2] if "@" in name else ""
        if not domain:
            raise Refused(50059)
        tenant = await self._directory.find_tenant(domain)
        if tenant is None:
            raise Refused(90002, tenant=domain).answered(step="user")
        return tenant

    async def user_of(self, approval: Approval) -> User:
        """Find who approved, if the password is still the same.

        Errors:  Refused 50034, 50173.
        """
        user = await self._directory.users.get(approval.user_id)
        if user is None:
            raise Refused(50034, user=approval.user_id, tenant=approval.tenant_id)
        if approval.password != passwords.fingerprint(user.password):
            raise Refused(50173)
        return user

    async def check_approval(self, client: Client, approval: Approval) -> None:
        """Check on the page what the token endpoint would refuse later.

        Errors:  Refused 50105.
        """
        await self.check_assigned(client, await self.user_of(approval))

    async def check_assigned(self, client: Client, user: User) -> None:
        """Check that a user may sign in to an application that wants its users assigned.

        Errors:  Refused 50105.
        """
        if client.identity is None:
            return
        if await directory_lookup.assignment_missing(self._directory, client.identity, user.id):
            raise Refused(50105, client=client.id, name=client.name)
