"""Rules for config maps, secrets, services, nodes, events, service accounts and leases."""

from collections.abc import Mapping
from typing import Any

from kubeling.apiserver.conversion import CONVERSIONS
from kubeling.apiserver.status import Cause, CauseType
from kubeling.apiserver.validation import rules
from kubeling.apiserver.validation.rules import Causes

Object = Mapping[str, Any]

MAX_DATA_BYTES = 1024 * 1024


# Required keys by type of secret.
_SECRET_KEYS: Mapping[str, tuple[str, ...]] = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
}
_ACCOUNT_NAME = "kubernetes.io/service-account.name"


def validate_config_map(obj: Object) -> Causes:
    """Check a ConfigMap."""
    text, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    yield from _validate_keys(text, "data")
    yield from _validate_keys(binary, "binaryData")
    for key in sorted(text.keys() & binary.keys()):
        yield from rules.invalid(True, f"data[{key}]", "is in binaryData too")
    yield from _validate_size([*text.values(), *binary.values()], "")


def validate_config_map_update(new: Object, old: Object) -> Causes:
    """Check a changed ConfigMap."""
    yield from _validate_immutable_data(new, old, ("data", "binaryData"))


def validate_secret(obj: Object) -> Causes:
    """Check a Secret."""
    data = obj.get("data") or {}
    yield from _validate_keys(data, "data")
    yield from _validate_size(data.values(), "data")
    kind = obj.get("type", "")
    for key in _SECRET_KEYS.get(kind, ()):
        if key not in data:
            yield from rules.required(
                None, f"data[{key}]", f"is required for a secret of type {kind}"
            )
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        yield from rules.required(None, "data[username]", "username or password must be given")
        yield from rules.required(None, "data[password]", "username or password must be given")
    if kind == "kubernetes.io/service-account-token":
        annotations = (obj.get("metadata") or {}).get("annotations") or {}
        here = f"metadata.annotations[{_ACCOUNT_NAME}]"
        yield from rules.required(annotations.get(_ACCOUNT_NAME), here)


def validate_secret_update(new: Object, old: Object) -> Causes:
    """Check a changed Secret."""
    yield from rules.immutable(new.get("type"), old.get("type"), "type")
    yield from _validate_immutable_data(new, old, ("data",))


def _validate_immutable_data(new: Object, old: Object, parts: tuple[str, ...]) -> Causes:
    if not old.get("immutable"):
        return
    reason = "cannot be changed while `immutable` is set"
    yield from rules.forbidden(not new.get("immutable"), "immutable", reason)
    for part in parts:
        yield from rules.forbidden((new.get(part) or {}) != (old.get(part) or {}), part, reason)


def _validate_keys(data: Object, here: str) -> Causes:
    for key in data:
        broken = not rules.is_data_key(key)
        reason = "a key must contain only letters, digits, -, _ and ."
        yield from rules.invalid(broken, f"{here}[{key}]", reason)


def _validate_size(values: Any, here: str) -> Causes:
    if sum(len(value) for value in values) > MAX_DATA_BYTES:
        yield Cause(CauseType.TOO_LONG, f"longer than {MAX_DATA_BYTES} bytes", here)


def validate_service(obj: Object) -> Causes:
    """Check a Service."""
    spec = obj.get("spec") or {}
    kind, ports = spec.get("type"), list(rules.indexed(spec.get("ports"), "spec.ports"))
    yield from rules.labels(spec.get("selector") or {}, "spec.selector")
    if kind == "ExternalName":
        name = spec.get("externalName") or ""
        here = "spec.externalName"
        yield from rules.required(name, here)
        yield from rules.invalid(
            name and not rules.is_subdomain(name), here, "is not a valid host name"
        )
    elif spec.get("clusterIP") != "None":
        yield from rules.required(ports, "spec.ports")
        if address := spec.get("clusterIP"):
            yield from rules.ip(address, "spec.clusterIPs[0]")
    for port, here in ports:
        yield from _validate_service_port(port, here, several=len(ports) > 1)
    yield from rules.unique((port.get("name"), f"{here}.name") for port, here in ports)
    yield from rules.unique(
        ((port.get("protocol"), port.get("port")), here) for port, here in ports
    )


def _validate_service_port(port: Object, here: str, *, several: bool) -> Causes:
    if several or port.get("name"):
        yield from rules.label_name(port.get("name"), f"{here}.name")
    yield from rules.between(port.get("port") or 0, 1, 65535, f"{here}.port")
    if port.get("targetPort") is not None:
        yield from rules.port_reference(port["targetPort"], f"{here}.targetPort")


def validate_service_update(new: Object, old: Object) -> Causes:
    """Check that the cluster IP of a service did not change."""
    after, before = new.get("spec") or {}, old.get("spec") or {}
    keeps_address = "ExternalName" not in (after.get("type"), before.get("type"))
    if keeps_address and before.get("clusterIP"):
        here = "spec.clusterIPs[0]"
        yield from rules.immutable(after.get("clusterIP"), before["clusterIP"], here)


def validate_service_account(obj: Object) -> Causes:
    """Check a ServiceAccount."""
    for part in ("secrets", "imagePullSecrets"):
        for each, here in rules.indexed(obj.get(part), part):
            name = each.get("name") or ""
            broken = name and not rules.is_subdomain(name)
            yield from rules.invalid(broken, f"{here}.name", f"{name!r} is not a valid secret name")


def validate_node(obj: Object) -> Causes:
    """Check a Node."""
    taints = list(rules.indexed((obj.get("spec") or {}).get("taints"), "spec.taints"))
    for taint, here in taints:
        key, value = taint.get("key") or "", taint.get("value") or ""
        reason = f"{key!r} is not a valid label key"
        yield from rules.invalid(not rules.is_qualified(key), f"{here}.key", reason)
        reason = f"{value!r} is not a valid label value"
        yield from rules.invalid(not rules.is_label_value(value), f"{here}.value", reason)
        yield from rules.required(taint.get("effect"), f"{here}.effect")
    yield from rules.unique(((each.get("key"), each.get("effect")), here) for each, here in taints)


def validate_event(obj: Object) -> Causes:
    """Check an event: it is in the namespace of its object, or in `default` for a cluster-scoped object."""
    namespace = (obj.get("metadata") or {}).get("namespace")
    object_namespace = (obj.get("involvedObject") or {}).get("namespace") or ""
    fits = object_namespace == namespace or (
        not object_namespace and namespace in ("default", "kube-system")
    )
    yield from rules.invalid(not fits, "involvedObject.namespace", "is not the event's namespace")
    if obj.get("eventTime"):
        for part, here in (
            ("reportingComponent", "reportingController"),
            ("reportingInstance", "reportingInstance"),
            ("action", "action"),
            ("reason", "reason"),
        ):
            yield from rules.required(obj.get(part), here)
        kind = obj.get("type")
        yield from rules.invalid(
            kind not in ("Normal", "Warning"), "type", "must be Normal or Warning"
        )


def validate_new_event(obj: Object) -> Causes:
    """Check an event of `events.k8s.io`, which must have the time of the event."""
    yield from rules.required(obj.get("eventTime"), "eventTime")
    yield from validate_event(CONVERSIONS["events.v1.Event"].to_storage(dict(obj)))


def validate_lease(obj: Object) -> Causes:
    """Check a Lease."""
    spec = obj.get("spec") or {}
    here = "spec.leaseDurationSeconds"
    yield from rules.between(spec.get("leaseDurationSeconds"), 1, 2**31 - 1, here)
    here = "spec.leaseTransitions"
    yield from rules.between(spec.get("leaseTransitions"), 0, 2**31 - 1, here)
