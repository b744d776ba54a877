"""Read the facts of the trust graph from Microsoft Graph and Resource Manager, with the caller's sign-in.

Every request only reads. What the caller may not read becomes a sentence in `unread`, and the rest of the
graph is computed without it.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from podpass.diagnose.graph.model import VAULT_TYPE, DirectorySnapshot, ResourceSnapshot
from podpass.directory.model import (
    AccessPolicy,
    FederatedCredential,
    Identity,
    IdentityKind,
    RoleAssignment,
    RoleDefinition,
)
from podpass.provision.api_client import ApiClient, Object, quote_segment
from podpass.provision.errors import ApiError

_IDENTITIES = {"api-version": "2023-01-31"}
_ROLES = {"api-version": "2022-04-01"}
_RESOURCES = {"api-version": "2021-04-01"}
_VAULTS = {"api-version": "2023-07-01"}
_PARALLEL = 8
MAX_APPLICATIONS = 500
_GROUP = "Group"
T = TypeVar("T")
E = TypeVar("E")


@dataclass(kw_only=True)
class AzureReader:
    """Reads one subscription and its tenant.

    `login` is the origin of the token service; `named` are the client ids that accounts name: their
    applications are read first if there are more than `MAX_APPLICATIONS`.
    """

    manager: ApiClient
    graph: ApiClient
    subscription_id: str
    tenant_id: str
    login: str
    named: frozenset[str] = frozenset()
    unread: list[str] = field(default_factory=list)
    _has_all_identities: bool = True
    _without_credentials: set[str] = field(default_factory=set)
    _limit: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_PARALLEL))

    async def read(self, exchanges: Mapping[tuple[str, str], str] | None) -> DirectorySnapshot:
        """Return everything that the caller may read. Raises SignInFailed."""
        managed, applications, assignments, roles, resources = await asyncio.gather(
            self._managed_identities(),
            self._applications(),
            self._assignments(),
            self._roles(),
            self._resources(),
        )
        return DirectorySnapshot(
            tenant_id=self.tenant_id,
            issuers=(f"{self.login}/{self.tenant_id}/v2.0",),
            identities=(*managed, *applications),
            assignments=assignments,
            roles=roles,
            resources=resources,
            exchanges=exchanges,
            has_all_identities=self._has_all_identities,
            without_credentials=frozenset(self._without_credentials),
            unread=tuple(self.unread),
        )

    async def _try(self, what: str, reading: Awaitable[T], empty: E) -> T | E:
        """Return what was read; record a refusal and return the empty value."""
        try:
            async with self._limit:
                return await reading
        except ApiError as exc:
            self.unread.append(f"{what}: {exc.message}")
            return empty

    async def _list(
        self, what: str, client: ApiClient, path: str, params: Mapping[str, str]
    ) -> list[Object]:
        return await self._try(what, client.list(path, params), [])

    async def _list_identities(
        self, what: str, client: ApiClient, path: str, params: Mapping[str, str]
    ) -> list[Object]:
        found: list[Object] | None
        found = await self._try(what, client.list(path, params), None)
        self._has_all_identities &= found is not None
        return found or []

    async def _list_credentials(
        self, client_id: str, name: str, client: ApiClient, path: str, params: Mapping[str, str]
    ) -> list[Object]:
        found: list[Object] | None
        found = await self._try(f"federated credentials of {name}", client.list(path, params), None)
        if found is None:
            self._without_credentials.add(client_id)
        return found or []

    async def _managed_identities(self) -> tuple[Identity, ...]:
        path = f"{self._subscription}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
        found = await self._list_identities("managed identities", self.manager, path, _IDENTITIES)

        async def read(each: Object) -> Identity:
            name, resource_id = str(each.get("name") or ""), str(each.get("id") or "")
            properties = _object(each, "properties")
            client_id = _text(properties, "clientId").lower()
            path = f"{resource_id}/federatedIdentityCredentials"
            credentials = await self._list_credentials(
                client_id, name, self.manager, path, _IDENTITIES
            )
            return Identity(
                tenant_id=self.tenant_id,
                client_id=client_id,
                object_id=_text(properties, "principalId").lower(),
                name=name,
                resource_id=resource_id,
                credentials=tuple(
                    _credential(one, _object(one, "properties")) for one in credentials
                ),
            )

        identities = await asyncio.gather(*(read(each) for each in found))
        return await self._with_states(identities)

    async def _with_states(self, identities: Sequence[Identity]) -> tuple[Identity, ...]:
        """Read of each managed identity whether it is enabled, which only its service principal shows."""

        async def read(identity: Identity) -> Identity:
            path = f"/v1.0/servicePrincipals/{quote_segment(identity.object_id)}"
            found: Object | None = await self._try(
                f"service principal of {identity.name}",
                self.graph.find(path, {"$select": "id,accountEnabled"}),
                None,
            )
            return replace(identity, enabled=(found or {}).get("accountEnabled") is not False)

        return tuple(await asyncio.gather(*(read(each) for each in identities)))

    async def _applications(self) -> tuple[Identity, ...]:
        found = await self._list_identities(
            "applications", self.graph, "/v1.0/applications", {"$select": "id,appId,displayName"}
        )
        found.sort(key=lambda each: _text(each, "appId").lower() not in self.named)
        if len(found) > MAX_APPLICATIONS:
            self._has_all_identities = False
            self.unread.append(
                f"federated credentials of {len(found) - MAX_APPLICATIONS} applications: at most"
                f" {MAX_APPLICATIONS} are read, those that accounts name first"
            )
        return tuple(
            await asyncio.gather(*(self._application(each) for each in found[:MAX_APPLICATIONS]))
        )

    async def _application(self, found: Object) -> Identity:
        client_id, name = _text(found, "appId").lower(), _text(found, "displayName")
        path = (
            f"/v1.0/applications/{quote_segment(_text(found, 'id'))}/federatedIdentityCredentials"
        )
        credentials = await self._list_credentials(client_id, name, self.graph, path, {})
        query = {"$filter": f"appId eq '{client_id}'", "$select": "id,accountEnabled"}
        principals = await self._list(
            f"service principal of {name}", self.graph, "/v1.0/servicePrincipals", query
        )
        principal = principals[0] if principals else {}
        return Identity(
            tenant_id=self.tenant_id,
            client_id=client_id,
            object_id=_text(principal, "id").lower(),
            name=name,
            kind=IdentityKind.APPLICATION,
            application_id=_text(found, "id"),
            has_principal=bool(principals),
            enabled=principal.get("accountEnabled") is not False,
            credentials=tuple(_credential(each, each) for each in credentials),
        )

    async def _assignments(self) -> tuple[RoleAssignment, ...]:
        path = f"{self._subscription}/providers/Microsoft.Authorization/roleAssignments"
        found = await self._list("role assignments", self.manager, path, _ROLES)
        groups = sum(_object(each, "properties").get("principalType") == _GROUP for each in found)
        if groups:
            self.unread.append(
                f"members of groups: {groups} role assignments of groups are not in the graph"
            )
        return tuple(_assignment(_object(each, "properties")) for each in found)

    async def _roles(self) -> tuple[RoleDefinition, ...]:
        path = f"{self._subscription}/providers/Microsoft.Authorization/roleDefinitions"
        found = await self._list("role definitions", self.manager, path, _ROLES)
        return tuple(_role(each) for each in found)

    async def _resources(self) -> tuple[ResourceSnapshot, ...]:
        listed, vaults = await asyncio.gather(
            self._list("resources", self.manager, f"{self._subscription}/resources", _RESOURCES),
            self._list(
                "key vaults",
                self.manager,
                f"{self._subscription}/providers/Microsoft.KeyVault/vaults",
                _VAULTS,
            ),
        )
        found = {
            _text(each, "id").lower(): ResourceSnapshot(
                id=_text(each, "id"), type=_text(each, "type"), name=_text(each, "name")
            )
            for each in listed
        }
        found |= {_text(each, "id").lower(): _vault(each) for each in vaults}
        return tuple(found.values())

    @property
    def _subscription(self) -> str:
        return f"/subscriptions/{self.subscription_id}"


def _text(holder: Mapping[str, Any], name: str) -> str:
    return str(holder.get(name) or "")


def _object(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = holder.get(name)
    return value if isinstance(value, dict) else {}


def _texts(holder: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = holder.get(name)
    return tuple(str(each) for each in value) if isinstance(value, list) else ()


def _credential(found: Mapping[str, Any], properties: Mapping[str, Any]) -> FederatedCredential:
    return FederatedCredential(
        name=_text(found, "name"),
        issuer=_text(properties, "issuer"),
        subject=_text(properties, "subject"),
        audiences=_texts(properties, "audiences"),
        id=_text(found, "id"),
    )


def _assignment(properties: Mapping[str, Any]) -> RoleAssignment:
    return RoleAssignment(
        scope=_text(properties, "scope").lower(),
        principal_id=_text(properties, "principalId").lower(),
        role=_text(properties, "roleDefinitionId").rpartition("/")[2].lower(),
        principal_type=_text(properties, "principalType"),
    )


def _role(found: Mapping[str, Any]) -> RoleDefinition:
    properties = _object(found, "properties")
    permissions = properties.get("permissions")
    listed = [each for each in permissions or () if isinstance(each, dict)]

    def all_of(name: str) -> tuple[str, ...]:
        return tuple(one for each in listed for one in _texts(each, name))

    return RoleDefinition(
        id=_text(found, "name").lower(),
        name=_text(properties, "roleName"),
        actions=all_of("actions"),
        not_actions=all_of("notActions"),
        data_actions=all_of("dataActions"),
        not_data_actions=all_of("notDataActions"),
        built_in=_text(properties, "type") == "BuiltInRole",
    )


def _vault(found: Mapping[str, Any]) -> ResourceSnapshot:
    properties = _object(found, "properties")
    return ResourceSnapshot(
        id=_text(found, "id"),
        type=VAULT_TYPE,
        name=_text(found, "name"),
        uses_roles=properties.get("enableRbacAuthorization") is True,
        policies=tuple(_policies(properties.get("accessPolicies"))),
    )


def _policies(found: object) -> Iterable[AccessPolicy]:
    for each in found if isinstance(found, list) else ():
        if isinstance(each, dict):
            yield AccessPolicy(
                object_id=_text(each, "objectId").lower(),
                tenant_id=_text(each, "tenantId").lower(),
                application_id=_text(each, "applicationId").lower() or None,
                secrets=tuple(
                    one.lower() for one in _texts(_object(each, "permissions"), "secrets")
                ),
            )
