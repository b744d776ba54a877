"""Read an identity, its federated credentials and its roles, from Graph and Resource Manager."""

import asyncio
import re
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeVar
from urllib.parse import urlsplit

from podpass.diagnose.doctor.model import (
    AssignedRole,
    DirectoryIdentity,
    NamedIdentity,
    OtherId,
    ResourceFacts,
)
from podpass.directory import resource_ids, roles
from podpass.directory.model import FederatedCredential, ResourceInfo
from podpass.errors import SettingsError, UsageError
from podpass.facts import Unread
from podpass.guids import is_guid
from podpass.provision.api_client import ApiClient
from podpass.provision.errors import ApiError, SignInFailed
from podpass.provision.graph import GraphClient
from podpass.provision.model import ApplicationInfo, PrincipalInfo
from podpass.provision.resource_manager import ManagerClient

T = TypeVar("T")

_MAX_LISTED = 100  # of each kind; reading a credential takes a request for each identity
_CONCURRENT = 8
_SYSTEM_ASSIGNED = "isexplicit=false"
_VAULT_ID = re.compile(
    r"/subscriptions/[^/]+/resourcegroups/[^/]+/providers/microsoft\.keyvault/vaults/[^/]+",
    re.IGNORECASE,
)
_RESOURCE_ID = re.compile(r"/subscriptions/[0-9A-Za-z-]+(?:/[\w().@ -]+)*")
_VAULT_NAME = re.compile(r"[A-Za-z0-9-]{3,24}")
_MAX_ROLES = 50
_MAX_SIMILAR, _MIN_SIMILARITY = 3, 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedResource:
    """The resource that a workload wants to use: a vault by name, or any resource by its id.

    `action` is what it wants to do there, empty for anything; with `is_data`, a data action.
    """

    vault: str = ""
    resource_id: str = ""
    action: str = ""
    is_data: bool = False

    @property
    def vault_name(self) -> str:
        """Return the name of the vault; empty for another resource."""
        if self.resource_id and not _VAULT_ID.fullmatch(self.resource_id):
            return ""
        return self.vault or self.resource_id.rpartition("/")[2]


async def readable(reading: Awaitable[T]) -> T | Unread:
    """Return what a request reads, or why it cannot be read."""
    try:
        return await reading
    except (ApiError, SignInFailed, SettingsError) as exc:
        return Unread(exc.message)


class CallerDirectory:
    """The directory and the resources that the caller may read; it never writes."""

    def __init__(self, graph: ApiClient, manager: ApiClient, subscription_id: str) -> None:
        self._graph, self._manager_api = GraphClient(graph), manager
        self._manager = ManagerClient(manager, subscription_id)

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
        if not is_guid(client_id):
            return None
        for kind, reading in (
            ("service principal", self._graph.get_principal),
            ("application", self._graph.get_application),
        ):
            found = await readable(reading(client_id))
            if isinstance(found, PrincipalInfo | ApplicationInfo):
                meaning = f"the object id of the {kind} of {found.name}"
                return OtherId(meaning=meaning, client_id=found.client_id)
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
    ) -> Sequence[FederatedCredential] | Unread:
        """Return the federated credentials of an identity."""
        if identity.is_system_assigned:
            return ()
        if identity.is_managed:
            if resource_ids.group_of(identity.resource_id) is None:
                return Unread("Graph returned no resource id of the managed identity")
            return await readable(self._manager.list_credentials_of(identity.resource_id))
        if identity.application_id is None:
            return Unread(f"the application belongs to the tenant {identity.owner_tenant}")
        if isinstance(identity.application_id, Unread):
            return identity.application_id
        return await readable(self._graph.list_credentials(identity.application_id))

    async def _find_in_graph(self, client_id: str) -> DirectoryIdentity | None:
        principal = await self._graph.find_principal(client_id)
        if principal is not None and principal.is_managed:
            return _managed_identity(principal)
        reading = self._graph.find_application(client_id)
        application = await (readable(reading) if principal else reading)
        if principal is None and application is None:
            return None
        about = principal or PrincipalInfo(object_id="", client_id=client_id, name="")
        name, application_id = about.name, None
        if isinstance(application, ApplicationInfo):
            name, application_id = name or application.name, application.object_id
        return DirectoryIdentity(
            name=name,
            client_id=client_id,
            principal_id=about.object_id,
            application_id=application if isinstance(application, Unread) else application_id,
            owner_tenant=about.owner_tenant,
            enabled=about.enabled,
        )

    async def _find_in_subscription(self, client_id: str) -> DirectoryIdentity | None:
        found = await self._list_managed_identities()
        return next((each for each in found if each.client_id == client_id.lower()), None)

    async def _list_managed_identities(self) -> list[DirectoryIdentity]:
        return [
            DirectoryIdentity(
                name=each.name,
                client_id=each.client_id.lower(),
                principal_id=each.principal_id,
                resource_id=each.resource_id,
                enabled=Unread("Graph may not be read"),
            )
            for each in await self._manager.list_identities()
        ]

    async def _list_applications(self) -> list[DirectoryIdentity]:
        return [
            DirectoryIdentity(
                name=each.name, client_id=each.client_id.lower(), application_id=each.object_id
            )
            for each in await self._graph.list_applications(_MAX_LISTED)
        ]

    async def read_resource(
        self, wanted: RequestedResource, principal_id: str
    ) -> ResourceFacts | Unread:
        """Return the resource, with the roles of a principal in its subscription."""
        found = await readable(self._find_vault(wanted))
        if isinstance(found, Unread):
            return found
        if found is None and (name := wanted.vault_name):
            return await self._describe_missing(name, is_exact=bool(wanted.resource_id))
        resource_id = found.id if found else wanted.resource_id
        assigned: Sequence[AssignedRole] | Unread = await readable(
            self._list_roles(resource_id.split("/")[2], principal_id)
        )
        return ResourceFacts(
            title=f"vault {resource_id.rpartition('/')[2]}" if found else resource_id,
            resource_id=resource_id,
            action=wanted.action,
            is_data=wanted.is_data,
            uses_roles=found is None or found.uses_roles,
            roles=assigned,
            policies=found.policies if found else (),
        )

    async def _find_vault(self, wanted: RequestedResource) -> ResourceInfo | None:
        """Return the vault; None for a resource of another type, or if there is no such vault."""
        if wanted.resource_id:
            if not wanted.vault_name:
                return None
            return await self._manager.find_vault(wanted.resource_id)
        found = await self._manager.list_vaults()
        return next((each for each in found if each.name.lower() == wanted.vault.lower()), None)

    async def _describe_missing(self, name: str, *, is_exact: bool) -> ResourceFacts:
        """Return whether a vault that does not exist was deleted, and vaults with a similar name."""
        listed, gone = await asyncio.gather(
            readable(self._manager.list_vaults()),
            readable(self._manager.list_vaults(deleted=True)),
        )
        deleted = () if isinstance(gone, Unread) else gone
        urls = {
            each.name.lower(): each.url for each in (() if isinstance(listed, Unread) else listed)
        }
        near = get_close_matches(name.lower(), list(urls), _MAX_SIMILAR, _MIN_SIMILARITY)
        return ResourceFacts(
            title=f"vault {name}",
            exists=False,
            is_exact=is_exact,
            deleted=any(each.name.lower() == name.lower() for each in deleted),
            similar=tuple(urls[each].rstrip("/") for each in near),
        )

    async def _list_roles(self, subscription: str, principal_id: str) -> Sequence[AssignedRole]:
        manager = ManagerClient(self._manager_api, subscription)
        assigned = await manager.list_assignments(principal_id)
        ids = dict.fromkeys(each.role_id for each in assigned)
        # A path: a text without the slash would continue the name of the host that receives the token.
        read = [each for each in ids if each.startswith("/")][:_MAX_ROLES]
        definitions = await asyncio.gather(*map(manager.get_permissions, read))
        found = dict(zip(read, definitions, strict=True))
        return tuple(
            AssignedRole(
                scope=each.scope,
                name=next((one.name for one in found[each.role_id] if one.name), "")
                or each.role_id.rpartition("/")[2],
                permissions=found[each.role_id],
            )
            for each in assigned
            if each.role_id in found
        )


def _managed_identity(principal: PrincipalInfo) -> DirectoryIdentity:
    names = principal.alternative_names
    return DirectoryIdentity(
        name=principal.name,
        client_id=principal.client_id,
        principal_id=principal.object_id,
        resource_id=next((each for each in names if each.startswith("/")), "unknown"),
        is_system_assigned=_SYSTEM_ASSIGNED in (each.lower() for each in names),
        enabled=principal.enabled,
    )


def parse_requested_resource(
    vault: str, resource: str, action: str = "", data_action: str = ""
) -> RequestedResource | None:
    """Read the options of a resource; None if no resource was named.

    `vault` is a name, a URL or a resource id; without an action, secrets of it are read. Raises UsageError.
    """
    for options, given in (
        ("--vault or --resource", (vault, resource)),
        ("--action or --data-action", (action, data_action)),
    ):
        if all(given):
            raise UsageError(f"pass {options}, not both")
    if not (vault or resource):
        if action or data_action:
            raise UsageError("an action needs a resource: pass --vault or --resource")
        return None
    is_data = not action
    if resource or vault.startswith("/"):
        found = (resource or vault).rstrip("/")
        parts = set(found.split("/"))
        if not _RESOURCE_ID.fullmatch(found) or parts & {".", ".."}:
            raise UsageError(
                f"{found[:200]!r} is not a resource id", hint="it begins with /subscriptions/ID"
            )
        if _VAULT_ID.fullmatch(found):
            data_action = data_action or roles.GET_SECRET
        return RequestedResource(resource_id=found, action=action or data_action, is_data=is_data)
    host = urlsplit(vault if "://" in vault else f"//{vault}").hostname or ""
    name = host.partition(".")[0]
    if not _VAULT_NAME.fullmatch(name):
        raise UsageError(
            f"--vault {vault[:200]!r} is not a vault",
            hint="pass its name, its URL or its resource id",
        )
    return RequestedResource(
        vault=name, action=action or data_action or roles.GET_SECRET, is_data=is_data
    )
