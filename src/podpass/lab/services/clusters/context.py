"""The running cluster, for the operations of a request."""

from typing import cast

from podpass.directory.resource_manager.model import OperationContext
from podpass.lab.cluster.backend import ClusterBackend

BACKEND = "clusters"


def cluster_of(context: OperationContext) -> ClusterBackend:
    """Return the cluster that the instance runs or trusts."""
    return cast("ClusterBackend", context.backends[BACKEND])
