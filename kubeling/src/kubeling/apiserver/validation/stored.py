"""Rules for built-in kinds without rules of their own: what the schema says, and tables for the rest.

Source: k8s.io/kubernetes v1.37 pkg/apis/*/validation.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from kubeling.apiserver import schema
from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.selectors import get_path
from kubeling.apiserver.validation import rules
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
