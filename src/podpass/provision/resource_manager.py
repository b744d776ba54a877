"""Managed identities, their federated credentials, and role assignments in Azure Resource Manager."""

import re
from urllib.parse import quote

from podpass.directory.model import FederatedCredential
from podpass.provision.api_client import ApiClient, Object, quote_literal, quote_segment, required
from podpass.provision.connection import AzureConnection, header
from podpass.provision.errors import ApiError, SignInFailed
from podpass.provision.model import AssignmentInfo, IdentityInfo, RoleInfo

_SUBSCRIPTIONS = {"api-version": "2022-12-01"}
_GROUPS = {"api-version": "2021-04-01"}
_IDENTITIES = {"api-version": "2023-01-31"}
_ROLES = {"api-version": "2022-04-01"}
_AUTHORIZATION = "/providers/Microsoft.Authorization"
_TENANT = re.compile(r'authorization_uri="[^"]*/([0-9a-f-]{36})"')
# Resource Manager does not find a principal that Entra has just created.
_UNKNOWN_PRINCIPAL = "PrincipalNotFound"


async def discover_tenant(connection: AzureConnection, manager: str, subscription_id: str) -> str:
    """Return the tenant of a subscription, which Resource Manager names to a caller without a token.

    Raises ApiError, SignInFailed.
    """
    url = f"{manager}/subscriptions/{subscription_id}?api-version={_SUBSCRIPTIONS['api-version']}"
    response = await connection.send("GET", url)
    challenge = header(response, "www-authenticate")
    if response.status != 401 or not challenge:
        raise SignInFailed(
            f"Resource Manager does not know the subscription {subscription_id}"
            f" (status {response.status})",
            hint="check --subscription-id and --azure-env; `az account list` prints your subscriptions",
        )
    found = _TENANT.search(challenge)
    if found is None:
        raise SignInFailed(
            "the challenge of Resource Manager names no tenant", hint="check --azure-env"
        )
    return found[1]


class ManagerClient:
    """The requests to Resource Manager that a workload identity needs, in one subscription."""

    def __init__(self, client: ApiClient, subscription_id: str) -> None:
        self._client = client
        self._subscription = f"/subscriptions/{subscription_id}"

    async def check_subscription(self) -> None:
        """Check that the account sees the subscription. Raises ApiError."""
        await self._client.get(self._subscription, _SUBSCRIPTIONS)

    async def find_group_location(self, group: str) -> str | None:
        """Return the location of a resource group; None if there is no such group. Raises ApiError."""
        path = f"{self._subscription}/resourcegroups/{quote_segment(group)}"
        found = await self._client.find(path, _GROUPS)
        return None if found is None else str(found.get("location") or "")

    async def find_identity(self, group: str, name: str) -> IdentityInfo | None:
        """Return a managed identity. Raises ApiError."""
        found = await self._client.find(self._identity(group, name), _IDENTITIES)
        return _identity(found) if found else None

    async def put_identity(self, group: str, name: str, location: str) -> IdentityInfo:
        """Create a managed identity. Raises ApiError."""
        path = self._identity(group, name)
        return _identity(await self._client.send("PUT", path, {"location": location}, _IDENTITIES))

    async def delete_identity(self, group: str, name: str) -> bool:
        """Delete a managed identity; return whether it existed. Raises ApiError."""
        return await self._delete(self._identity(group, name), _IDENTITIES)

    async def list_credentials(self, group: str, name: str) -> list[FederatedCredential]:
        """Return the federated credentials of a managed identity. Raises ApiError."""
        path = f"{self._identity(group, name)}/federatedIdentityCredentials"
        return [_credential(each) for each in await self._client.list(path, _IDENTITIES)]

    async def put_credential(self, group: str, name: str, credential: FederatedCredential) -> None:
        """Create a federated credential of a managed identity. Raises ApiError."""
        properties = {
            "issuer": credential.issuer,
            "subject": credential.subject,
            "audiences": list(credential.audiences),
        }
        path = self._credential(group, name, credential.name)

        async def put() -> Object | None:
            return await self._client.send("PUT", path, {"properties": properties}, _IDENTITIES)

        await self._client.until(
            put,
            reason="waiting for another write of this identity's credentials",
            retry=lambda exc: exc.api_code.startswith("ConcurrentFederatedIdentityCredentials"),
        )

    async def delete_credential(self, group: str, name: str, credential: str) -> bool:
        """Delete a federated credential of a managed identity; return whether it existed. Raises ApiError."""
        return await self._delete(self._credential(group, name, credential), _IDENTITIES)

    async def find_roles(self, scope: str, role: str) -> list[RoleInfo]:
        """Return the role definitions with a name at a scope. Raises ApiError."""
        params = {**_ROLES, "$filter": f"roleName eq {quote_literal(role)}"}
        path = f"{_quote_scope(scope)}{_AUTHORIZATION}/roleDefinitions"
        found = await self._client.list(path, params)
        return [RoleInfo(id=required(each, "id"), name=role) for each in found]

    async def get_role(self, scope: str, guid: str) -> RoleInfo | None:
        """Return a role definition by its GUID. Raises ApiError."""
        path = f"{_quote_scope(scope)}{_AUTHORIZATION}/roleDefinitions/{quote_segment(guid)}"
        found = await self._client.find(path, _ROLES)
        if found is None:
            return None
        name = (found.get("properties") or {}).get("roleName") or guid
        return RoleInfo(id=required(found, "id"), name=str(name))

    async def find_assignment(
        self, scope: str, role_id: str, principal_id: str
    ) -> AssignmentInfo | None:
        """Return the assignment of a role to a principal at exactly this scope. Raises ApiError."""
        params = {**_ROLES, "$filter": f"principalId eq {quote_literal(principal_id)}"}
        path = f"{_quote_scope(scope)}{_AUTHORIZATION}/roleAssignments"
        for each in await self._client.list(path, params):
            found = _assignment(each)
            if found.scope.lower() == scope.lower() and _guid(found.role_id) == _guid(role_id):
                return found
        return None

    async def get_assignment(self, assignment_id: str) -> AssignmentInfo | None:
        """Return a role assignment by its resource id. Raises ApiError."""
        found = await self._client.find(_quote_scope(assignment_id), _ROLES)
        return _assignment(found) if found else None

    async def put_assignment(
        self, scope: str, name: str, role_id: str, principal_id: str
    ) -> AssignmentInfo:
        """Assign a role to a service principal. Raises ApiError."""
        properties = {
            "roleDefinitionId": role_id,
            "principalId": principal_id,
            "principalType": "ServicePrincipal",
        }
        path = f"{_quote_scope(scope)}{_AUTHORIZATION}/roleAssignments/{quote_segment(name)}"

        async def put() -> Object | None:
            return await self._client.send("PUT", path, {"properties": properties}, _ROLES)

        made = await self._client.until(
            put,
            reason="waiting for Resource Manager to find the new service principal",
            retry=lambda exc: exc.api_code == _UNKNOWN_PRINCIPAL,
        )
        return _assignment(made)

    async def delete_assignment(self, assignment_id: str) -> bool:
        """Delete a role assignment by its resource id; return whether it existed. Raises ApiError."""
        return await self._delete(_quote_scope(assignment_id), _ROLES)

    async def _delete(self, path: str, params: dict[str, str]) -> bool:
        # Resource Manager returns 204, not 404, for an object that does not exist: read it first.
        if await self._client.find(path, params) is None:
            return False
        try:
            await self._client.send("DELETE", path, None, params)
        except ApiError as exc:
            if exc.api_status == 404:
                return False
            raise
        return True

    def _identity(self, group: str, name: str) -> str:
        return (
            f"{self._subscription}/resourceGroups/{quote_segment(group)}"
            f"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{quote_segment(name)}"
        )

    def _credential(self, group: str, name: str, credential: str) -> str:
        parent = self._identity(group, name)
        return f"{parent}/federatedIdentityCredentials/{quote_segment(credential)}"


def _quote_scope(scope: str) -> str:
    return quote(scope, safe="/()@")


def _guid(role_id: str) -> str:
    return role_id.rpartition("/")[2].lower()


def _identity(found: Object) -> IdentityInfo:
    properties = found.get("properties") or {}
    return IdentityInfo(
        resource_id=required(found, "id"),
        name=str(found.get("name") or ""),
        client_id=str(properties.get("clientId") or ""),
        principal_id=str(properties.get("principalId") or ""),
    )


def _credential(found: Object) -> FederatedCredential:
    properties = found.get("properties") or {}
    return FederatedCredential(
        id=str(found.get("id") or ""),
        name=str(found.get("name") or ""),
        issuer=str(properties.get("issuer") or ""),
        subject=str(properties.get("subject") or ""),
        audiences=tuple(str(each) for each in properties.get("audiences") or ()),
    )


def _assignment(found: Object) -> AssignmentInfo:
    properties = found.get("properties") or {}
    return AssignmentInfo(
        id=required(found, "id"),
        scope=str(properties.get("scope") or ""),
        role_id=str(properties.get("roleDefinitionId") or ""),
        principal_id=str(properties.get("principalId") or ""),
    )
