"""How lists and objects merge: by a key, as a set, or as a whole. One small table, read by the
strategic merge patch and by server-side apply.

The two differ in places (a container's ports have one key in the older patch, two in the newer
apply), so a rule holds both. Source: the patchStrategy, listType and structType tags of the API's
types (k8s.io/api, k8s.io/apimachinery v0.34).
"""

from dataclasses import dataclass
from typing import Any

_DEFAULT_KEYS = {"protocol": "TCP"}


@dataclass(frozen=True, slots=True)
class ListRule:
    """How a list merges.

    Shapes:  `patch_key` is the merge key of a strategic merge patch; `""` merges primitive values
             and None replaces the list. `apply_keys` are the keys of server-side apply: empty for
             an atomic list; `is_set` for a set of primitive values.
    """

    patch_key: str | None = None
    apply_keys: tuple[str, ...] = ()
    is_set: bool = False


ATOMIC = ListRule()
_NAME = ListRule("name", ("name",))
_TYPE = ListRule("type", ("type",))
_CONTAINER = {
    "ports": ListRule("containerPort", ("containerPort", "protocol")),
    "env": _NAME,
    "volumeMounts": ListRule("mountPath", ("mountPath",)),
    "volumeDevices": ListRule("devicePath", ("devicePath",)),
}

_RULES: dict[str, dict[str, ListRule]] = {
    "ObjectMeta": {
        "ownerReferences": ListRule("uid", ("uid",)),
        "finalizers": ListRule("", is_set=True),
    },
    "PodSpec": {
        **dict.fromkeys(("volumes", "containers", "initContainers"), _NAME),
        **dict.fromkeys(("ephemeralContainers", "imagePullSecrets"), _NAME),
        **dict.fromkeys(("resourceClaims", "schedulingGates"), _NAME),
        "hostAliases": ListRule("ip", ("ip",)),
        "topologySpreadConstraints": ListRule("topologyKey", ("topologyKey", "whenUnsatisfiable")),
    },
    "Container": _CONTAINER,
    "EphemeralContainer": _CONTAINER,
    "ResourceRequirements": {"claims": ListRule(None, ("name",))},
    "PodStatus": {
        "conditions": _TYPE,
        "podIPs": ListRule("ip", ("ip",)),
        "hostIPs": ListRule("ip"),
        "resourceClaimStatuses": _NAME,
    },
    "NodeSpec": {"podCIDRs": ListRule("", is_set=True)},
    "NodeStatus": {"conditions": _TYPE, "addresses": _TYPE},
    "NamespaceStatus": {"conditions": _TYPE},
    "ServiceSpec": {"ports": ListRule("port", ("port", "protocol"))},
    "ServiceStatus": {"conditions": _TYPE},
    "ServiceAccount": {"secrets": _NAME},
    "MutatingWebhookConfiguration": {"webhooks": _NAME},
    "ValidatingWebhookConfiguration": {"webhooks": _NAME},
    "MutatingWebhook": {"matchConditions": _NAME},
    "ValidatingWebhook": {"matchConditions": _NAME},
    "DeploymentStatus": {"conditions": _TYPE},
    "ReplicaSetStatus": {"conditions": _TYPE},
    "JobStatus": {"conditions": ListRule("type")},
    "PodDisruptionBudgetStatus": {"conditions": _TYPE},
}

# Objects server-side apply owns as a whole.
_ATOMIC_TYPES = frozenset(
    (
        *("LabelSelector", "ObjectReference", "LocalObjectReference", "SecretKeySelector"),
        *("ConfigMapKeySelector", "ObjectFieldSelector", "ResourceFieldSelector", "NodeSelector"),
        *("NodeSelectorTerm", "TypedLocalObjectReference", "RoleRef", "FileKeySelector"),
    )
)
_ATOMIC_MAPS = frozenset(
    (("PodSpec", "nodeSelector"), ("ServiceSpec", "selector"), ("ManagedFieldsEntry", "fieldsV1"))
)
# Objects of which only the patch's own fields stay when one is patched by kubectl: a volume that
# becomes a config map is no empty directory any more.
_RETAINED = frozenset(
    (("PodSpec", "volumes"), ("PodSpec", "resourceClaims"), ("DeploymentSpec", "strategy"))
)


def patch_strategy(owner: str, field: str) -> str:
    """Name how a field is patched, as the API's own description does; empty where it is replaced."""
    merges = rule(owner, field).patch_key is not None
    retains = (owner, field) in _RETAINED
    return ",".join(filter(None, ("merge" if merges else "", "retainKeys" if retains else "")))


def rule(owner: str, field: str) -> ListRule:
    """Say how the list in a field of a type merges."""
    return _RULES.get(owner, {}).get(field, ATOMIC)


def is_atomic(owner: str, field: str, kind: str) -> bool:
    """Tell whether server-side apply takes a field's object or map as a whole."""
    return kind in _ATOMIC_TYPES or (owner, field) in _ATOMIC_MAPS


def key_of(keys: tuple[str, ...], item: dict[str, Any]) -> dict[str, Any] | None:
    """Give the values that name an item of a list; None if one of them is missing."""
    found = {name: item.get(name, _DEFAULT_KEYS.get(name)) for name in sorted(keys)}
    return None if None in found.values() else found
