"""Read the identity with a client id, and its federated credentials, from Graph and Resource Manager."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

from podpass.diagnose.doctor.model import DirectoryIdentity, NamedIdentity, OtherId
from podpass.directory import resource_ids
from podpass.directory.model import FederatedCredential
from podpass.errors import SettingsError
from podpass.facts import Unread
from podpass.guids import is_guid
from podpass.kubernetes.objects import Object
from podpass.provision.api_client import ApiClient, quote_literal, quote_segment
from podpass.provision.errors import ApiError, SignInFailed
from podpass.provision.graph import GraphClient
from podpass.provision.model import ApplicationInfo
from podpass.provision.resource_manager import ManagerClient

T = TypeVar("T")

_MAX_LISTED = 100  # of each kind; reading a credential takes a request for each identity
_CONCURRENT = 8
_PRINCIPALS = "/v1.0/servicePrincipals"
_IDENTITIES = {"api-version": "2023-01-31"}
_MANAGED = "ManagedIdentity"
_SYSTEM_ASSIGNED = "isexplicit=false"
_FIELDS = (
    "id,appId,displayName,accountEnabled,servicePrincipalType,alternativeNames,"
    "appOwnerOrganizationId"
)


async def readable(reading: Awaitable[T]) -> T | Unread:
    """Return what a request reads, or why it cannot be read."""
    try:
        return await reading
    except (ApiError, SignInFailed, SettingsError) as exc:
        return Unread(exc.message)


class IdentityReader:
    """Reads identities by client id; it never writes."""

    def __init__(self, graph: ApiClient, manager: ApiClient, subscription_id: str) -> None:
        self._api = graph
        self._graph = GraphClient(graph)
        self._manager = manager
        self._subscription = subscription_id

    async def find_identity(self, client_id: str) -> DirectoryIdentity | Unread | None:
        """Return the identity with a client id; None if there is none.

        If Graph may not be read, only managed identities of the subscription are found.
        """
        found = await readable(self._find_in_graph(client_id))
        if not isinstance(found, Unread):
            return found
        managed = await readable(self._find_in_subscription(client_id))
        return managed if isinstance(managed, DirectoryIdentity) else found

    async def complete(
        self, client_id: str, identity: DirectoryIdentity | Unread | None, tenant_id: str
    ) -> NamedIdentity:
        """Return what a client id names, with the credentials of its identity."""
        other: OtherId | None = None
        credentials: Sequence[FederatedCredential] | Unread = Unread(
            "there is no identity with the client id"
        )
        if isinstance(identity, DirectoryIdentity):
            credentials = await self.list_credentials(identity)
        elif isinstance(identity, Unread):
            credentials = identity
        else:
            other = await self.explain_id(client_id, tenant_id)
        return NamedIdentity(
            client_id=client_id, identity=identity, credentials=credentials, other=other
        )

    async def explain_id(self, client_id: str, tenant_id: str) -> OtherId | None:
        """Return what an id is that is no client id; None if it is unknown."""
        if client_id.lower() == tenant_id.lower():
            return OtherId(meaning="the tenant id")
        meanings = (
            (_PRINCIPALS, "the object id of the service principal"),
            ("/v1.0/applications", "the object id of the application"),
        )
        for path, meaning in meanings if is_guid(client_id) else ():
            found = await readable(self._api.find(f"{path}/{quote_segment(client_id)}"))
            if isinstance(found, dict):
                name, own = found.get("displayName") or "", str(found.get("appId") or "")
                return OtherId(meaning=f"{meaning} of {name}", client_id=own)
        return None

    async def list_identities(self) -> Sequence[NamedIdentity] | Unread:
        """Return identities with their credentials, at most 100 of each kind.

        Unread if neither managed identities nor applications may be read.
        """
        managed, applications = await asyncio.gather(
            readable(self._list_managed_identities()), readable(self._list_applications())
        )
        if isinstance(managed, Unread) and isinstance(applications, Unread):
            return managed
        found = [
            each
            for listed in (managed, applications)
            if not isinstance(listed, Unread)
            for each in listed[:_MAX_LISTED]
        ]
        limit = asyncio.Semaphore(_CONCURRENT)

        async def read(identity: DirectoryIdentity) -> NamedIdentity:
            async with limit:
                credentials = await self.list_credentials(identity)
            return NamedIdentity(
                client_id=identity.client_id, identity=identity, credentials=credentials
            )

        return await asyncio.gather(*map(read, found))

    async def list_credentials(
        self, identity: DirectoryIdentity
    ) -> tuple[FederatedCredential, ...] | Unread:
        """Return the federated credentials of an identity."""
        if identity.is_system_assigned:
            return ()
        if identity.is_managed:
            return await readable(self._list_managed(identity.resource_id))
        if identity.application_id is None:
            return Unread(f"the application belongs to the tenant {identity.owner_tenant}")
        if isinstance(identity.application_id, Unread):
            return identity.application_id
        return await readable(self._list_of_application(identity.application_id))

    async def _find_in_graph(self, client_id: str) -> DirectoryIdentity | None:
        params = {"$filter": f"appId eq {quote_literal(client_id)}", "$select": _FIELDS}
        found = await self._api.list(_PRINCIPALS, params)
        if found and found[0].get("servicePrincipalType") == _MANAGED:
            return _managed_identity(found[0])
        reading = self._graph.find_application(client_id)
        application = await (readable(reading) if found else reading)
        if not found and application is None:
            return None
        principal = found[0] if found else {}
        name, object_id = "", None
        if isinstance(application, ApplicationInfo):
            name, object_id = application.name, application.object_id
        return DirectoryIdentity(
            name=str(principal.get("displayName") or name),
            client_id=client_id,
            principal_id=str(principal.get("id") or ""),
            application_id=application if isinstance(application, Unread) else object_id,
            owner_tenant=str(principal.get("appOwnerOrganizationId") or ""),
            enabled=principal.get("accountEnabled") is not False,
        )

    async def _find_in_subscription(self, client_id: str) -> DirectoryIdentity | None:
        found = await self._list_managed_identities()
        return next((each for each in found if each.client_id == client_id.lower()), None)

    async def _list_managed_identities(self) -> list[DirectoryIdentity]:
        path = (
            f"/subscriptions/{self._subscription}/providers/Microsoft.ManagedIdentity"
            "/userAssignedIdentities"
        )
        found = []
        for each in await self._manager.list(path, _IDENTITIES):
            properties = each.get("properties") or {}
            found.append(
                DirectoryIdentity(
                    name=str(each.get("name") or ""),
                    client_id=str(properties.get("clientId") or "").lower(),
                    principal_id=str(properties.get("principalId") or ""),
                    resource_id=str(each.get("id") or ""),
                    enabled=Unread("Graph may not be read"),
                )
            )
        return found

    async def _list_applications(self) -> list[DirectoryIdentity]:
        params = {"$select": "id,appId,displayName", "$top": str(_MAX_LISTED)}
        page = await self._api.get("/v1.0/applications", params)
        return [
            DirectoryIdentity(
                name=str(each.get("displayName") or ""),
                client_id=str(each.get("appId") or "").lower(),
                application_id=str(each.get("id") or ""),
            )
            for each in page.get("value") or ()
        ]

    async def _list_managed(self, resource_id: str) -> tuple[FederatedCredential, ...]:
        place = resource_ids.group_of(resource_id)
        if place is None:
            raise ApiError("Graph returned no resource id of the managed identity")
        subscription, group = place
        manager = ManagerClient(self._manager, subscription)
        return tuple(await manager.list_credentials(group, resource_id.rpartition("/")[2]))

    async def _list_of_application(self, application_id: str) -> tuple[FederatedCredential, ...]:
        return tuple(await self._graph.list_credentials(application_id))


def _managed_identity(principal: Object) -> DirectoryIdentity:
    names = [str(each) for each in principal.get("alternativeNames") or ()]
    return DirectoryIdentity(
        name=str(principal.get("displayName") or ""),
        client_id=str(principal.get("appId") or ""),
        principal_id=str(principal.get("id") or ""),
        resource_id=next((each for each in names if each.startswith("/")), "unknown"),
        is_system_assigned=_SYSTEM_ASSIGNED in (each.lower() for each in names),
        enabled=principal.get("accountEnabled") is not False,
    )
