"""Managed identities, their federated credentials, and role assignments in Azure Resource Manager."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from podpass.directory.model import (
    VAULT_TYPE,
    AccessPolicy,
    FederatedCredential,
    ResourceInfo,
    RoleDefinition,
)
from podpass.provision.api_client import (
    ApiClient,
    Object,
    member_of,
    members_of,
    parse_credential,
    quote_literal,
    quote_segment,
    required,
    text_of,
    texts_of,
    trust_members,
)
from podpass.provision.connection import AzureConnection, header
from podpass.provision.errors import ApiError, SignInFailed
from podpass.provision.model import (
    AssignmentInfo,
    IdentityInfo,
    InitiativeInfo,
    InitiativeMember,
    PolicyAssignmentInfo,
    PolicyExemptionInfo,
    RoleInfo,
)

_SUBSCRIPTIONS = {"api-version": "2022-12-01"}
_GROUPS = {"api-version": "2021-04-01"}
_IDENTITIES = {"api-version": "2023-01-31"}
# Only preview versions show the expression of a flexible credential.
_EXPRESSIONS = {"api-version": "2025-01-31-preview"}
# Error codes of a cloud that lacks the API version or the resource type.
_NOT_SERVED = frozenset(
    {"InvalidApiVersionParameter", "InvalidResourceType", "NoRegisteredProviderFound"}
)
_ROLES = {"api-version": "2022-04-01"}
_POLICIES = {"api-version": "2022-06-01"}
_INITIATIVES = {"api-version": "2023-04-01"}
_EXEMPTIONS = {"api-version": "2022-07-01-preview"}
_VAULTS = {"api-version": "2023-07-01"}
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

    async def list_identities(self) -> list[IdentityInfo]:
        """Return the managed identities of the subscription. Raises ApiError."""
        path = f"{self._subscription}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
        return [_identity(each) for each in await self._client.list(path, _IDENTITIES)]

    async def put_identity(self, group: str, name: str, location: str) -> IdentityInfo:
        """Create a managed identity. Raises ApiError."""
        path = self._identity(group, name)
        return _identity(await self._client.send("PUT", path, {"location": location}, _IDENTITIES))

    async def delete_identity(self, group: str, name: str) -> bool:
        """Delete a managed identity; return whether it existed. Raises ApiError."""
        return await self._delete(self._identity(group, name), _IDENTITIES)

    async def list_credentials(self, group: str, name: str) -> list[FederatedCredential]:
        """Return the federated credentials of a managed identity. Raises ApiError."""
        return await self.list_credentials_of(self._identity(group, name))

    async def list_credentials_of(self, identity_id: str) -> list[FederatedCredential]:
        """Return the federated credentials of a managed identity by its resource id. Raises ApiError."""
        path = f"{_quote_scope(identity_id)}/federatedIdentityCredentials"
        try:
            found = await self._client.list(path, _EXPRESSIONS)
        except ApiError as exc:
            if exc.api_code not in _NOT_SERVED:
                raise
            found = await self._client.list(path, _IDENTITIES)
        return [parse_credential(each) for each in found]

    async def put_credential(self, group: str, name: str, credential: FederatedCredential) -> None:
        """Create a federated credential of a managed identity. Raises ApiError."""
        body = {"properties": trust_members(credential)}
        path = self._credential(group, name, credential.name)
        version = _EXPRESSIONS if credential.expression else _IDENTITIES

        async def put() -> Object | None:
            return await self._client.send("PUT", path, body, version)

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

    async def list_roles(self) -> list[RoleDefinition]:
        """Return the permission blocks of all roles of the subscription. Raises ApiError."""
        path = f"{self._subscription}{_AUTHORIZATION}/roleDefinitions"
        found = await self._client.list(path, _ROLES)
        return [block for each in found for block in parse_role(each)]

    async def get_permissions(self, role_id: str) -> tuple[RoleDefinition, ...]:
        """Return the permission blocks of a role by its resource id. Raises ApiError."""
        return parse_role(await self._client.get(_quote_scope(role_id), _ROLES))

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

    async def list_assignments(self, principal_id: str = "") -> list[AssignmentInfo]:
        """Return the role assignments of the subscription: all, or those of a principal and its groups.

        Raises ApiError.
        """
        chosen = {"$filter": f"assignedTo({quote_literal(principal_id)})"} if principal_id else {}
        path = f"{self._subscription}{_AUTHORIZATION}/roleAssignments"
        return [_assignment(each) for each in await self._client.list(path, {**_ROLES, **chosen})]

    async def list_policy_assignments(self) -> list[PolicyAssignmentInfo]:
        """Return the policies that are assigned in the subscription or above it.

        None for a cloud that has no policies. Raises ApiError.
        """
        return [_policy(each) for each in await self._list_policies("policyAssignments", _POLICIES)]

    async def list_policy_exemptions(self) -> list[PolicyExemptionInfo]:
        """Return the exemptions from policies in the subscription or above it.

        None for a cloud that has no policies. Raises ApiError.
        """
        found = await self._list_policies("policyExemptions", _EXEMPTIONS)
        return [_exemption(each) for each in found]

    async def get_initiative(self, initiative_id: str) -> InitiativeInfo:
        """Return an initiative by its resource id. Raises ApiError."""
        return _initiative(await self._client.get(_quote_scope(initiative_id), _INITIATIVES))

    async def _list_policies(self, kind: str, version: dict[str, str]) -> list[Object]:
        path = f"{self._subscription}{_AUTHORIZATION}/{kind}"
        try:
            return await self._client.list(path, version)
        except ApiError as exc:
            if exc.api_code not in _NOT_SERVED:
                raise
            return []

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

    async def list_resources(self) -> list[ResourceInfo]:
        """Return the resources of the subscription. Raises ApiError."""
        found = await self._client.list(f"{self._subscription}/resources", _GROUPS)
        return [
            ResourceInfo(
                id=text_of(each, "id"), type=text_of(each, "type"), name=text_of(each, "name")
            )
            for each in found
        ]

    async def list_vaults(self, *, deleted: bool = False) -> list[ResourceInfo]:
        """Return the key vaults of the subscription, or those that were deleted. Raises ApiError."""
        kind = "deletedVaults" if deleted else "vaults"
        path = f"{self._subscription}/providers/Microsoft.KeyVault/{kind}"
        return [_vault(each) for each in await self._client.list(path, _VAULTS)]

    async def find_vault(self, vault_id: str) -> ResourceInfo | None:
        """Return a key vault by its resource id. Raises ApiError."""
        found = await self._client.find(_quote_scope(vault_id), _VAULTS)
        return _vault(found) if found else None

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
    properties = member_of(found, "properties")
    return IdentityInfo(
        resource_id=required(found, "id"),
        name=text_of(found, "name"),
        client_id=text_of(properties, "clientId"),
        principal_id=text_of(properties, "principalId"),
    )


def _assignment(found: Object) -> AssignmentInfo:
    properties = member_of(found, "properties")
    return AssignmentInfo(
        id=required(found, "id"),
        scope=text_of(properties, "scope"),
        role_id=text_of(properties, "roleDefinitionId"),
        principal_id=text_of(properties, "principalId"),
        principal_type=text_of(properties, "principalType"),
    )


def _policy(found: Object) -> PolicyAssignmentInfo:
    about = member_of(found, "properties")
    return PolicyAssignmentInfo(
        id=text_of(found, "id"),
        definition_id=text_of(about, "policyDefinitionId"),
        scope=text_of(about, "scope"),
        excluded=texts_of(about, "notScopes"),
        parameters=_members(about, "parameters", "value"),
        is_enforced=text_of(about, "enforcementMode") != "DoNotEnforce",
    )


def _initiative(found: Object) -> InitiativeInfo:
    about = member_of(found, "properties")
    return InitiativeInfo(
        id=text_of(found, "id"),
        defaults=_members(about, "parameters", "defaultValue"),
        members=tuple(
            InitiativeMember(
                reference_id=text_of(each, "policyDefinitionReferenceId"),
                definition_id=text_of(each, "policyDefinitionId"),
                parameters=_members(each, "parameters", "value"),
            )
            for each in members_of(about, "policyDefinitions")
        ),
    )


def _exemption(found: Object) -> PolicyExemptionInfo:
    about = member_of(found, "properties")
    return PolicyExemptionInfo(
        id=text_of(found, "id"),
        assignment_id=text_of(about, "policyAssignmentId"),
        references=texts_of(about, "policyDefinitionReferenceIds"),
        category=text_of(about, "exemptionCategory"),
        expires=text_of(about, "expiresOn"),
    )


def _members(found: Mapping[str, Any], name: str, member: str) -> dict[str, object]:
    """Return one member of each object in an object."""
    given = member_of(found, name)
    return {key: member_of(given, key).get(member) for key in given}


def parse_role(found: Object) -> tuple[RoleDefinition, ...]:
    """Return a role with an entry for each of its permission blocks.

    They stay apart, because what one block excludes limits no other block.
    """
    properties = member_of(found, "properties")
    return tuple(
        RoleDefinition(
            id=text_of(found, "name").lower(),
            name=text_of(properties, "roleName"),
            actions=texts_of(block, "actions"),
            not_actions=texts_of(block, "notActions"),
            data_actions=texts_of(block, "dataActions"),
            not_data_actions=texts_of(block, "notDataActions"),
            built_in=text_of(properties, "type") == "BuiltInRole",
        )
        for block in members_of(properties, "permissions")
    )


def _vault(found: Object) -> ResourceInfo:
    properties = member_of(found, "properties")
    return ResourceInfo(
        id=required(found, "id"),
        type=VAULT_TYPE,
        name=text_of(found, "name"),
        url=text_of(properties, "vaultUri"),
        uses_roles=properties.get("enableRbacAuthorization") is True,
        policies=tuple(
            AccessPolicy(
                object_id=text_of(each, "objectId").lower(),
                tenant_id=text_of(each, "tenantId").lower(),
                application_id=text_of(each, "applicationId").lower() or None,
                secrets=tuple(
                    one.lower() for one in texts_of(member_of(each, "permissions"), "secrets")
                ),
            )
            for each in members_of(properties, "accessPolicies")
        ),
    )
