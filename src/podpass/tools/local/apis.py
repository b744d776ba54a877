"""Resource Manager and Microsoft Graph of an instance, and the administrator who may use all of both."""

import asyncio
import uuid
from typing import TYPE_CHECKING

from podpass import names
from podpass.clock import Clock
from podpass.directory.model import RoleAssignment, User
from podpass.tools.local.azure import create_app as joined
from podpass.tools.local.datadir import Facts

if TYPE_CHECKING:
    from podpass.directory.access import Admit
    from podpass.directory.resource_manager.cluster_port import ClusterPort
    from podpass.directory.store import Directory
    from podpass.resource.guard import Keys
    from podpass.serve import App

TENANT_NAME = "podpass local"
SUBSCRIPTION_NAME = "podpass"
_OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
_ARM = ("https://management.azure.com", "https://management.core.windows.net")
_ARM_APP_ID = "797f4846-ba00-4fd7-ba43-dac1f8f63013"
_GRAPH = (f"https://{names.GRAPH_HOST}",)
_GRAPH_APP_ID = "00000003-0000-0000-c000-000000000000"


def admin_id(facts: Facts) -> str:
    """Name the administrator in the directory, the same in every life of an instance."""
    return str(uuid.uuid5(uuid.UUID(facts.tenant_id), facts.admin_username))


async def ensure_admin(directory: "Directory", facts: Facts) -> User:
    """Let the instance's administrator sign in, as owner of the subscription.

    A password that was made for the instance is hashed once: that is meant to be slow.
    """
    from podpass.exchange.passwords import hash_password

    user = await directory.users.get(admin_id(facts))
    if user is None:
        password = facts.admin_password.reveal()
        user = User(
            id=admin_id(facts),
            tenant_id=facts.tenant_id,
            name=facts.admin_username,
            display_name="podpass administrator",
            password=await asyncio.to_thread(hash_password, password),
        )
        await directory.users.put(user)
        await directory.assignments.put(_ownership(user, facts))
    return user


def _ownership(user: User, facts: Facts) -> RoleAssignment:
    return RoleAssignment(
        scope=f"/subscriptions/{facts.subscription_id}",
        principal_id=user.id,
        role=_OWNER,
        principal_type="User",
    )


async def wants_workload_identity(directory: "Directory", facts: Facts) -> bool:
    """Tell whether pods are to get identities: yes, until Resource Manager is told otherwise."""
    clusters = await directory.clusters.page(facts.subscription_id, limit=1)
    security = clusters[0].document.get("securityProfile", {}) if clusters else {}
    return bool(security.get("workloadIdentity", {}).get("enabled", True))


def create_app(
    directory: "Directory",
    cluster: "ClusterPort",
    keys: "Keys",
    facts: Facts,
    clock: Clock,
    *,
    authority: str,
    vault_suffix: str,
) -> "App":
    """Make both APIs on one port.

    Shapes:  `authority` and `vault_suffix` are for clients that come without the gateway.
    """
    from podpass.directory.graph.app import create_app as graph
    from podpass.directory.resource_manager.app import create_app as manager
    from podpass.directory.resource_manager.model import Place

    domain = facts.admin_username.partition("@")[2]
    place = Place(
        tenant_id=facts.tenant_id,
        tenant_name=TENANT_NAME,
        domain=domain,
        subscription_id=facts.subscription_id,
        subscription_name=SUBSCRIPTION_NAME,
        authority=authority,
        vault_suffix=vault_suffix,
    )
    arm, msgraph = (
        _admit(facts, keys, clock, *audiences)
        for audiences in ((*_ARM, _ARM_APP_ID), (*_GRAPH, _GRAPH_APP_ID))
    )
    return joined(
        manager(directory, arm, place, cluster, clock),
        graph(directory, msgraph, facts.tenant_id, domain, clock),
    )


def _admit(facts: Facts, keys: "Keys", clock: Clock, *audiences: str) -> "Admit":
    from podpass.resource.callers import admit_with
    from podpass.resource.guard import Guard

    slashed = (f"{audience}/" for audience in audiences if audience.startswith("https:"))
    return admit_with(
        Guard(
            tenant_id=facts.tenant_id,
            audiences={*audiences, *slashed},
            authorities=(),  # both are told apart from an application's own API by version 1 tokens
            keys=keys,
            clock=clock,
        )
    )
