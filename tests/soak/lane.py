"""The changes that a writer makes: one script that changes every kind of object, in independent lanes.

Every id and name of a lane ends in the lane's suffix, so each row shows its lane, and the rows of two lanes
can be compared. A lane makes its changes one by one: when its process is killed, all acknowledged changes are
stored, and at most the next change may be stored too.
"""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from podpass.directory import resource_ids
from podpass.directory.actor import Actor, acting
from podpass.directory.model import (
    AccessPolicy,
    AppRoleAssignment,
    FederatedCredential,
    Identity,
    IdentityKind,
    PasswordCredential,
    ResourceGroup,
    RoleAssignment,
    RoleDefinition,
    Tenant,
    User,
)
from podpass.directory.store.directory import Directory
from podpass.lab.services.clusters.model import Cluster
from podpass.lab.services.clusters.store import Clusters
from podpass.lab.services.vault.model import Vault, VaultAccess, vault_id
from podpass.lab.services.vault.vaults import Vaults

TENANT = Tenant(id="5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0")
SUB = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
MEMBERS, CREDENTIALS = 5, 4
SUFFIX_START = "1a5e1a5e"
LANE_SUFFIX = SUFFIX_START + r"[0-9a-f]{4}"


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane at one iteration of its script."""

    number: int
    iteration: int = 0

    @property
    def suffix(self) -> str:
        return f"{SUFFIX_START}{self.number:04x}"

    def guid(self, what: str) -> str:
        made = uuid.uuid5(uuid.NAMESPACE_OID, f"{what} {self.iteration}")
        return f"{str(made)[:24]}{self.suffix}"

    def name(self, what: str) -> str:
        return f"{what}{self.iteration}-{self.suffix}"

    @property
    def group(self) -> str:
        return self.name("g")

    def identity(self, number: int) -> Identity:
        name = self.name(f"id{number}-")
        return Identity(
            tenant_id=TENANT.id,
            client_id=self.guid(f"client {number}"),
            object_id=self.guid(f"object {number}"),
            name=name,
            resource_id=resource_ids.identity_id(SUB, self.group, name),
            credentials=tuple(self.credential(f"c{number}{each}") for each in range(CREDENTIALS)),
        )

    def credential(self, name: str) -> FederatedCredential:
        return FederatedCredential(
            id=self.guid(name),
            name=name,
            issuer="https://issuer.test/",
            subject=f"system:serviceaccount:{self.suffix}:{name}",
            audiences=("api://AzureADTokenExchange",),
        )

    def application(self) -> Identity:
        role = {"id": self.guid("role"), "value": "Orders.Read", "isEnabled": True}
        return Identity(
            tenant_id=TENANT.id,
            client_id=self.guid("application"),
            object_id=self.guid("principal"),
            application_id=self.guid("application object"),
            name=self.name("app"),
            kind=IdentityKind.APPLICATION,
            identifier_uris=(f"api://{self.name('orders')}",),
            credentials=(self.credential("app"),),
            passwords=(self.password("first"), self.password("second")),
            document={"appRoles": [role]},
        )

    def password(self, name: str) -> PasswordCredential:
        return PasswordCredential(
            key_id=self.guid(name),
            display_name=name,
            hint="abc",
            digest=self.guid(name).encode(),
            begins=1,
            expires=2e9,
        )

    @property
    def vault_id(self) -> str:
        return vault_id(SUB, self.group, self.name("v"))


async def _group(directory: Directory, lane: Lane) -> None:
    group = ResourceGroup(subscription_id=SUB, name=lane.group, location="eastus")
    await directory.groups.put(group)


async def _identities(directory: Directory, lane: Lane) -> None:
    await directory.identities.put_many([lane.identity(number) for number in range(MEMBERS)])


async def _application(directory: Directory, lane: Lane) -> None:
    await directory.identities.put(lane.application())


async def _vault(directory: Directory, lane: Lane) -> None:
    policies = tuple(
        AccessPolicy(
            object_id=lane.identity(number).object_id, tenant_id=TENANT.id, secrets=("get", "list")
        )
        for number in range(MEMBERS)
    )
    made = Vault(
        name=lane.name("v"),
        tenant_id=TENANT.id,
        location="eastus",
        resource_id=lane.vault_id,
        access=VaultAccess.POLICIES,
        policies=policies,
    )
    await directory.store(Vaults).put(made)


async def _cluster(directory: Directory, lane: Lane) -> None:
    name = lane.name("k")
    made = Cluster(
        subscription_id=SUB,
        group=lane.group,
        name=name,
        location="eastus",
        resource_id=resource_ids.cluster_id(SUB, lane.group, name),
    )
    await directory.store(Clusters).put(made)


async def _user(directory: Directory, lane: Lane) -> None:
    name = f"{lane.name('ada')}@contoso.test"
    await directory.users.put(User(id=lane.guid("user"), tenant_id=TENANT.id, name=name))


async def _definition(directory: Directory, lane: Lane) -> None:
    made = RoleDefinition(
        id=lane.guid("definition"),
        name=lane.name("role"),
        data_actions=("Microsoft.KeyVault/vaults/secrets/getSecret/action",),
        scopes=(f"/subscriptions/{SUB}",),
    )
    await directory.role_definitions.put(made)


async def _assign_at_vault(directory: Directory, lane: Lane) -> None:
    await _assign(directory, lane, lane.vault_id, "Reader")


async def _assign_at_subscription(directory: Directory, lane: Lane) -> None:
    await _assign(directory, lane, f"/subscriptions/{SUB}", lane.guid("definition"))


async def _assign(directory: Directory, lane: Lane, scope: str, role: str) -> None:
    holder = lane.identity(0).object_id
    name = lane.guid(f"held {role}".replace(lane.suffix, ""))
    await directory.assign_role(
        RoleAssignment(name=name, scope=scope, principal_id=holder, role=role)
    )


async def _app_role(directory: Directory, lane: Lane) -> None:
    given = AppRoleAssignment(
        id=lane.guid("given"),
        principal_id=lane.identity(1).object_id,
        principal_type="ServicePrincipal",
        resource_id=lane.guid("principal"),
        app_role_id=lane.guid("role"),
    )
    await directory.app_roles.put(given)


async def _replace_credentials(directory: Directory, lane: Lane) -> None:
    """Replace all credentials of one identity in one change."""
    other = tuple(lane.credential(f"new{each}") for each in range(CREDENTIALS))
    await directory.identities.change(
        TENANT.id, lane.guid("client 2"), lambda one: replace(one, credentials=other)
    )


async def _disable_application(directory: Directory, lane: Lane) -> None:
    await directory.identities.change(
        TENANT.id, lane.guid("application"), lambda one: replace(one, enabled=False)
    )


async def _delete_identity(directory: Directory, lane: Lane) -> None:
    """Delete an identity with two role assignments, which are deleted with it."""
    await directory.identities.delete(TENANT.id, lane.guid("client 0"))


async def _delete_vault(directory: Directory, lane: Lane) -> None:
    await directory.store(Vaults).delete(lane.name("v"))


async def _delete_definition(directory: Directory, lane: Lane) -> None:
    await directory.role_definitions.delete(lane.guid("definition"))


async def _delete_application(directory: Directory, lane: Lane) -> None:
    await directory.identities.delete(TENANT.id, lane.guid("application"))


async def _delete_group(directory: Directory, lane: Lane) -> None:
    """Delete a resource group with everything in it."""
    if lane.iteration % 2:
        await directory.groups.delete(SUB, lane.group)


SCRIPT: tuple[Callable[[Directory, Lane], Awaitable[None]], ...] = (
    *(_group, _identities, _application, _vault, _cluster, _user, _definition, _assign_at_vault),
    *(_assign_at_subscription, _app_role, _replace_credentials, _disable_application),
    *(_delete_identity, _delete_vault, _delete_definition, _delete_application, _delete_group),
)


async def apply_change(directory: Directory, lane: int, number: int) -> None:
    """Apply the lane's change of this number; the audit entry names the lane."""
    iteration, step = divmod(number, len(SCRIPT))
    here = Lane(lane, iteration)
    with acting(Actor(object_id=here.suffix, name="lane")):
        await SCRIPT[step](directory, here)
