"""Decide whether a cluster looks like one for tests: an installation changes DNS and pods. Pure."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from podpass.errors import Error

# Labels of nodes, by their prefix.
_NODE_LABELS = {
    "kubernetes.azure.com/": "AKS",
    "eks.amazonaws.com/": "EKS",
    "alpha.eksctl.io/": "EKS",
    "cloud.google.com/gke-": "GKE",
    "node.openshift.io/": "OpenShift",
    "openshift.io/": "OpenShift",
}
# Host names of API servers, by their end.
_SERVERS = {
    ".azmk8s.io": "AKS",
    ".eks.amazonaws.com": "EKS",
    ".gke.goog": "GKE",
    ".openshiftapps.com": "OpenShift",
}


class NotATestCluster(Error):
    """The cluster looks like a managed cluster, and its name was not repeated."""

    code = "not_a_test_cluster"


def find_platform(server: str, node_labels: Sequence[Mapping[str, str]]) -> str | None:
    """Return the managed platform of a cluster, None if it looks like a test cluster."""
    host = (urlsplit(server).hostname or "").lower()
    for end, platform in _SERVERS.items():
        if host.endswith(end):
            return platform
    names = {name for labels in node_labels for name in labels}
    for prefix, platform in _NODE_LABELS.items():
        if any(name.startswith(prefix) for name in names):
            return platform
    return None


def check_cluster(
    context: str, server: str, node_labels: Sequence[Mapping[str, str]], confirmed: str | None
) -> None:
    """Refuse a managed cluster, unless the caller has repeated the name of its context.

    Raises NotATestCluster.
    """
    if confirmed is not None and confirmed != context:
        raise NotATestCluster(
            f"--yes-this-cluster {confirmed} is not the current context, {context or 'which has no name'}",
            hint="check the context: kubectl config current-context",
        )
    platform = find_platform(server, node_labels)
    if platform is not None and confirmed is None:
        raise NotATestCluster(
            f"{context or server} is a cluster of {platform}; the cloud half is for test clusters, because it"
            " changes the cluster's DNS and the trust of its pods",
            hint=f"if it is a test cluster, add --yes-this-cluster {context}",
        )
