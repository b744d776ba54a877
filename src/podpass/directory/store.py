"""The directory on a SQL database: reads for `exchange` and `resource`, writes for seeds and APIs.

Methods are async because a caller must not care where the data is; a local commit is shorter than a
switch to a thread, so they run in the caller's loop.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Self

from sqlalchemy import Connection, Engine, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from podpass import database
from podpass.directory import arm, resources, rows, rules
from podpass.directory.cache import Cache
from podpass.directory.model import (
    Change,
    FederatedCredential,
    Identity,
    ResourcePrincipal,
    RoleAssignment,
    Tenant,
    Vault,
)
from podpass.directory.roles import find_role
from podpass.directory.schema import VERSION, metadata, role_assignments, tenant_domains, vaults

_KEPT = 4096
_MAX_NAME = 255


class Directory:
    """Tenants, identities, what they trust, what they may.

    Reads are kept in memory and forgotten with any write through this object.
    """

    def __init__(self, url: str, extra_resources: Sequence[ResourcePrincipal] = ()) -> None:
        self._url = url
        self._resources = resources.Resources(extra_resources)
        self._engine: Engine | None = None
        self._tenants: Cache[str, Tenant] = Cache(_KEPT)
        self._identities: Cache[tuple[str, str], Identity] = Cache(_KEPT)
        self._vaults: Cache[str, Vault] = Cache(_KEPT)
        self._roles: Cache[str, tuple[RoleAssignment, ...]] = Cache(_KEPT)

    async def open(self) -> None:
        """Open the database, making it if it is new.

        Errors:  DatabaseUnusable.
        """
        self._engine = database.open_database(self._url, metadata, version=VERSION)

    async def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
        self._forget()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # Reads

    async def find_tenant(self, name: str) -> Tenant | None:
        """Find a tenant by id or domain, case apart."""
        # Beyond ASCII, lower() makes letters of signs that only look like them.
        if not name.isascii() or len(name) > _MAX_NAME:
            return None
        return self._tenants.get(name.lower(), lambda: self._load_tenant(name.lower()))

    async def find_identity(self, tenant_id: str, client_id: str) -> Identity | None:
        """Find an identity of this tenant, enabled or not; GUIDs are compared without case."""
        key = (tenant_id.lower(), client_id.lower())
        if not rules.is_lower_guid(key[1]):
            return None
        return self._identities.get(key, lambda: self._load_identity(*key))

    async def find_resource(self, tenant_id: str, uri: str) -> ResourcePrincipal | None:
        """Find what a token is asked for: built in, or an application of this tenant."""
        if found := self._resources.find(uri):
            return found
        if (client_id := resources.application_id(uri)) is None:
            return None
        identity = await self.find_identity(tenant_id, client_id)
        return None if identity is None else resources.of_application(identity)

    async def find_vault(self, name: str) -> Vault | None:
        """Find a vault by name, case apart."""
        if not name.isascii() or len(name) > _MAX_NAME:
            return None
        return self._vaults.get(name.lower(), lambda: self._load_vault(name.lower()))

    async def roles_at(self, principal_id: str, scope: str) -> tuple[str, ...]:
        """List the ids of the roles a principal holds at a scope, or at one above it."""
        held = self._roles.get(principal_id, lambda: self._load_roles(principal_id)) or ()
        return tuple(one.role for one in held if arm.covers(one.scope, scope))

    async def list_tenants(self) -> list[Tenant]:
        with self._reading() as connection:
            return rows.read_tenants(connection)

    async def list_identities(self, tenant_id: str, name: str | None = None) -> list[Identity]:
        """List a tenant's identities by name, all or those of one name."""
        fields = {} if name is None else {"name": name}
        query = rows.select_identities(tenant_id, **fields)
        with self._reading() as connection:
            return rows.to_identities(connection.execute(query))

    async def list_vaults(self, tenant_id: str | None = None) -> list[Vault]:
        query = select(vaults).order_by(vaults.c.name)
        if tenant_id is not None:
            query = query.filter_by(tenant_id=tenant_id)
        with self._reading() as connection:
            return [Vault(**row) for row in connection.execute(query).mappings()]

    async def list_assignments(self, scope: str | None = None) -> list[RoleAssignment]:
        """List role assignments, all or those at exactly one scope."""
        query = select(role_assignments).order_by(*role_assignments.c)
        if scope is not None:
            query = query.filter_by(scope=scope.lower())
        with self._reading() as connection:
            return [RoleAssignment(**row) for row in connection.execute(query).mappings()]

    # Writes: durable when they return

    async def create_tenant(self, tenant: Tenant) -> Change:
        """Add a tenant; one that is there already, and the same, is no fault.

        Errors:  InvalidValue, Conflict.
        """
        rules.check_guid("tenant_id", tenant.id)
        for domain in tenant.domains:
            rules.check_domain(domain)
        tenant = replace(tenant, domains=tuple(sorted(set(tenant.domains))))
        with self._writing() as connection:
            if found := rows.read_tenants(connection, tenant.id):
                if found[0] != tenant:
                    raise rules.Conflict("the tenant is there already, and differs", id=tenant.id)
                return Change.UNCHANGED
            rows.write_tenant(connection, tenant)
        return Change.CREATED

    async def put_identity(self, identity: Identity) -> Change:
        """Add or change an identity; afterwards it has exactly these credentials.

        Errors:  InvalidValue, InvalidCredential, TooManyCredentials, TrustNotUnique, Conflict; NotFound
                 for the tenant.
        """
        rules.check_identity(identity)
        with self._writing() as connection:
            if not rows.read_tenants(connection, identity.tenant_id):
                raise rules.NotFound("there is no such tenant", tenant_id=identity.tenant_id)
            old = self._read_identity(connection, identity.tenant_id, identity.client_id)
            return _write_identity(connection, old, identity)

    async def delete_identity(self, tenant_id: str, client_id: str) -> bool:
        """Delete an identity with its credentials and role assignments, if it is there."""
        with self._writing() as connection:
            old = self._read_identity(connection, tenant_id, client_id)
            if old is None:
                return False
            connection.execute(rows.delete_identity(tenant_id, client_id))
            # A later identity must never inherit what this one might.
            connection.execute(delete(role_assignments).filter_by(principal_id=old.object_id))
        return True

    async def put_credential(
        self, tenant_id: str, client_id: str, credential: FederatedCredential
    ) -> Change:
        """Add a federated credential, or change the one of this name.

        Errors:  InvalidCredential, TooManyCredentials, TrustNotUnique; NotFound for the identity.
        """
        rules.check_credential(credential)
        with self._writing() as connection:
            old = self._read_identity(connection, tenant_id, client_id)
            if old is None:
                raise rules.NotFound("there is no such identity", client_id=client_id)
            credentials = rules.replaced(old.credentials, credential)
            rules.check_together(credentials)
            change = _write_identity(connection, old, replace(old, credentials=credentials))
            added = len(credentials) > len(old.credentials)
        return Change.CREATED if added else change

    async def delete_credential(self, tenant_id: str, client_id: str, name: str) -> bool:
        """Delete a federated credential, if it is there."""
        with self._writing() as connection:
            old = self._read_identity(connection, tenant_id, client_id)
            kept = tuple(c for c in old.credentials if c.name != name) if old else ()
            if old is None or len(kept) == len(old.credentials):
                return False
            rows.write_identity(connection, replace(old, credentials=kept))
        return True

    async def put_vault(self, vault: Vault) -> Change:
        """Add a vault, or change its location.

        Errors:  InvalidValue; Conflict when tenant or resource id differ from those it has.
        """
        if fault := rules.vault_name_fault(vault.name):
            raise rules.InvalidValue(fault.message, field="name")
        with self._writing() as connection:
            old = self._read_vault(connection, vault.name)
            if old == vault:
                return Change.UNCHANGED
            values = {"tenant_id": vault.tenant_id, "location": vault.location}
            if old is None:
                given = insert(vaults).values(
                    name=vault.name, resource_id=vault.resource_id, **values
                )
                connection.execute(given)
                return Change.CREATED
            if replace(old, location=vault.location) != vault:
                raise rules.Conflict("the vault belongs elsewhere already", name=vault.name)
            connection.execute(update(vaults).filter_by(name=vault.name).values(**values))
        return Change.UPDATED

    async def delete_vault(self, name: str) -> bool:
        """Delete a vault with the role assignments at it, if it is there."""
        with self._writing() as connection:
            old = self._read_vault(connection, name)
            if old is None:
                return False
            connection.execute(delete(vaults).filter_by(name=name))
            scope = func.lower(role_assignments.c.scope) == old.resource_id.lower()
            connection.execute(delete(role_assignments).where(scope))
        return True

    async def assign_role(self, assignment: RoleAssignment) -> Change:
        """Give a role, by name or id, to a principal at a scope.

        Errors:  UsageError for a role there is not.
        """
        values = _assignment(assignment)
        with self._writing() as connection:
            if connection.execute(select(role_assignments).filter_by(**values)).first():
                return Change.UNCHANGED
            connection.execute(insert(role_assignments).values(**values))
        return Change.CREATED

    async def remove_role(self, assignment: RoleAssignment) -> bool:
        """Take a role away again, if it is held."""
        statement = delete(role_assignments).filter_by(**_assignment(assignment))
        with self._writing() as connection:
            return connection.execute(statement).rowcount > 0

    # Inside

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        assert self._engine is not None, "the directory is not open"
        with database.reading(self._engine) as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        assert self._engine is not None, "the directory is not open"
        try:
            with self._engine.begin() as connection:
                yield connection
        except IntegrityError as exc:
            raise rules.Conflict("another entry has this name or id already") from exc
        finally:
            self._forget()

    def _forget(self) -> None:
        for cache in (self._tenants, self._identities, self._vaults, self._roles):
            cache.clear()

    def _load_tenant(self, name: str) -> Tenant | None:
        with self._reading() as connection:
            if not rules.is_lower_guid(name):
                query = select(tenant_domains.c.tenant_id).filter_by(domain=name)
                name = connection.scalar(query) or ""
            found = rows.read_tenants(connection, name)
        return found[0] if found else None

    def _load_identity(self, tenant_id: str, client_id: str) -> Identity | None:
        with self._reading() as connection:
            return self._read_identity(connection, tenant_id, client_id)

    def _load_vault(self, name: str) -> Vault | None:
        with self._reading() as connection:
            return self._read_vault(connection, name)

    def _load_roles(self, principal_id: str) -> tuple[RoleAssignment, ...]:
        query = select(role_assignments).filter_by(principal_id=principal_id)
        with self._reading() as connection:
            return tuple(RoleAssignment(**row) for row in connection.execute(query).mappings())

    @staticmethod
    def _read_identity(connection: Connection, tenant_id: str, client_id: str) -> Identity | None:
        query = rows.select_identities(tenant_id, client_id=client_id)
        found = rows.to_identities(connection.execute(query))
        return found[0] if found else None

    @staticmethod
    def _read_vault(connection: Connection, name: str) -> Vault | None:
        row = connection.execute(select(vaults).filter_by(name=name)).mappings().first()
        return Vault(**row) if row else None


def _write_identity(connection: Connection, old: Identity | None, new: Identity) -> Change:
    order = sorted(new.credentials, key=lambda credential: credential.name)
    if old == replace(new, credentials=tuple(order)):
        return Change.UNCHANGED
    if old is not None:
        fixed = ("object_id", "kind", "resource_id")
        changed = [field for field in fixed if getattr(old, field) != getattr(new, field)]
        if changed:
            raise rules.Conflict(
                f"{', '.join(changed)} of an identity cannot change", client_id=new.client_id
            )
    rows.write_identity(connection, new)
    return Change.CREATED if old is None else Change.UPDATED


def _assignment(assignment: RoleAssignment) -> dict[str, str]:
    return {
        "principal_id": assignment.principal_id,
        "scope": assignment.scope.lower(),
        "role": find_role(assignment.role).id,
    }
