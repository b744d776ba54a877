"""Whether an object says what can be: one table from kinds to their rules, and the rules all share.

Objects come here with their types checked and their defaults set. Each rule yields causes; the edge
answers all of them at once (422 Invalid).
"""

from collections.abc import Callable, Mapping
from typing import Any

from podpass.kubernetes.apiserver.kinds import Kind
from podpass.kubernetes.apiserver.status import Cause, Why
from podpass.kubernetes.apiserver.validation import (
    core,
    job,
    pod,
    policy,
    rbac,
    rules,
    webhook,
    workload,
)
from podpass.kubernetes.apiserver.validation.rules import Causes

Rule = Callable[[Mapping[str, Any]], Causes]
UpdateRule = Callable[[Mapping[str, Any], Mapping[str, Any]], Causes]

MAX_ANNOTATION_BYTES = 256 * 1024

_CREATE: Mapping[str, Rule] = {
    "ClusterRole": rbac.role,
    "ClusterRoleBinding": rbac.binding,
    "ConfigMap": core.config_map,
    "CronJob": job.cron_job,
    "DaemonSet": workload.daemon_set,
    "Deployment": workload.deployment,
    "EndpointSlice": policy.endpoint_slice,
    "Event": core.event,
    "Job": job.job,
    "Lease": core.lease,
    "MutatingWebhookConfiguration": webhook.configuration,
    "NetworkPolicy": policy.network_policy,
    "Node": core.node,
    "Pod": pod.pod,
    "PodDisruptionBudget": policy.budget,
    "PriorityClass": policy.priority_class,
    "ReplicaSet": workload.replica_set,
    "Role": rbac.role,
    "RoleBinding": rbac.binding,
    "Secret": core.secret,
    "Service": core.service,
    "ServiceAccount": core.service_account,
    "StatefulSet": workload.stateful_set,
    "ValidatingWebhookConfiguration": webhook.configuration,
}

_UPDATE: Mapping[str, UpdateRule] = {
    "ClusterRoleBinding": rbac.binding_update,
    "ConfigMap": core.config_map_update,
    "DaemonSet": workload.daemon_set_update,
    "Deployment": workload.deployment_update,
    "EndpointSlice": policy.endpoint_slice_update,
    "Job": job.job_update,
    "Pod": pod.pod_update,
    "PriorityClass": policy.priority_class_update,
    "ReplicaSet": workload.replica_set_update,
    "RoleBinding": rbac.binding_update,
    "Secret": core.secret_update,
    "Service": core.service_update,
    "StatefulSet": workload.stateful_set_update,
}

_NAMES: Mapping[str, Callable[[str], bool]] = {
    "Namespace": rules.is_label,
    "Service": rules.is_service_name,
    **dict.fromkeys(
        ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"), rules.is_path_segment
    ),
}
_TEMPLATED = frozenset(("DaemonSet", "Deployment", "Job", "ReplicaSet", "StatefulSet"))
# Kinds that charts bring along. Whoever applies one is told that nothing comes of it here.
_WITHOUT_EFFECT: Mapping[str, str] = {
    "CronJob": "this cluster keeps cron jobs and starts none: `kubectl create job --from` does",
    "DaemonSet": "this cluster keeps daemon sets and makes no pods of them",
    "NetworkPolicy": "this cluster keeps network policies and enforces none",
    "StatefulSet": "this cluster keeps stateful sets and makes no pods of them",
}
_PLAIN_FINALIZERS = ("foregroundDeletion", "kubernetes", "orphan")


def create(kind: Kind, obj: Mapping[str, Any]) -> list[Cause]:
    """Find what is wrong with a new object."""
    causes = list(_metadata(kind, obj.get("metadata") or {}))
    if kind.kind == "Pod":
        causes += pod.pod_creation(obj)
    return causes + _body(kind, obj)


def update(
    kind: Kind, new: Mapping[str, Any], old: Mapping[str, Any], *, subresource: str = ""
) -> list[Cause]:
    """Find what is wrong with a changed object, what may not change included."""
    metadata = new.get("metadata") or {}
    causes = [*_metadata(kind, metadata), *_metadata_update(metadata, old.get("metadata") or {})]
    if subresource == "status":
        return causes
    if kind.kind == "Pod" and subresource == "ephemeralcontainers":
        return causes + list(pod.ephemeral_update(new, old))
    if rule := _UPDATE.get(kind.kind):
        causes += rule(new, old)
    # A change that is not allowed at all is the whole answer; what else is wrong would distract.
    return causes or _body(kind, new)


def warnings(kind: Kind, obj: Mapping[str, Any]) -> list[str]:
    """Say what is allowed and probably not meant."""
    if kind.kind == "Pod":
        return list(pod.warnings(obj))
    told = list(workload.warnings(obj)) if kind.kind in _TEMPLATED else []
    return [*told, _WITHOUT_EFFECT[kind.kind]] if kind.kind in _WITHOUT_EFFECT else told


def _body(kind: Kind, obj: Mapping[str, Any]) -> list[Cause]:
    rule = _CREATE.get(kind.kind)
    return list(rule(obj)) if rule else []


def _metadata(kind: Kind, metadata: Mapping[str, Any]) -> Causes:
    name = metadata.get("name")
    is_name = _NAMES.get(kind.kind, rules.is_subdomain)
    if name:
        why = f"{name!r} is not a name for {kind.plural}"
        yield from rules.invalid(not is_name(name), "metadata.name", why)
    else:
        yield from rules.required(None, "metadata.name", "name or generateName must be given")
    yield from rules.labels(metadata.get("labels") or {}, "metadata.labels")
    yield from _annotations(metadata.get("annotations") or {})
    for at, finalizer in enumerate(metadata.get("finalizers") or ()):
        known = finalizer in _PLAIN_FINALIZERS or (
            rules.is_qualified(finalizer) and "/" in finalizer
        )
        why = f"{finalizer!r} is not a domain and a name"
        yield from rules.invalid(not known, f"metadata.finalizers[{at}]", why)
    yield from _owners(metadata)


def _annotations(annotations: Mapping[str, str]) -> Causes:
    for key in annotations:
        broken = not rules.is_qualified(key.lower())
        yield from rules.invalid(broken, "metadata.annotations", f"{key!r} is not a key")
    size = sum(len(key) + len(value.encode()) for key, value in annotations.items())
    if size > MAX_ANNOTATION_BYTES:
        why = f"longer than {MAX_ANNOTATION_BYTES} bytes"
        yield Cause(Why.TOO_LONG, why, "metadata.annotations")


def _owners(metadata: Mapping[str, Any]) -> Causes:
    owners = metadata.get("ownerReferences") or ()
    for owner in owners:
        for part in ("apiVersion", "kind", "name", "uid"):
            here = f"metadata.ownerReferences.{part}"
            yield from rules.invalid(not owner.get(part), here, "must not be empty")
    controllers = [owner for owner in owners if owner.get("controller")]
    why = "only one owner can be the controller"
    yield from rules.invalid(len(controllers) > 1, "metadata.ownerReferences", why)


def _metadata_update(new: Mapping[str, Any], old: Mapping[str, Any]) -> Causes:
    for part in ("name", "namespace", "uid", "creationTimestamp"):
        yield from rules.immutable(new.get(part), old.get(part), f"metadata.{part}")
    added = set(new.get("finalizers") or ()) - set(old.get("finalizers") or ())
    why = "an object that is being deleted takes no new finalizers"
    yield from rules.forbidden(old.get("deletionTimestamp") and added, "metadata.finalizers", why)
