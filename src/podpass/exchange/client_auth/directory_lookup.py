"""Looks up tenants, clients and resources in the directory, with the AADSTS error if one does not exist."""

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from podpass.directory.model import (
    AppRoleAssignment,
    Identity,
    IdentityKind,
    PermissionGrant,
    ResourcePrincipal,
    Tenant,
    User,
)
from podpass.exchange.client_auth.assertion import UnverifiedClaim
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.guids import is_guid

# Path segments that do not name a single tenant.
SHARED_TENANTS = frozenset({"common", "organizations", "consumers"})
_DOMAIN = re.compile(
    r"(?=.{1,253}$)([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z0-9-]{2,63}"
)


class UserReader(Protocol):
    """Reads the users of the directory."""

    async def get(self, user_id: str) -> User | None: ...
    async def find(self, tenant_id: str, name: str) -> User | None: ...


class AppRoleReader(Protocol):
    """Reads which principals have which app roles."""

    async def roles_of(self, principal_id: str, resource_app_id: str) -> tuple[str, ...]: ...
    async def list(self, *, principal_id: str) -> Sequence[AppRoleAssignment]: ...


class GrantStore(Protocol):
    """Reads and stores consents."""

    async def granted(
        self, *, tenant_id: str, client_id: str, resource_id: str, user_id: str
    ) -> frozenset[str]: ...
    async def add(self, grants: Iterable[PermissionGrant]) -> None: ...


class DirectoryReader(Protocol):
    """The directory data that the token service reads, and the consents that it writes."""

    @property
    def users(self) -> UserReader: ...
    @property
    def app_roles(self) -> AppRoleReader: ...
    @property
    def grants(self) -> GrantStore: ...

    async def list_tenants(self) -> Sequence[Tenant]: ...
    async def find_tenant(self, name: str) -> Tenant | None: ...
    async def find_identity(self, tenant_id: str, client_id: str) -> Identity | None: ...
    async def find_trusting(
        self, tenant_id: str, client_id: str, issuer: str, subject: str
    ) -> Identity | None: ...
    async def find_resource(self, tenant_id: str, uri: str) -> ResourcePrincipal | None: ...


async def find_tenant(directory: DirectoryReader, name: str, *, grant: str) -> Tenant:
    """Find a tenant by ID or domain. Raises AadstsError 9001023, 900023, 90002."""
    if name.lower() in SHARED_TENANTS:
        raise AadstsError(numbers.TENANT_NOT_SPECIFIC, tenant=name, grant=grant)
    if not is_guid(name) and _DOMAIN.fullmatch(name) is None:
        raise AadstsError(numbers.MALFORMED_TENANT, tenant=name)
    tenant = await directory.find_tenant(name)
    if tenant is None:
        raise AadstsError(numbers.UNKNOWN_TENANT, tenant=name)
    return tenant


async def find_client(
    directory: DirectoryReader, tenant: Tenant, client: str, claim: UnverifiedClaim | None = None
) -> Identity:
    """Find an application or managed identity that can act in a tenant.

    With a claim that one credential of the identity matches, the result may have only this credential: two
    credentials of an identity cannot have the same issuer and subject, so no other credential can match. If
    none matches, the result has all credentials, because they determine the error. Raises AadstsError 700016,
    7000112, 7000229.
    """
    identity = None
    if is_guid(client):
        identity = await _find(directory, tenant.id, client.lower(), claim)
    if identity is None:
        raise AadstsError(
            numbers.UNKNOWN_CLIENT, client=client, tenant=tenant.display_name or tenant.id
        )
    if not identity.enabled:
        raise AadstsError(numbers.CLIENT_DISABLED, client=client, name=identity.name)
    if not identity.has_principal:
        raise AadstsError(numbers.NO_SERVICE_PRINCIPAL, client=client, tenant=tenant.id)
    return identity


async def _find(
    directory: DirectoryReader, tenant_id: str, client_id: str, claim: UnverifiedClaim | None
) -> Identity | None:
    if claim is None:
        return await directory.find_identity(tenant_id, client_id)
    found = await directory.find_trusting(tenant_id, client_id, claim.issuer, claim.subject)
    if found is None or len(found.credentials) != 1:
        return found
    [only] = found.credentials
    # If the audience differs, the error depends on the other credentials too.
    if any(each in claim.audiences for each in only.audiences):
        return found
    return await directory.find_identity(tenant_id, client_id)


async def find_resource(directory: DirectoryReader, tenant: Tenant, name: str) -> ResourcePrincipal:
    """Find the resource that a token is requested for. Raises AadstsError 500011."""
    resource = await directory.find_resource(tenant.id, name)
    if resource is None:
        raise AadstsError(
            numbers.UNKNOWN_RESOURCE, resource=name, tenant=tenant.display_name or tenant.id
        )
    return resource


async def is_assignment_missing(
    directory: DirectoryReader, application: Identity, principal: str
) -> bool:
    """Return whether an application requires assignment, and this principal is not assigned to it."""
    if application.kind is not IdentityKind.APPLICATION:
        return False
    # A corrupt value counts as required, so that it grants nothing.
    required = application.principal.get("appRoleAssignmentRequired")
    if required is None or required is False:
        return False
    assignments = await directory.app_roles.list(principal_id=principal)
    return all(each.resource_id != application.object_id for each in assignments)
