"""Validation of objects: the table of each kind's rules, and the rules that all kinds share.

The types of an object are checked and its defaults are set before. Each rule yields causes; the response
contains all of them (422 Invalid).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kubeling.apiserver import schema
from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.selectors import get_path
from kubeling.apiserver.status import Cause, CauseType
from kubeling.apiserver.validation import (
    core,
    custom_resource_definition,
    job,
    pod,
    policy,
    rules,
    webhook,
    workload,
)
from kubeling.apiserver.validation.rules import Causes

Object = Mapping[str, Any]

# Fields that have rules of their own, or that clients do not write.
_SKIPPED = frozenset(("metadata", "status", "kind", "apiVersion"))
# The cause for this value names the whole strategy.
_OWN_RULES = {("DeploymentStrategy", "type")}
# Fields that the schema does not require.
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "APIService": ("spec.group", "spec.version"),
    "CertificateSigningRequest": ("spec.usages",),
    "ControllerRevision": ("data",),
    "IPAddress": ("spec.parentRef",),
    "IngressClass": ("spec.controller",),
    "MutatingAdmissionPolicy": (
        *("spec.matchConstraints", "spec.mutations", "spec.reinvocationPolicy"),
    ),
    "MutatingAdmissionPolicyBinding": ("spec.policyName",),
    "PersistentVolume": ("spec.accessModes", "spec.capacity"),
    "ServiceCIDR": ("spec.cidrs",),
    "ValidatingAdmissionPolicy": ("spec.matchConstraints",),
    "ValidatingAdmissionPolicyBinding": ("spec.policyName", "spec.validationActions"),
    "VolumeAttachment": ("spec.source",),
    "VolumeAttributesClass": ("parameters",),
}
_POSITIVE: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("HorizontalPodAutoscaler", "autoscaling.v1.HorizontalPodAutoscaler"),
        ("spec.maxReplicas", "spec.minReplicas"),
    ),
    "APIService": ("spec.groupPriorityMinimum", "spec.versionPriority"),
}
_IMMUTABLE: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("DaemonSet", "Deployment", "ReplicaSet"), ("spec.selector",)),
    "ControllerRevision": ("data",),
    "CSIStorageCapacity": ("nodeTopology", "storageClassName"),
    "EndpointSlice": ("addressType",),
    "IPAddress": ("spec.parentRef",),
    "IngressClass": ("spec.controller",),
    "PodCertificateRequest": ("spec",),
    "ResourceClaimTemplate": ("spec",),
    "ResourceQuota": ("spec.scopes",),
    "RuntimeClass": ("handler",),
    "Secret": ("type",),
    "StorageClass": ("volumeBindingMode",),
    "VolumeAttachment": ("spec",),
    "resource.v1.ResourceClaim": ("spec",),
}
_FORBIDDEN: Mapping[str, tuple[str, ...]] = {
    "StorageClass": ("parameters", "provisioner", "reclaimPolicy"),
    "VolumeAttributesClass": ("driverName", "parameters"),
}
# The only fields of a spec that may change, and the message about the others.
_CHANGEABLE: Mapping[str, tuple[frozenset[str], str]] = {
    "PersistentVolumeClaim": (
        frozenset(("resources", "volumeAttributesClassName", "volumeName")),
        (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for"
            " bound claims"
        ),
    ),
    # The other fields determine the names of its pods and volumes.
    "StatefulSet": (
        frozenset(
            (
                *("minReadySeconds", "ordinals", "persistentVolumeClaimRetentionPolicy"),
                *("replicas", "revisionHistoryLimit", "template", "updateStrategy"),
            )
        ),
        (
            "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template',"
            " 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and"
            " 'minReadySeconds' are forbidden"
        ),
    ),
}


def validate(kind: Kind, obj: Object) -> Causes:
    """Check an object against its schema and the tables."""
    yield from _validate_required(kind, obj)
    name = kind.type_name
    for path in _REQUIRED.get(name, ()):
        yield from rules.required(get_path(obj, path), path)
    for path in _POSITIVE.get(name, ()):
        yield from rules.between(get_path(obj, path), 1, 2**31 - 1, path)
    spec = obj.get("spec") or {}
    if name == "Ingress":
        yield from _validate_ingress(spec)
    elif name == "APIService":
        wanted = f"{spec.get('version')}.{spec.get('group')}"
        wrong = (obj.get("metadata") or {}).get("name") != wanted
        yield from rules.invalid(wrong, "metadata.name", f"must be {wanted!r}")
    if (least := spec.get("minReplicas")) and (most := spec.get("maxReplicas")):
        reason = "must not be less than minReplicas"
        yield from rules.invalid(least > most, "spec.maxReplicas", reason)


def validate_update(kind: Kind, new: Object, old: Object) -> Causes:
    """Check that no immutable field changed."""
    for path in _IMMUTABLE.get(kind.type_name, ()):
        yield from rules.immutable(get_path(new, path), get_path(old, path), path)
    for path in _FORBIDDEN.get(kind.type_name, ()):
        yield from rules.immutable_forbidden(get_path(new, path), get_path(old, path), path)
    if kind.type_name in ("ClusterRoleBinding", "RoleBinding"):
        # Otherwise a user who may edit a binding could grant any role.
        after, before = new.get("roleRef"), old.get("roleRef")
        yield from rules.immutable(after, before, "roleRef", "cannot change roleRef")
    if found := _CHANGEABLE.get(kind.type_name):
        names, reason = found
        after, before = (
            {name: value for name, value in (obj.get("spec") or {}).items() if name not in names}
            for obj in (new, old)
        )
        yield from rules.immutable_forbidden(after, before, "spec", reason)


def validate_values(kind: Kind, obj: Object) -> Causes:
    """Check the fields with a fixed set of values, of any built-in kind."""
    for name, value, here, of in _fields(kind.schema_name, obj, ""):
        allowed = schema.notes(of).get("enum", {}).get(name, ())
        if allowed and value not in (None, "") and (of, name) not in _OWN_RULES:
            for at, each in enumerate(value) if isinstance(value, list) else ((-1, value),):
                yield from rules.one_of(each, allowed, here if at < 0 else f"{here}[{at}]")


def _validate_required(kind: Kind, obj: Object) -> Causes:
    """Check that required fields with text are not empty."""
    for name, value, here, of in _fields(kind.schema_name, obj, ""):
        is_text = schema.types()[of][name] in ("string", "bytes")
        # The core group is the empty string.
        if is_text and name != "group" and name in schema.required(of):
            yield from rules.required(value, here)


def _fields(kind: str, value: Any, path: str) -> Iterator[tuple[str, Any, str, str]]:
    """Yield each field in a value of a type, also a missing one: name, value, path and type of its owner."""
    inner = schema.element_type(kind)
    if inner is not None:
        if inner not in schema.types() and schema.element_type(inner) is None:
            return
        for part, each in _children(value):
            yield from _fields(inner, each, f"{path}{part}")
        return
    fields = schema.types().get(kind)
    if fields is None or not isinstance(value, dict):
        return
    for name, field_kind in fields.items():
        if path or name not in _SKIPPED:
            here, given = f"{path}.{name}" if path else name, value.get(name)
            yield name, given, here, kind
            if given is not None:
                yield from _fields(field_kind, given, here)


def _children(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        return ((f"[{key}]", each) for key, each in value.items())
    return ((f"[{at}]", each) for at, each in enumerate(value or ()))


def _validate_ingress(spec: Object) -> Causes:
    is_empty = not spec.get("rules") and not spec.get("defaultBackend")
    yield from rules.invalid(is_empty, "spec", "defaultBackend or rules must be given")
    for rule, here in rules.indexed(spec.get("rules"), "spec.rules"):
        http = f"{here}.http"
        for each, at in rules.indexed((rule.get("http") or {}).get("paths"), f"{http}.paths"):
            path, kind = each.get("path") or "", each.get("pathType")
            is_absolute = path.startswith("/")
            needs_path = kind in ("Exact", "Prefix") or path
            reason = "must be an absolute path"
            yield from rules.invalid(needs_path and not is_absolute, f"{at}.path", reason)
            backend, reason = each.get("backend") or {}, "exactly one of resource and service"
            count = sum(backend.get(name) is not None for name in ("resource", "service"))
            yield from rules.invalid(count != 1, f"{at}.backend", reason)


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
        return [*causes, *validate_values(kind, new)]
    if kind.type_name in _REPORTED_TOGETHER:
        causes += _CREATE[kind.type_name](new)
    causes += validate_update(kind, new, old)
    if rule := _UPDATE.get(kind.type_name):
        causes += rule(new, old)
    # If the change itself is not allowed, return only that.
    return causes or _body(kind, new)


def warnings(kind: Kind, obj: Mapping[str, Any]) -> list[str]:
    """Return warnings about an object that is valid but probably a mistake."""
    if kind.type_name == "Pod":
        return list(pod.warnings(obj))
    if kind.custom is not None:
        return [
            f'metadata.finalizers: "{each}": prefer a name with a domain and a path, such as '
            f'"example.com/{each}", so that it does not conflict with the name of another controller'
            for each in (obj.get("metadata") or {}).get("finalizers") or ()
            if "/" not in each and each not in _BUILT_IN_FINALIZERS
        ]
    if kind.type_name == "CustomResourceDefinition":
        return custom_resource_definition.warnings(obj)
    return list(workload.warnings(obj)) if kind.type_name in _TEMPLATED else []


def creation_warnings(kind: Kind) -> list[str]:
    """Return the warning about what will not happen with a new object of a kind."""
    message = _KINDS_WITHOUT_CONTROLLER.get(kind.kind) if kind.custom is None else None
    return [f"{kind.kind}: {message}"] if message else []


def _body(kind: Kind, obj: Mapping[str, Any]) -> list[Cause]:
    rule = _CREATE.get(kind.type_name)
    found = rule(obj) if rule else validate(kind, obj)
    return [*validate_values(kind, obj), *found]


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
