"""A thin client of the Kubernetes API: requests, Status errors, and watches that reconnect.

Its input is a kubeconfig or the ServiceAccount of a pod; its output is plain JSON objects. It never follows a
redirect, reads a proxy from the environment, or shows a credential.
"""

from podpass.kubernetes.client.client import (
    APPLY_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    KubeClient,
    Params,
)
from podpass.kubernetes.client.config import Target, in_cluster, read_kubeconfig
from podpass.kubernetes.client.errors import (
    BadKubeconfig,
    EntryNotFound,
    KubeError,
    KubeUnreachable,
)
from podpass.kubernetes.client.reflector import BackOff
from podpass.kubernetes.client.responses import Object

__all__ = [
    "APPLY_PATCH",
    "MERGE_PATCH",
    "STRATEGIC_PATCH",
    "BackOff",
    "BadKubeconfig",
    "EntryNotFound",
    "KubeClient",
    "KubeError",
    "KubeUnreachable",
    "Object",
    "Params",
    "Target",
    "in_cluster",
    "read_kubeconfig",
]
