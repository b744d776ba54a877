"""The directory on a SQL database: reads for `exchange` and `resource`, writes for seeds and APIs.

Methods are async because a caller must not care where the data is; a local commit is shorter than a
switch to a thread, so they run in the caller's loop. What is managed is grouped by noun, a module each.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from sqlalchemy import select

from podpass.clock import Clock, system
from podpass.database import RowDamaged
from podpass.directory import arm, resources, roles, rows, rules
from podpass.directory.app_roles import AppRoles
from podpass.directory.assignments import Assignments
from podpass.directory.audit import Audit
from podpass.directory.cache import Cache
from podpass.directory.clusters import Clusters
from podpass.directory.definitions import Definitions
from podpass.directory.groups import Groups
from podpass.directory.identities import Identities
from podpass.directory.model import (
    Change,
    Identity,
    ResourcePrincipal,
    RoleAssignment,
    RoleDefinition,
    Tenant,
    Vault,
)
from podpass.directory.schema import tenant_domains
from podpass.directory.session import Session
from podpass.directory.users import Users
from podpass.directory.vaults import Vaults

_MAX_NAME = 255


class Directory:
    """Tenants, identities, what they trust, what they may.

    Reads are kept in memory and forgotten with any write through this object.
    """

    def __init__(
        self,
        url: str,
        extra_resources: Sequence[ResourcePrincipal] = (),
        clock: Clock = system,
    ) -> None:
        self._resources = resources.Resources(extra_resources)
        self._session = session = Session(url, clock)
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
        """Open the database, making it if it is new.

        Errors:  DatabaseUnusable.
        """
        self._session.open()

    async def close(self) -> None:
        self._session.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # What is read with every token

    async def find_tenant(self, name: str) -> Tenant | None:
        """Find a tenant by id or domain, case apart."""
        # Beyond ASCII, lower() makes letters of signs that only look like them.
        if not name.isascii() or len(name) > _MAX_NAME:
            return None
        return self._tenants.get(name.lower(), lambda: self._load_tenant(name.lower()))

    async def find_identity(self, tenant_id: str, client_id: str) -> Identity | None:
        """Find an identity of this tenant, enabled or not; GUIDs are compared without case."""
        return await self.identities.get(tenant_id, client_id)

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
        return tuple(one.role for one in held if arm.covers(one.scope, scope))

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
        with self._session.reading() as connection:
            return rows.read_tenants(connection)

    async def create_tenant(self, tenant: Tenant) -> Change:
        """Add a tenant; one that is there already, and the same, is no fault.

        Errors:  InvalidValue, Conflict.
        """
        rules.check_guid("tenant_id", tenant.id)
        for domain in tenant.domains:
            rules.check_domain(domain)
        tenant = replace(tenant, domains=tuple(sorted(set(tenant.domains))))
        with self._session.writing() as write:
            if found := rows.read_tenants(write.connection, tenant.id):
                if found[0] != tenant:
                    raise rules.Conflict("the tenant is there already, and differs", id=tenant.id)
                return Change.UNCHANGED
            rows.write_tenant(write.connection, tenant)
            write.record("microsoft.directory/organization/create", tenant.id)
        return Change.CREATED

    def _load_tenant(self, name: str) -> Tenant | None:
        with self._session.reading() as connection:
            if not rules.is_lower_guid(name):
                query = select(tenant_domains.c.tenant_id).filter_by(domain=name)
                name = connection.scalar(query) or ""
            found = rows.read_tenants(connection, name)
        return found[0] if found else None

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
