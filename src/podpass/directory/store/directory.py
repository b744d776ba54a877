"""The directory on a SQL database: reads for `exchange` and `resource`, writes for seeds and APIs.

Each kind of object has a separate module.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar, cast

from sqlalchemy import Connection, Row, Select, delete, func, select

from podpass import database
from podpass.clock import Clock, system
from podpass.database import CorruptRowError, Database
from podpass.directory import errors, naming, resource_ids, resources, roles
from podpass.directory.claims_expression import NO_KUBERNETES, KubernetesIssuers
from podpass.directory.model import (
    AuditEntry,
    Identity,
    ResourceInfo,
    ResourcePrincipal,
    RoleAssignment,
    RoleDefinition,
    Tenant,
    User,
    WriteResult,
)
from podpass.directory.store import identity_writes, rows
from podpass.directory.store.app_roles import AppRoles
from podpass.directory.store.audit_writer import write_entries
from podpass.directory.store.cache import Cache
from podpass.directory.store.extension import DirectoryExtension
from podpass.directory.store.identities import Identities
from podpass.directory.store.other_resources import OtherResources
from podpass.directory.store.permission_grants import PermissionGrants
from podpass.directory.store.resource_groups import ResourceGroups
from podpass.directory.store.role_assignments import RoleAssignments
from podpass.directory.store.role_definitions import RoleDefinitions
from podpass.directory.store.rows import from_json
from podpass.directory.store.schema import audit_entries, tenants, users
from podpass.directory.store.session import Session, Write

S = TypeVar("S")

_MAX_NAME = 255
# The hint never proposes to delete an audit row.
_REPAIR_HINT = (
    "stop podpass, then restore the database from a backup, or repair this row with sqlite3"
)
_USER_FIELDS = [column.name for column in users.columns if column.name != "name_key"]


class Directory:
    """Tenants, identities, federated credentials, roles and the audit log.

    Reads of token requests are cached. Every write by any process clears the caches. `extensions` are what
    the services of an instance add; an authority has none.
    """

    def __init__(
        self,
        database: Database,
        extra_resources: Sequence[ResourcePrincipal] = (),
        clock: Clock = system,
        expressions: KubernetesIssuers = NO_KUBERNETES,
        extensions: Sequence[DirectoryExtension] = (),
    ) -> None:
        self.expressions = expressions
        self._resources = resources.Resources(extra_resources)
        self._session = session = Session(database, clock, expressions)
        self._tenants: Cache[str, Tenant] = session.cache()
        self.identities = Identities(session)
        removals = [each.remove_below for each in extensions if each.remove_below is not None]
        self.groups = ResourceGroups(session, removals)
        self.other_resources = OtherResources(session)
        self.assignments = RoleAssignments(session)
        built_in = roles.RoleCatalogue(role for each in extensions for role in each.roles)
        self.role_definitions = RoleDefinitions(session, built_in)
        self.app_roles = AppRoles(session)
        self.grants = PermissionGrants(session)
        self.users = Users(session)
        self.audit = Audit(session)
        self._stores = {kind: kind(session) for each in extensions for kind in each.stores}
        self._listed = [
            self.store(each.resource_store) for each in extensions if each.resource_store
        ]

    def store(self, kind: type[S]) -> S:
        """Return the store of a service. Raises KeyError if the directory was opened without the service."""
        return cast("S", self._stores[kind])

    async def open(self) -> None:
        """Create or upgrade the tables. If the database is closed, open it; `close` then closes it.

        Raises DatabaseUnusable.
        """
        await self._session.open()

    async def close(self) -> None:
        await self._session.close()

    def clear_caches(self) -> None:
        """Clear all caches."""
        self._session.clear_caches()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # Reads of every token request

    async def find_tenant(self, name: str) -> Tenant | None:
        """Return a tenant by id or domain; upper and lower case are equal."""
        # Outside ASCII, lower() maps other characters to ASCII letters: the Kelvin sign becomes k.
        if not name.isascii() or not name.isprintable() or len(name) > _MAX_NAME:
            return None
        return await self._tenants.get(name.lower(), lambda: self._load_tenant(name.lower()))

    async def find_identity(self, tenant_id: str, client_id: str) -> Identity | None:
        """Return an identity of this tenant, enabled or disabled. GUIDs are compared without case."""
        return await self.identities.get(tenant_id, client_id)

    async def find_trusting(
        self, tenant_id: str, client_id: str, issuer: str, subject: str
    ) -> Identity | None:
        """Return an identity of this tenant with its federated credential for this issuer and subject.

        With such a credential, the identity has this credential and its names, and may lack its other
        members; without one, the identity is complete. Raises CorruptRowError for a row that is read;
        DatabaseFailed.
        """
        return await self.identities.find_trusting(tenant_id, client_id, issuer, subject)

    async def find_resource(self, tenant_id: str, uri: str) -> ResourcePrincipal | None:
        """Return the resource that a token is for: a built-in one, or an application of this tenant.

        An application is found by its client id or by one of its identifier URIs.
        """
        if found := self._resources.find(uri):
            return found
        identity = None
        if (client_id := resources.application_id(uri)) is not None:
            identity = await self.identities.get(tenant_id, client_id)
        if identity is None:
            identity = await self.identities.owner_of_uri(tenant_id, uri)
        return None if identity is None else resources.application_resource(identity)

    async def roles_at(self, principal_id: str, scope: str) -> tuple[str, ...]:
        """List the ids of the roles that a principal has at a scope or above it."""
        assigned = await self.assignments.list_for_principal(principal_id)
        return tuple(one.role for one in assigned if resource_ids.covers(one.scope, scope))

    async def roles_for(self, principal_id: str, scope: str) -> tuple[RoleDefinition, ...]:
        """List the built-in and custom roles that a principal has at a scope or above it."""
        found = []
        for role in await self.roles_at(principal_id, scope):
            # A corrupt role grants nothing, and must not hide the other roles.
            with contextlib.suppress(CorruptRowError):
                found.append(await self.role_definitions.get(role))
        return tuple(role for role in found if role is not None)

    async def is_permitted(
        self, principal_id: str, action: str, scope: str, *, data: bool = False
    ) -> bool:
        """Report whether a role of the principal, at this scope or above it, allows an action."""
        return roles.is_permitted(await self.roles_for(principal_id, scope), action, data=data)

    # Tenants

    async def list_tenants(self) -> list[Tenant]:
        return await self._session.read(rows.read_tenants)

    async def create_tenant(self, tenant: Tenant) -> WriteResult:
        """Create a tenant. An identical existing tenant is accepted. Raises InvalidValue, Conflict."""
        naming.check_guid("tenant_id", tenant.id)
        for domain in tenant.domains:
            naming.check_domain(domain)
        tenant = replace(tenant, domains=tuple(sorted(set(tenant.domains))))

        def step(write: Write) -> WriteResult:
            if found := rows.read_tenants(write.connection, tenant.id):
                if found[0] != tenant:
                    raise errors.Conflict("the tenant exists with other values", id=tenant.id)
                return WriteResult.UNCHANGED
            rows.write_tenant(write.connection, tenant)
            write.record("microsoft.directory/organization/create", tenant.id)
            return WriteResult.CREATED

        return await self._session.write(step)

    async def _load_tenant(self, name: str) -> Tenant | None:
        return await self._session.read(lambda connection: rows.find_tenant(connection, name))

    # Shortcuts

    async def list_identities(self, tenant_id: str, name: str | None = None) -> list[Identity]:
        """List a tenant's identities by name: all, or those with one name."""
        return await self.identities.list(tenant_id, name)

    async def list_service_resources(self, tenant_id: str) -> list[ResourceInfo]:
        """List the resources of a tenant that services store in tables of their own."""
        return [each for store in self._listed for each in await store.list_resources(tenant_id)]

    async def assign_role(self, assignment: RoleAssignment) -> WriteResult:
        """Assign a role, by name or id, to a principal at a scope. Raises UsageError for an unknown role."""
        role = await self.role_definitions.get(assignment.role)
        role = role or self.role_definitions.built_in.find(assignment.role)
        return await self.assignments.put(replace(assignment, role=role.id))


class Audit:
    """The audit log. No method deletes an entry."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def record(self, one: AuditEntry) -> None:
        """Record a change of an object that is stored elsewhere."""
        # Every change of a secret is recorded here, and must not clear the caches of the token path.
        await self._session.write(
            lambda write: write_entries(write.connection, [one]), clears_caches=False
        )

    async def last_serial(self) -> int:
        """Return the number of the newest entry; 0 if there is none."""
        query = select(func.max(audit_entries.c.serial))
        return await self._session.read(lambda c: c.execute(query).scalar_one() or 0)

    async def list(
        self, *, after: int | None = None, limit: int = 100, since: float | None = None
    ) -> list[AuditEntry]:
        """List entries, newest first: those before the entry `after`, none older than `since`."""
        query = select(audit_entries).order_by(audit_entries.c.serial.desc())
        if after is not None:
            query = query.where(audit_entries.c.serial < after)
        if since is not None:
            query = query.where(audit_entries.c.time >= since)
        return await self._session.read(
            lambda connection: database.fetch_page(connection, query, limit, _to_audit_entry)
        )


@database.row_decoder(audit_entries, key=lambda row: row.serial, hint=_REPAIR_HINT)
def _to_audit_entry(row: Row[Any]) -> AuditEntry:
    values = row._mapping  # noqa: SLF001 - the documented access to the names of a row
    details = from_json(row.details)
    if not all(isinstance(value, str) for value in details.values()):
        raise ValueError("the details are not all text")
    return AuditEntry(**{**values, "details": details})


class Users:
    """Users by id, or by user principal name, compared without case."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, user_id: str) -> User | None:
        """Return a user by id, or None. Raises CorruptRowError."""
        query = select(users).where(users.c.id == user_id.lower())
        return await self._session.read(lambda connection: _fetch_first_user(connection, query))

    async def find(self, tenant_id: str, name: str) -> User | None:
        """Return a user by user principal name, or None. Raises CorruptRowError."""
        if not name.isascii() or not name.isprintable():
            return None
        query = select(users).where(
            users.c.tenant_id == tenant_id.lower(), users.c.name_key == name.lower()
        )
        return await self._session.read(lambda connection: _fetch_first_user(connection, query))

    async def put(self, user: User) -> WriteResult:
        """Create a user, or change its names and password.

        Raises InvalidValue; NotFound for the tenant; Conflict for the name of another user.
        """
        naming.check_guid("id", user.id)
        naming.raise_fault(naming.user_name_fault(user.name))
        return await self._session.write(lambda write: _put_user(write, user))

    async def delete(self, user_id: str) -> bool:
        """Delete a user with its role assignments and consents. Return whether it existed."""
        return await self._session.write(lambda write: _delete_user(write, user_id.lower()))

    # The last public method, because `list` in annotations below it would mean this method.
    async def list(
        self, tenant_id: str, *, after: str | None = None, limit: int | None = None
    ) -> list[User]:
        """List a tenant's users by name, after the name `after`."""
        query = select(users).where(users.c.tenant_id == tenant_id.lower())
        if after is not None:
            query = query.where(users.c.name_key > after.lower())
        query = query.order_by(users.c.name_key)
        return await self._session.read(
            lambda connection: database.fetch_page(connection, query, limit, _to_user)
        )


def _fetch_first_user(connection: Connection, query: Select[Any]) -> User | None:
    return database.fetch_first(connection, query, _to_user)


@database.row_decoder(users, key=lambda row: row.id)
def _to_user(row: Row[Any]) -> User:
    return User(**{name: getattr(row, name) for name in _USER_FIELDS})


def _delete_user(write: Write, user_id: str) -> bool:
    query = delete(users).where(users.c.id == user_id).returning(users.c.tenant_id)
    if (tenant_id := write.connection.execute(query).scalar()) is None:
        return False
    identity_writes.delete_assignments(write.connection, tenant_id, user_id)
    write.record("microsoft.directory/users/delete", user_id)
    return True


def _put_user(write: Write, user: User) -> WriteResult:
    old = _fetch_first_user(write.connection, select(users).where(users.c.id == user.id))
    new = replace(user, created=(old.created if old else user.created) or write.now)
    if old == new:
        return WriteResult.UNCHANGED
    tenant = select(tenants.c.id).filter_by(id=user.tenant_id)
    if write.connection.execute(tenant).first() is None:
        raise errors.NotFound("the tenant does not exist", tenant_id=user.tenant_id)
    values = {name: getattr(new, name) for name in _USER_FIELDS if name != "id"}
    values["name_key"] = new.name.lower()
    action = "create" if old is None else "basic/update"
    write.record(f"microsoft.directory/users/{action}", user.id)
    return write.store(users, {"id": user.id}, values, exists=old is not None)
