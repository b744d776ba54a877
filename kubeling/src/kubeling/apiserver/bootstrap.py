"""The default objects of a cluster: namespaces, the API server's Service, roles, bindings, priority classes.

They are written to the store without admission, as the post-start hooks of kube-apiserver do. Objects that
exist already are not changed.
"""

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from kubeling.apiserver.kinds import Kind, kind_by_name
from kubeling.apiserver.patch import server_side_apply
from kubeling.apiserver.storage.storage import Object, ObjectStore
from kubeling.apiserver.validation.policy import SYSTEM_CLASSES
from kubeling.clock import Clock, rfc3339
from kubeling.service_account.names import ALL_ACCOUNTS_GROUP, DISCOVERY_PATH, JWKS_PATH

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
SERVICE_ADDRESS = "10.96.0.1"
_RBAC = "rbac.authorization.k8s.io"
_READ = ["get", "list", "watch"]
_WRITE = ["create", "delete", "deletecollection", "patch", "update"]
_SCALABLE = ["deployments", "replicasets", "statefulsets"]
_WORKLOADS = ["controllerrevisions", "daemonsets", *_SCALABLE]
_WORKLOADS += [f"{each}/scale" for each in _SCALABLE]
_WORKLOADS_WITH_STATUS = [*_WORKLOADS, *(f"{each}/status" for each in ("daemonsets", *_SCALABLE))]
_REPLICATION = ["replicationcontrollers", "replicationcontrollers/scale"]
_OBJECTS = ["configmaps", "events", "pods", "pods/log", "pods/status", "services"]
_OBJECTS += ["serviceaccounts"]
_CLAIMS = ["persistentvolumeclaims", "persistentvolumeclaims/status"]
_LIMITS = ["limitranges", "resourcequotas", "resourcequotas/status"]
_AUTOSCALERS = "horizontalpodautoscalers"
_DEVICES = ["resourceclaims", "resourceclaimtemplates"]
_NETWORKING = ["ingresses", "networkpolicies"]
_DISCOVERY = ["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"]
_PUBLIC = ["/healthz", "/livez", "/readyz", "/version", "/version/"]
_ISSUER = [DISCOVERY_PATH, DISCOVERY_PATH + "/", JWKS_PATH, JWKS_PATH + "/"]
_REVIEWS = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]
_Rule = dict[str, Any]


def _rule(groups: Sequence[str], resources: Sequence[str], verbs: Sequence[str]) -> _Rule:
    return {"verbs": list(verbs), "apiGroups": list(groups), "resources": list(resources)}


def _paths(paths: Sequence[str]) -> _Rule:
    return {"verbs": ["get"], "nonResourceURLs": list(paths)}


_VIEW = [
    _rule([""], [*_OBJECTS, "namespaces", "endpoints", *_CLAIMS, *_LIMITS], _READ),
    _rule([""], [*_REPLICATION, "replicationcontrollers/status"], _READ),
    _rule(["autoscaling"], [_AUTOSCALERS, f"{_AUTOSCALERS}/status"], _READ),
    _rule(["resource.k8s.io"], [*_DEVICES, "resourceclaims/status"], _READ),
    _rule(["apps"], _WORKLOADS_WITH_STATUS, _READ),
    _rule(["batch"], ["jobs", "jobs/status", "cronjobs", "cronjobs/status"], _READ),
    _rule(["networking.k8s.io"], [*_NETWORKING, "ingresses/status"], _READ),
    _rule(["policy"], ["poddisruptionbudgets", "poddisruptionbudgets/status"], _READ),
    _rule(["discovery.k8s.io"], ["endpointslices"], _READ),
]
_EDIT = [
    *_VIEW,
    _rule([""], ["pods/attach", "pods/exec", "pods/portforward"], [*_READ, *_WRITE]),
    _rule([""], ["secrets"], _READ),
    _rule([""], ["serviceaccounts"], ["impersonate"]),
    _rule([""], ["serviceaccounts/token", "pods/eviction"], ["create"]),
    _rule([""], ["configmaps", "events", "pods", "secrets", "serviceaccounts", "services"], _WRITE),
    _rule([""], _CLAIMS[:1], _WRITE),
    _rule(["autoscaling"], [_AUTOSCALERS], _WRITE),
    _rule(["resource.k8s.io"], _DEVICES, _WRITE),
    _rule([""], _REPLICATION, _WRITE),
    _rule(["apps"], _WORKLOADS, _WRITE),
    _rule(["batch"], ["jobs", "cronjobs"], _WRITE),
    _rule(["policy"], ["poddisruptionbudgets"], _WRITE),
    _rule(["networking.k8s.io"], _NETWORKING, _WRITE),
    _rule(["coordination.k8s.io"], ["leases"], [*_READ, *_WRITE]),
]
_ADMIN = [
    *_EDIT,
    _rule(["authorization.k8s.io"], ["localsubjectaccessreviews"], ["create"]),
    _rule([_RBAC], ["rolebindings", "roles"], [*_READ, *_WRITE]),
]
_NODE = [
    _rule(["authentication.k8s.io"], ["tokenreviews"], ["create"]),
    _rule(
        ["authorization.k8s.io"], ["localsubjectaccessreviews", "subjectaccessreviews"], ["create"]
    ),
    _rule([""], ["services"], _READ),
    _rule(["discovery.k8s.io"], ["endpointslices"], _READ),
    _rule(["node.k8s.io"], ["runtimeclasses"], _READ),
    _rule([""], ["nodes"], ["create", *_READ]),
    _rule([""], ["nodes", "nodes/status"], ["update", "patch"]),
    _rule([""], ["events"], ["create", "update", "patch"]),
    _rule([""], ["pods"], [*_READ, "create", "delete"]),
    _rule([""], ["pods/status"], ["update", "patch"]),
    _rule([""], ["pods/eviction", "serviceaccounts/token"], ["create"]),
    _rule([""], ["secrets", "configmaps", "serviceaccounts"], _READ),
    _rule([""], ["persistentvolumeclaims"], ["get"]),
    _rule(["coordination.k8s.io"], ["leases"], [*_READ, "create", "delete", "patch", "update"]),
]

_ROLES: dict[str, list[_Rule]] = {
    "cluster-admin": [
        _rule(["*"], ["*"], ["*"]),
        {"verbs": ["*"], "nonResourceURLs": ["*"]},
    ],
    "admin": _ADMIN,
    "edit": _EDIT,
    "view": _VIEW,
    "system:discovery": [_paths([*_PUBLIC, *_DISCOVERY])],
    "system:public-info-viewer": [_paths(_PUBLIC)],
    "system:basic-user": [
        _rule(["authorization.k8s.io"], _REVIEWS, ["create"]),
        _rule(["authentication.k8s.io"], ["selfsubjectreviews"], ["create"]),
    ],
    "system:service-account-issuer-discovery": [_paths(_ISSUER)],
    "system:node": _NODE,
    "system:auth-delegator": [
        _rule(["authentication.k8s.io"], ["tokenreviews"], ["create"]),
        _rule(["authorization.k8s.io"], ["subjectaccessreviews"], ["create"]),
    ],
}
_AGGREGATES = {"admin": "", "edit": "admin", "view": "edit"}

_GROUP = "Group"
_BINDINGS: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "cluster-admin": ("cluster-admin", [(_GROUP, "system:masters")]),
    "system:basic-user": ("system:basic-user", [(_GROUP, "system:authenticated")]),
    "system:discovery": ("system:discovery", [(_GROUP, "system:authenticated")]),
    "system:public-info-viewer": (
        "system:public-info-viewer",
        [(_GROUP, "system:authenticated"), (_GROUP, "system:unauthenticated")],
    ),
    "system:service-account-issuer-discovery": (
        "system:service-account-issuer-discovery",
        [(_GROUP, ALL_ACCOUNTS_GROUP)],
    ),
    "system:node": ("system:node", [(_GROUP, "system:nodes")]),
}


def create_defaults(store: ObjectStore, clock: Clock) -> None:
    """Create the default objects that are missing."""
    for kind, obj in _objects():
        metadata = obj["metadata"]
        if store.get_stored(kind, metadata.get("namespace", ""), metadata["name"]) is None:
            _create(store, kind, obj, clock)


def create_namespace(store: ObjectStore, name: str, clock: Clock) -> None:
    """Create a namespace. Raises AlreadyExists, StoreError."""
    _create(store, kind_by_name("Namespace"), namespace(name), clock)


def _create(store: ObjectStore, kind: Kind, obj: Object, clock: Clock) -> None:
    metadata = obj["metadata"]
    metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": rfc3339(clock())}
    managed = server_side_apply.track_update(kind, None, obj, "kube-apiserver", now=clock())
    metadata["managedFields"] = managed
    store.create(kind, obj)


def _objects() -> Iterator[tuple[Kind, Object]]:
    for name in NAMESPACES:
        yield kind_by_name("Namespace"), namespace(name)
    for name, rules in _ROLES.items():
        yield kind_by_name("ClusterRole"), _role(name, rules)
    for name, (role, subjects) in _BINDINGS.items():
        yield kind_by_name("ClusterRoleBinding"), _binding(name, role, subjects)
    for name, value in SYSTEM_CLASSES.items():
        yield kind_by_name("PriorityClass"), _priority_class(name, value)
    yield kind_by_name("Service"), _service()


def namespace(name: str) -> Object:
    """Build a Namespace."""
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def _metadata(name: str) -> Object:
    return {
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    }


def _role(name: str, rules: list[_Rule]) -> Object:
    role: Object = {"metadata": _metadata(name), "rules": rules}
    if name in _AGGREGATES:
        label = f"rbac.authorization.k8s.io/aggregate-to-{name}"
        role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]}
        if above := _AGGREGATES[name]:
            role["metadata"]["labels"][f"rbac.authorization.k8s.io/aggregate-to-{above}"] = "true"
    return role


def _binding(name: str, role: str, subjects: list[tuple[str, str]]) -> Object:
    return {
        "metadata": _metadata(name),
        "subjects": [
            {"kind": kind, "apiGroup": _RBAC, "name": subject} for kind, subject in subjects
        ],
        "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
    }


def _priority_class(name: str, value: int) -> Object:
    return {
        "metadata": {"name": name, "generation": 1},
        "value": value,
        "description": "For pods that the cluster or its node needs to work.",
        "preemptionPolicy": "PreemptLowerPriority",
    }


def _service() -> Object:
    return {
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443}],
            "clusterIP": SERVICE_ADDRESS,
            "clusterIPs": [SERVICE_ADDRESS],
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {}},
    }
