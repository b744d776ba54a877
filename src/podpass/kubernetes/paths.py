"""Paths of the objects of an API server, by kind, and the texts that are names of objects. Pure."""

import re
from urllib.parse import quote

from podpass.errors import UsageError

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def is_object_name(text: object) -> bool:
    """Return whether a value is a text that most kinds allow as a name."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def is_namespace_name(text: str) -> bool:
    """Return whether a text can be the name of a namespace."""
    return _NAMESPACE.fullmatch(text) is not None


_CORE, _APPS, _BATCH = "/api/v1", "/apis/apps/v1", "/apis/batch/v1"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_ADMISSION = "/apis/admissionregistration.k8s.io/v1"
# Root and plural of each kind.
_KINDS = {
    **{
        kind: (_CORE, f"{kind.lower()}s")
        for kind in ("Namespace", "Node", "Pod", "ServiceAccount", "Secret", "ConfigMap", "Service")
    },
    **{
        kind: (_APPS, f"{kind.lower()}s")
        for kind in ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")
    },
    **{kind: (_BATCH, f"{kind.lower()}s") for kind in ("Job", "CronJob")},
    **{
        kind: (_RBAC, f"{kind.lower()}s")
        for kind in ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
    },
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "MutatingWebhookConfiguration": (_ADMISSION, "mutatingwebhookconfigurations"),
    "MutatingAdmissionPolicy": (_ADMISSION, "mutatingadmissionpolicies"),
}
DISCOVERY_PATH = "/.well-known/openid-configuration"


def plural_of(kind: str) -> str:
    """Return the resource of a kind as paths and roles name it."""
    return _KINDS[kind][1]


def path_of(kind: str, name: str = "", *, namespace: str = "", part: str = "") -> str:
    """Return the path of an object, or of its collection if `name` is empty.

    Without a namespace, the collection is that of all namespaces. `part` is a subresource, such as `log`.
    Each name is one segment, so that no name reaches another object. Raises UsageError.
    """
    root, plural = _KINDS[kind]
    parts = [root, *(("namespaces", _segment(namespace)) if namespace else ()), plural]
    return "/".join([*parts, *((_segment(name),) if name else ()), *((part,) if part else ())])


def _segment(name: str) -> str:
    if name in (".", ".."):  # clients remove such a segment, with the one before it
        raise UsageError(f"{name!r} is not the name of an object")
    return quote(name, safe="")
