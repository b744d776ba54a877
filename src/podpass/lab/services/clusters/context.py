"""The running cluster, for the operations of a request."""

from typing import cast

from podpass.directory.resource_manager.model import OperationContext
from podpass.directory.store.directory import Directory
from podpass.lab.cluster.backend import ClusterBackend
from podpass.lab.services.clusters.store import Clusters
from podpass.lab.services.clusters.wire import is_workload_identity_enabled

BACKEND = "clusters"


def cluster_of(context: OperationContext) -> ClusterBackend:
    """Return the cluster that the instance runs or trusts."""
    return cast("ClusterBackend", context.backends[BACKEND])


async def is_webhook_enabled(directory: Directory, subscription_id: str) -> bool:
    """Return whether the stored cluster has workload identity enabled, as it has by default."""
    found = await directory.store(Clusters).page(subscription_id, limit=1)
    return is_workload_identity_enabled(found[0].document if found else {})
