"""Validation of objects: the table of each kind's rules, and the rules that all kinds share.

The types of an object are checked and its defaults are set before. Each rule yields causes; the response
contains all of them (422 Invalid).
"""

from collections.abc import Callable, Mapping
from typing import Any

from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.status import Cause, CauseType
from kubeling.apiserver.validation import (
    core,
    custom_resource_definition,
    job,
    pod,
    policy,
    rules,
    stored,
    webhook,
    workload,
)
from kubeling.apiserver.validation.rules import Causes

Rule = Callable[[Mapping[str, Any]], Causes]
UpdateRule = Callable[[Mapping[str, Any], Mapping[str, Any]], Causes]

MAX_ANNOTATION_BYTES = 256 * 1024

_CREATE: Mapping[str, Rule] = {
    "ClusterRole": policy.validate_role,
    "ClusterRoleBinding": policy.validate_binding,
    "ConfigMap": core.validate_config_map,
    "CronJob": job.validate_cron_job,
    "CSIDriver": policy.validate_csi_driver,
    "CustomResourceDefinition": custom_resource_definition.validate_definition,
    "DaemonSet": workload.validate_daemon_set,
    "Deployment": workload.validate_deployment,
    "EndpointSlice": policy.validate_endpoint_slice,
    "Endpoints": policy.validate_endpoints,
    "Event": core.validate_event,
    "Job": job.validate_job,
    "Lease": core.validate_lease,
    "LimitRange": core.validate_limit_range,
    "MutatingWebhookConfiguration": webhook.validate_configuration,
    "NetworkPolicy": policy.validate_network_policy,
    "Node": core.validate_node,
    "PersistentVolumeClaim": core.validate_claim,
    "Pod": pod.validate_pod,
    "PodDisruptionBudget": policy.validate_budget,
    "PodTemplate": rules.fields(template=workload.validate_template),
    "PriorityClass": policy.validate_priority_class,
    "ReplicaSet": workload.validate_replica_set,
    "ReplicationController": workload.validate_replication_controller,
    "ResourceQuota": core.validate_resource_quota,
    "Role": policy.validate_role,
    "RoleBinding": policy.validate_binding,
    "Secret": core.validate_secret,
    "Service": core.validate_service,
    "ServiceAccount": core.validate_service_account,
    "StatefulSet": workload.validate_stateful_set,
    "ValidatingWebhookConfiguration": webhook.validate_configuration,
    "events.v1.Event": core.validate_new_event,
}

_UPDATE: Mapping[str, UpdateRule] = {
    "ConfigMap": core.validate_config_map_update,
    "CustomResourceDefinition": custom_resource_definition.validate_definition_update,
    "Job": job.validate_job_update,
    "Pod": pod.validate_pod_update,
    "PriorityClass": policy.validate_priority_class_update,
    "Secret": core.validate_secret_update,
    "Service": core.validate_service_update,
}
# An update of these kinds reports invalid fields and changes that are not allowed together.
_REPORTED_TOGETHER = frozenset(
    (
        *("DaemonSet", "Deployment", "Job", "PersistentVolumeClaim", "ReplicaSet"),
        *("ResourceQuota", "StatefulSet"),
    )
)

_NAMES: Mapping[str, Callable[[str], bool]] = {
    "Namespace": rules.is_label,
    "Service": rules.is_service_name,
    **dict.fromkeys(
        (
            *("ClusterRole", "ClusterRoleBinding", "ClusterTrustBundle", "IPAddress", "Role"),
            "RoleBinding",
        ),
        rules.is_path_segment,
    ),
}
_TEMPLATED = frozenset(
    ("DaemonSet", "Deployment", "Job", "ReplicaSet", "ReplicationController", "StatefulSet")
)
# What does not happen because no controller of this cluster does it. The response to the creation of an
# object of such a kind has this warning.
_KINDS_WITHOUT_CONTROLLER: Mapping[str, str] = {
    "CertificateSigningRequest": "no signer runs here; an approved request gets no certificate",
    "FlowSchema": "requests are not classified; it has no effect",
    "HorizontalPodAutoscaler": "no controller runs here; nothing scales its target",
    "Ingress": "no controller runs here; nothing routes to it",
    "IngressClass": "no controller runs here; nothing routes to its Ingresses",
    "MutatingAdmissionPolicy": "policies are not evaluated here; it changes nothing",
    "MutatingAdmissionPolicyBinding": "policies are not evaluated here; it changes nothing",
    "NetworkPolicy": "this cluster stores NetworkPolicies but does not enforce them",
    "PersistentVolume": "no controller runs here; no claim is bound to it",
    "PersistentVolumeClaim": "this cluster provisions no volumes: each claim is a folder on the "
    "node, without a limit of its size",
    "PodCertificateRequest": "no signer runs here; it gets no certificate",
    "PriorityLevelConfiguration": "requests are not classified; it has no effect",
    "RuntimeClass": "the node has only the handler runc; pods of other handlers do not start",
    "StorageClass": "no provisioner runs here; claims of the class get no volume",
    "StorageVersionMigration": "no controller runs here; nothing is migrated",
    "ValidatingAdmissionPolicy": "policies are not evaluated here; it refuses nothing",
    "ValidatingAdmissionPolicyBinding": "policies are not evaluated here; it refuses nothing",
    "VolumeAttachment": "no controller runs here; no volume is attached",
}
_BUILT_IN_FINALIZERS = ("foregroundDeletion", "kubernetes", "orphan")


def create(kind: Kind, obj: Mapping[str, Any]) -> list[Cause]:
    """Validate a new object."""
    causes = list(_validate_metadata(kind, obj.get("metadata") or {}))
    if kind.custom is not None:
        return causes + list(kind.custom.validate(obj))
    if kind.type_name == "Pod":
        causes += pod.validate_pod_creation(obj)
    return causes + _body(kind, obj)


def update(
    kind: Kind, new: Mapping[str, Any], old: Mapping[str, Any], *, subresource: str = ""
) -> list[Cause]:
    """Validate a changed object, and that no immutable field changed."""
    metadata = new.get("metadata") or {}
    causes = [
        *_validate_metadata(kind, metadata),
        *_validate_metadata_update(metadata, old.get("metadata") or {}),
    ]
    if kind.custom is not None:
        return causes + list(kind.custom.validate(new, old))
    if subresource == "status":
        return causes
    if kind.type_name == "Pod" and subresource == "ephemeralcontainers":
        causes += pod.validate_ephemeral_update(new, old)
        return [*causes, *stored.validate_values(kind, new)]
    if kind.type_name in _REPORTED_TOGETHER:
        causes += _CREATE[kind.type_name](new)
    causes += stored.validate_update(kind, new, old)
    if rule := _UPDATE.get(kind.type_name):
        causes += rule(new, old)
    # If the change itself is not allowed, return only that.
    return causes or _body(kind, new)


def warnings(kind: Kind, obj: Mapping[str, Any]) -> list[str]:
    """Return warnings about an object that is valid but probably a mistake."""
    if kind.type_name == "Pod":
        return list(pod.warnings(obj))
    if kind.custom is not None:
        return _unqualified_finalizers(obj)
    if kind.type_name == "CustomResourceDefinition":
        return custom_resource_definition.warnings(obj)
    return list(workload.warnings(obj)) if kind.type_name in _TEMPLATED else []


def creation_warnings(kind: Kind) -> list[str]:
    """Return the warning about what will not happen with a new object of a kind."""
    message = _KINDS_WITHOUT_CONTROLLER.get(kind.kind) if kind.custom is None else None
    return [f"{kind.kind}: {message}"] if message else []


def _unqualified_finalizers(obj: Mapping[str, Any]) -> list[str]:
    return [
        f'metadata.finalizers: "{each}": prefer a name with a domain and a path, such as '
        f'"example.com/{each}", so that it does not conflict with the name of another controller'
        for each in (obj.get("metadata") or {}).get("finalizers") or ()
        if "/" not in each and each not in _BUILT_IN_FINALIZERS
    ]


def _body(kind: Kind, obj: Mapping[str, Any]) -> list[Cause]:
    rule = _CREATE.get(kind.type_name)
    found = rule(obj) if rule else stored.validate(kind, obj)
    return [*stored.validate_values(kind, obj), *found]


def _validate_metadata(kind: Kind, metadata: Mapping[str, Any]) -> Causes:
    name = metadata.get("name")
    is_name = _NAMES.get(kind.type_name, rules.is_subdomain)
    if name:
        reason = f"{name!r} is not a valid name for {kind.plural}"
        yield from rules.invalid(not is_name(name), "metadata.name", reason)
    else:
        yield from rules.required(None, "metadata.name", "name or generateName must be given")
    yield from rules.labels(metadata.get("labels"), "metadata.labels")
    yield from _validate_annotations(metadata.get("annotations") or {})
    for at, finalizer in enumerate(metadata.get("finalizers") or ()):
        # Only the names of custom resources and their definitions may lack a domain.
        is_free = kind.custom is not None or kind.type_name == "CustomResourceDefinition"
        known = finalizer in _BUILT_IN_FINALIZERS or (
            rules.is_qualified(finalizer) and (is_free or "/" in finalizer)
        )
        reason = f"{finalizer!r} is not a domain and a name"
        yield from rules.invalid(not known, f"metadata.finalizers[{at}]", reason)
    yield from _validate_owners(metadata)


def _validate_annotations(annotations: Mapping[str, str]) -> Causes:
    yield from rules.annotation_keys(annotations, "metadata.annotations")
    size = sum(len(key) + len(value.encode()) for key, value in annotations.items())
    if size > MAX_ANNOTATION_BYTES:
        reason = f"longer than {MAX_ANNOTATION_BYTES} bytes"
        yield Cause(CauseType.TOO_LONG, reason, "metadata.annotations")


def _validate_owners(metadata: Mapping[str, Any]) -> Causes:
    owners = metadata.get("ownerReferences") or ()
    for owner in owners:
        for part in ("apiVersion", "kind", "name", "uid"):
            here = f"metadata.ownerReferences.{part}"
            yield from rules.invalid(not owner.get(part), here, "must not be empty")
    controllers = [owner for owner in owners if owner.get("controller")]
    reason = "only one owner can be the controller"
    yield from rules.invalid(len(controllers) > 1, "metadata.ownerReferences", reason)


def _validate_metadata_update(new: Mapping[str, Any], old: Mapping[str, Any]) -> Causes:
    for part in ("name", "namespace", "uid", "creationTimestamp"):
        yield from rules.immutable(new.get(part), old.get(part), f"metadata.{part}")
    added = set(new.get("finalizers") or ()) - set(old.get("finalizers") or ())
    reason = "a deleted object must not get new finalizers"
    yield from rules.forbidden(
        old.get("deletionTimestamp") and added, "metadata.finalizers", reason
    )
