"""Resource Manager and Microsoft Graph of an instance, on one port."""

from typing import TYPE_CHECKING

from podpass.clock import Clock
from podpass.directory.management_app import create_app as joined
from podpass.directory.resources import GRAPH_APP_ID, MANAGER_APP_ID, audiences
from podpass.local.datadir import Facts

if TYPE_CHECKING:
    from podpass.directory.access import Admit
    from podpass.directory.resource_manager.cluster_port import ClusterPort
    from podpass.directory.store.directory import Directory
    from podpass.http.server import App
    from podpass.resource.guard import Keys

TENANT_NAME = "podpass local"
SUBSCRIPTION_NAME = "podpass"


async def wants_workload_identity(directory: "Directory", facts: Facts) -> bool:
    """Tell whether pods are to get identities: yes, until Resource Manager is told otherwise."""
    from podpass.directory.resource_manager import cluster_wire

    clusters = await directory.clusters.page(facts.subscription_id, limit=1)
    return cluster_wire.workload_identity_on(clusters[0].document if clusters else {})


def create_app(
    directory: "Directory",
    cluster: "ClusterPort",
    keys: "Keys",
    facts: Facts,
    clock: Clock,
    *,
    authority: str,
    graph_origin: str,
    vault_suffix: str,
) -> "App":
    """Make both APIs on one port.

    Shapes:  `authority`, `graph_origin` and `vault_suffix` are for clients that come without the gateway.
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
    arm = _admit(facts, keys, clock, audiences(MANAGER_APP_ID))
    msgraph = _admit(facts, keys, clock, audiences(GRAPH_APP_ID, [graph_origin]))
    return joined(
        manager(directory, arm, place, cluster, clock),
        graph(directory, msgraph, facts.tenant_id, domain, clock),
    )


def _admit(facts: Facts, keys: "Keys", clock: Clock, accepted: frozenset[str]) -> "Admit":
    from podpass.resource.api_callers import admit_with
    from podpass.resource.guard import Guard

    return admit_with(
        Guard(
            tenant_id=facts.tenant_id,
            audiences=accepted,
            authorities=(),  # tokens for Azure's own APIs are of version 1, an application's own never pass
            keys=keys,
            clock=clock,
        )
    )
