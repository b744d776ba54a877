"""Read the facts of the trust graph from Microsoft Graph and Resource Manager, with the caller's sign-in.

Every request only reads. What the caller may not read becomes a sentence in `unread`, and the rest of the
graph is computed without it.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from podpass.diagnose.graph.model import DirectorySnapshot
from podpass.directory.model import (
    FederatedCredential,
    Identity,
    IdentityKind,
    ResourceInfo,
    RoleAssignment,
)
from podpass.provision.errors import ApiError
from podpass.provision.graph import GraphClient
from podpass.provision.model import (
    ApplicationInfo,
    IdentityInfo,
    InitiativeInfo,
    PolicyAssignmentInfo,
    PolicyExemptionInfo,
    PrincipalInfo,
)
from podpass.provision.resource_manager import ManagerClient

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

    manager: ManagerClient
    graph: GraphClient
    tenant_id: str
    login: str
    named: frozenset[str] = frozenset()
    unread: list[str] = field(default_factory=list)
    _has_all_identities: bool = True
    _without_credentials: set[str] = field(default_factory=set)
    _limit: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_PARALLEL))

    async def read(self, exchanges: Mapping[tuple[str, str], str] | None) -> DirectorySnapshot:
        """Return everything that the caller may read. Raises SignInFailed."""
        identities, assignments, roles, resources, vaults = await asyncio.gather(
            self.read_identities(),
            self._assignments(),
            self._try("role definitions", self.manager.list_roles(), ()),
            self._try("resources", self.manager.list_resources(), ()),
            self._try("key vaults", self.manager.list_vaults(), ()),
        )
        found: dict[str, ResourceInfo] = {each.id.lower(): each for each in (*resources, *vaults)}
        return DirectorySnapshot(
            tenant_id=self.tenant_id,
            issuers=(f"{self.login}/{self.tenant_id}/v2.0",),
            identities=tuple(identities),
            assignments=assignments,
            roles=tuple(roles),
            resources=tuple(found.values()),
            exchanges=exchanges,
            has_all_identities=self._has_all_identities,
            without_credentials=frozenset(self._without_credentials),
            unread=tuple(self.unread),
        )

    async def read_identities(self) -> Sequence[Identity]:
        """Return the identities that the caller may read, with their credentials. Raises SignInFailed."""
        managed, applications = await asyncio.gather(
            self._managed_identities(), self._applications()
        )
        return (*managed, *applications)

    async def read_policies(self) -> Sequence[PolicyAssignmentInfo]:
        """Return the policies that are assigned in the subscription or above it. Raises SignInFailed."""
        return await self._try("policies", self.manager.list_policy_assignments(), ())

    async def read_exemptions(self) -> Sequence[PolicyExemptionInfo]:
        """Return the exemptions from these policies. Raises SignInFailed."""
        return await self._try("policy exemptions", self.manager.list_policy_exemptions(), ())

    async def read_initiatives(self, ids: Iterable[str]) -> Sequence[InitiativeInfo]:
        """Return the initiatives that the caller may read. Raises SignInFailed."""
        found = await asyncio.gather(
            *(self._try("initiative", self.manager.get_initiative(each), None) for each in ids)
        )
        return [each for each in found if each is not None]

    async def _try(self, what: str, reading: Awaitable[T], empty: E) -> T | E:
        """Return what was read; record a refusal and return the empty value."""
        try:
            async with self._limit:
                return await reading
        except ApiError as exc:
            self.unread.append(f"{what}: {exc.message}")
            return empty

    async def _list_identities(self, what: str, reading: Awaitable[list[T]]) -> list[T]:
        found = await self._try(what, reading, None)
        self._has_all_identities &= found is not None
        return found or []

    async def _list_credentials(
        self, client_id: str, name: str, reading: Awaitable[Sequence[FederatedCredential]]
    ) -> tuple[FederatedCredential, ...]:
        found = await self._try(f"federated credentials of {name}", reading, None)
        if found is None:
            self._without_credentials.add(client_id)
        return tuple(found or ())

    async def _managed_identities(self) -> Sequence[Identity]:
        found = await self._list_identities("managed identities", self.manager.list_identities())
        return await asyncio.gather(*map(self._managed_identity, found))

    async def _managed_identity(self, found: IdentityInfo) -> Identity:
        client_id, object_id = found.client_id.lower(), found.principal_id.lower()
        credentials = await self._list_credentials(
            client_id, found.name, self.manager.list_credentials_of(found.resource_id)
        )
        # Only its service principal shows whether it is enabled.
        principal = await self._find_principal(found.name, self.graph.get_principal(object_id))
        return Identity(
            tenant_id=self.tenant_id,
            client_id=client_id,
            object_id=object_id,
            name=found.name,
            resource_id=found.resource_id,
            credentials=credentials,
            enabled=principal is None or principal.enabled,
        )

    async def _find_principal(
        self, name: str, reading: Awaitable[PrincipalInfo | None]
    ) -> PrincipalInfo | None:
        return await self._try(f"service principal of {name}", reading, None)

    async def _applications(self) -> Sequence[Identity]:
        found = await self._list_identities("applications", self.graph.list_applications())
        found.sort(key=lambda each: each.client_id.lower() not in self.named)
        if len(found) > MAX_APPLICATIONS:
            self._has_all_identities = False
            self.unread.append(
                f"federated credentials of {len(found) - MAX_APPLICATIONS} applications: at most"
                f" {MAX_APPLICATIONS} are read, those that accounts name first"
            )
        return await asyncio.gather(*map(self._application, found[:MAX_APPLICATIONS]))

    async def _application(self, found: ApplicationInfo) -> Identity:
        client_id = found.client_id.lower()
        credentials = await self._list_credentials(
            client_id, found.name, self.graph.list_credentials(found.object_id)
        )
        principal = await self._find_principal(found.name, self.graph.find_principal(client_id))
        return Identity(
            tenant_id=self.tenant_id,
            client_id=client_id,
            object_id=principal.object_id.lower() if principal else "",
            name=found.name,
            kind=IdentityKind.APPLICATION,
            application_id=found.object_id,
            has_principal=principal is not None,
            enabled=principal is None or principal.enabled,
            credentials=credentials,
        )

    async def _assignments(self) -> tuple[RoleAssignment, ...]:
        found = await self._try("role assignments", self.manager.list_assignments(), ())
        if groups := sum(each.principal_type == _GROUP for each in found):
            self.unread.append(
                f"members of groups: {groups} role assignments of groups are not in the graph"
            )
        return tuple(
            RoleAssignment(
                scope=each.scope.lower(),
                principal_id=each.principal_id.lower(),
                role=each.role_id.rpartition("/")[2].lower(),
                principal_type=each.principal_type,
            )
            for each in found
        )
