"""The directory on a SQL database: reads for `exchange` and `resource`, writes for seeds and APIs.

What is managed is grouped by noun, a module each.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from podpass.clock import Clock, system
from podpass.database import Database, RowDamaged
from podpass.directory import errors, naming, resource_ids, resources, roles
from podpass.directory.model import (
    Change,
    Identity,
    ResourcePrincipal,
    RoleAssignment,
    RoleDefinition,
    Tenant,
    Vault,
)
from podpass.directory.store import rows
from podpass.directory.store.app_roles import AppRoles
from podpass.directory.store.audit import Audit
from podpass.directory.store.cache import Cache
from podpass.directory.store.clusters import Clusters
from podpass.directory.store.groups import Groups
from podpass.directory.store.identities import Identities
from podpass.directory.store.role_assignments import Assignments
from podpass.directory.store.role_definitions import Definitions
from podpass.directory.store.session import Session, Write
from podpass.directory.store.users import Users
from podpass.directory.store.vaults import Vaults

_MAX_NAME = 255


class Directory:
    """Tenants, identities, what they trust, what they may.

    What every token asks is kept in memory, and forgotten with any write, by whatever process it is made.
    """

    def __init__(
        self,
        database: Database,
        extra_resources: Sequence[ResourcePrincipal] = (),
        clock: Clock = system,
    ) -> None:
        self._resources = resources.Resources(extra_resources)
        self._session = session = Session(database, clock)
        self._tenants: Cache[str, Tenant] = session.cache()
        self.identities = Identities(session)
        self.groups = Groups(session)
        self.vaults = Vaults(session)
        self.clusters = Clusters(session)
        self.assignments = Assignments(session)
        self.role_definitions = Definitions(session)
        self.app_roles = AppRoles(session)
        self.users = Users(session)
        self.audit = Audit(session)

    async def open(self) -> None:
        """Make or upgrade the directory's tables; opens the database if nobody did, and then closes it too.

        Errors:  DatabaseUnusable.
        """
        await self._session.open()

    async def close(self) -> None:
        await self._session.close()

    def forget(self) -> None:
        """Keep nothing in memory of what was read."""
        self._session.forget()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # What is read with every token

    async def find_tenant(self, name: str) -> Tenant | None:
        """Find a tenant by id or domain, case apart."""
        # Beyond ASCII, lower() makes letters of signs that only look like them.
        if not name.isascii() or not name.isprintable() or len(name) > _MAX_NAME:
            return None
        return await self._tenants.get(name.lower(), lambda: self._load_tenant(name.lower()))

    async def find_identity(self, tenant_id: str, client_id: str) -> Identity | None:
        """Find an identity of this tenant, enabled or not; GUIDs are compared without case."""
        return await self.identities.get(tenant_id, client_id)

    async def find_trusting(
        self, tenant_id: str, client_id: str, issuer: str, subject: str
    ) -> Identity | None:
        """Find an identity of this tenant with what it trusts this subject of this issuer for.

        Shapes:  one that has such a credential comes with it and with what names it, the rest may be missing;
                 one that has none comes whole.
        Errors:  RowDamaged, for what is read of it; DatabaseFailed.
        """
        return await self.identities.trusting(tenant_id, client_id, issuer, subject)

    async def find_resource(self, tenant_id: str, uri: str) -> ResourcePrincipal | None:
        """Find what a token is asked for: built in, or an application of this tenant.

        An application is found by its client id or by one of its identifier URIs.
        """
        if found := self._resources.find(uri):
            return found
        identity = None
        if (client_id := resources.application_id(uri)) is not None:
            identity = await self.identities.get(tenant_id, client_id)
        if identity is None:
            identity = await self.identities.owner_of_uri(tenant_id, uri)
        return None if identity is None else resources.of_application(identity)

    async def find_vault(self, name: str) -> Vault | None:
        """Find a vault by name, case apart."""
        return await self.vaults.get(name)

    async def roles_at(self, principal_id: str, scope: str) -> tuple[str, ...]:
        """List the ids of the roles a principal holds at a scope, or at one above it."""
        held = await self.assignments.of(principal_id)
        return tuple(one.role for one in held if resource_ids.covers(one.scope, scope))

    async def roles_for(self, principal_id: str, scope: str) -> tuple[RoleDefinition, ...]:
        """List the roles, built in or not, a principal holds at a scope, or at one above it."""
        found = []
        for role in await self.roles_at(principal_id, scope):
            # One that cannot be read permits nothing, and must not take the others with it.
            with contextlib.suppress(RowDamaged):
                found.append(await self.role_definitions.get(role))
        return tuple(role for role in found if role is not None)

    async def permitted(
        self, principal_id: str, action: str, scope: str, *, data: bool = False
    ) -> bool:
        """Tell whether a principal may do something at a scope, by any role held there or above."""
        return roles.permit(await self.roles_for(principal_id, scope), action, data=data)

    # Tenants

    async def list_tenants(self) -> list[Tenant]:
        return await self._session.read(rows.read_tenants)

    async def create_tenant(self, tenant: Tenant) -> Change:
        """Add a tenant; one that is there already, and the same, is no fault.

        Errors:  InvalidValue, Conflict.
        """
        naming.check_guid("tenant_id", tenant.id)
        for domain in tenant.domains:
            naming.check_domain(domain)
        tenant = replace(tenant, domains=tuple(sorted(set(tenant.domains))))

        def step(write: Write) -> Change:
            if found := rows.read_tenants(write.connection, tenant.id):
                if found[0] != tenant:
                    raise errors.Conflict("the tenant is there already, and differs", id=tenant.id)
                return Change.UNCHANGED
            rows.write_tenant(write.connection, tenant)
            write.record("microsoft.directory/organization/create", tenant.id)
            return Change.CREATED

        return await self._session.write(step)

    async def _load_tenant(self, name: str) -> Tenant | None:
        return await self._session.read(lambda connection: rows.find_tenant(connection, name))

    # What people ask for by shorter names

    async def list_identities(self, tenant_id: str, name: str | None = None) -> list[Identity]:
        """List a tenant's identities by name, all or those of one name."""
        return await self.identities.list(tenant_id, name)

    async def list_vaults(self, tenant_id: str | None = None) -> list[Vault]:
        return await self.vaults.list(tenant_id)

    async def assign_role(self, assignment: RoleAssignment) -> Change:
        """Give a role, by name or id, to a principal at a scope.

        Errors:  UsageError for a role there is not.
        """
        role = await self.role_definitions.get(assignment.role)
        role = role or roles.find_role(assignment.role)
        return await self.assignments.put(replace(assignment, role=role.id))
