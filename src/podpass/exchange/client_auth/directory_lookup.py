"""What the exchange asks the directory, each with the refusal for what is not there."""

import re
from collections.abc import Sequence
from typing import Protocol

from podpass.directory.model import (
    AppRoleAssignment,
    Identity,
    IdentityKind,
    ResourcePrincipal,
    Tenant,
    User,
)
from podpass.exchange.client_auth.assertion import Claim
from podpass.exchange.errors.catalogue import Refused
from podpass.guids import is_guid

# Names under which no tenant of its own can be meant.
SHARED_TENANTS = frozenset({"common", "organizations", "consumers"})
_DOMAIN = re.compile(
    r"(?=.{1,253}$)([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z0-9-]{2,63}"
)


class Users(Protocol):
    """The directory's people."""

    async def get(self, user_id: str) -> User | None: ...
    async def find(self, tenant_id: str, name: str) -> User | None: ...


class AppRoles(Protocol):
    """Which principal has which role of an application."""

    async def roles_of(self, principal_id: str, resource_app_id: str) -> tuple[str, ...]: ...
    async def list(self, *, principal_id: str) -> Sequence[AppRoleAssignment]: ...


class Directory(Protocol):
    """What the exchange reads of the directory."""

    @property
    def users(self) -> Users: ...
    @property
    def app_roles(self) -> AppRoles: ...

    async def list_tenants(self) -> Sequence[Tenant]: ...
    async def find_tenant(self, name: str) -> Tenant | None: ...
    async def find_identity(self, tenant_id: str, client_id: str) -> Identity | None: ...
    async def find_trusting(
        self, tenant_id: str, client_id: str, issuer: str, subject: str
    ) -> Identity | None: ...
    async def find_resource(self, tenant_id: str, uri: str) -> ResourcePrincipal | None: ...


async def find_tenant(directory: Directory, name: str, *, grant: str) -> Tenant:
    """Find the tenant of a path, by id or domain.

    Errors:  Refused 9001023, 900023, 90002.
    """
    if name.lower() in SHARED_TENANTS:
        raise Refused(9001023, tenant=name, grant=grant)
    if not is_guid(name) and _DOMAIN.fullmatch(name) is None:
        raise Refused(900023, tenant=name)
    tenant = await directory.find_tenant(name)
    if tenant is None:
        raise Refused(90002, tenant=name)
    return tenant


async def find_client(
    directory: Directory, tenant: Tenant, client: str, claim: Claim | None = None
) -> Identity:
    """Find an application or managed identity that may act in a tenant.

    Shapes:  with a claim that one of its credentials trusts, that credential may be the only one that comes:
             of those of an identity no two have issuer and subject in common, so no other can trust it. Where
             none does, all come, since they say what is wrong. Damage in what does not come is not seen.
    Errors:  Refused 700016, 7000112, 7000229.
    """
    identity = None
    if is_guid(client):
        identity = await _find(directory, tenant.id, client.lower(), claim)
    if identity is None:
        raise Refused(700016, client=client, tenant=tenant.display_name or tenant.id)
    if not identity.enabled:
        raise Refused(7000112, client=client, name=identity.name)
    if not identity.has_principal:
        raise Refused(7000229, client=client, tenant=tenant.id)
    return identity


async def _find(
    directory: Directory, tenant_id: str, client_id: str, claim: Claim | None
) -> Identity | None:
    if claim is None:
        return await directory.find_identity(tenant_id, client_id)
    found = await directory.find_trusting(tenant_id, client_id, claim.issuer, claim.subject)
    if found is None or len(found.credentials) != 1:
        return found
    [only] = found.credentials
    # For another audience another one may be meant, and is then refused for its subject.
    if any(each in claim.audiences for each in only.audiences):
        return found
    return await directory.find_identity(tenant_id, client_id)


async def find_resource(directory: Directory, tenant: Tenant, asked: str) -> ResourcePrincipal:
    """Find what a token is asked for.

    Errors:  Refused 500011.
    """
    resource = await directory.find_resource(tenant.id, asked)
    if resource is None:
        raise Refused(500011, resource=asked, tenant=tenant.display_name or tenant.id)
    return resource


async def assignment_missing(directory: Directory, application: Identity, principal: str) -> bool:
    """Tell whether an application wants its callers assigned, and this principal is not."""
    if application.kind is not IdentityKind.APPLICATION:
        return False
    # Anything else that a document may hold there is damage, and opens nothing.
    wanted = application.principal.get("appRoleAssignmentRequired")
    if wanted is None or wanted is False:
        return False
    held = await directory.app_roles.list(principal_id=principal)
    return all(each.resource_id != application.object_id for each in held)
