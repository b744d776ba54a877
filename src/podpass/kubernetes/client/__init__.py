"""A thin client of the Kubernetes API: requests, errors as it words them, and watches that heal.

What enters is a kubeconfig (or the account a pod was given); what leaves are plain JSON objects. It must
never follow a redirect, read a proxy from the environment, or show a credential.
"""

from podpass.kubernetes.client.client import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    KubeClient,
    Object,
    Params,
)
from podpass.kubernetes.client.config import Target, in_cluster, read_kubeconfig
from podpass.kubernetes.client.errors import BadKubeconfig, KubeError, KubeUnreachable
from podpass.kubernetes.client.reflector import BackOff

__all__ = [
    "APPLY_PATCH",
    "JSON_PATCH",
    "MERGE_PATCH",
    "STRATEGIC_PATCH",
    "BackOff",
    "BadKubeconfig",
    "KubeClient",
    "KubeError",
    "KubeUnreachable",
    "Object",
    "Params",
    "Target",
    "in_cluster",
    "read_kubeconfig",
]
