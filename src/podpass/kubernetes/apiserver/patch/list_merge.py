"""Merge rules of lists and objects: by a key, as a set, or atomic; for strategic merge patch and apply.

The two differ in some cases (a container's ports have one key in a strategic merge patch, two in server-side
apply), so a rule has both. Source: the patchStrategy, listType and structType tags of the API's types
(k8s.io/api, k8s.io/apimachinery v0.34).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_DEFAULT_KEYS = {"protocol": "TCP"}


@dataclass(frozen=True, slots=True)
class ListRule:
    """The merge rule of a list.

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

_RULES: dict[str, Mapping[str, ListRule]] = {
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
    "ReplicationControllerStatus": {"conditions": _TYPE},
    "JobStatus": {"conditions": ListRule("type")},
    "PodDisruptionBudgetStatus": {"conditions": _TYPE},
    "CustomResourceDefinitionStatus": {"conditions": ListRule(None, ("type",))},
}

# Types whose objects are atomic in server-side apply.
_ATOMIC_TYPES = {
    *("LabelSelector", "ObjectReference", "LocalObjectReference", "SecretKeySelector"),
    *("ConfigMapKeySelector", "ObjectFieldSelector", "ResourceFieldSelector", "NodeSelector"),
    *("NodeSelectorTerm", "TypedLocalObjectReference", "RoleRef", "FileKeySelector"),
}
_ATOMIC_MAPS = {
    ("PodSpec", "nodeSelector"),
    ("ReplicationControllerSpec", "selector"),
    ("ServiceSpec", "selector"),
    ("ManagedFieldsEntry", "fieldsV1"),
}
# Objects that keep only the fields of a patch from kubectl (retainKeys): a volume that becomes a config map
# is no longer an empty directory.
_RETAINED = frozenset(
    (("PodSpec", "volumes"), ("PodSpec", "resourceClaims"), ("DeploymentSpec", "strategy"))
)


def register(
    rules: Mapping[str, Mapping[str, ListRule]],
    atomic_types: Iterable[str],
    atomic_fields: Iterable[tuple[str, str]],
) -> None:
    """Add the rules of the types of a custom resource."""
    _RULES.update(rules)
    _ATOMIC_TYPES.update(atomic_types)
    _ATOMIC_MAPS.update(atomic_fields)


def unregister(
    owners: Iterable[str], atomic_types: Iterable[str], atomic_fields: Iterable[tuple[str, str]]
) -> None:
    """Remove registered rules."""
    for owner in owners:
        _RULES.pop(owner, None)
    _ATOMIC_TYPES.difference_update(atomic_types)
    _ATOMIC_MAPS.difference_update(atomic_fields)


def patch_strategy(owner: str, field: str) -> str:
    """Return the patch strategy of a field, as in OpenAPI; empty if the field is replaced."""
    merges = rule(owner, field).patch_key is not None
    retains = (owner, field) in _RETAINED
    return ",".join(filter(None, ("merge" if merges else "", "retainKeys" if retains else "")))


def rule(owner: str, field: str) -> ListRule:
    """Return the merge rule of the list in a field of a type."""
    return _RULES.get(owner, {}).get(field, ATOMIC)


def is_atomic(owner: str, field: str, kind: str) -> bool:
    """Return whether a field's object or map is atomic in server-side apply."""
    return kind in _ATOMIC_TYPES or (owner, field) in _ATOMIC_MAPS


def key_of(keys: tuple[str, ...], item: dict[str, Any]) -> dict[str, Any] | None:
    """Return the key fields of an item of a list; None if one of them is missing."""
    found = {name: item.get(name, _DEFAULT_KEYS.get(name)) for name in sorted(keys)}
    return None if None in found.values() else found
