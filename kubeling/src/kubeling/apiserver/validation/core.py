"""Rules for the kinds of the core group except pods, for events and for leases.

Source: k8s.io/kubernetes v1.34 pkg/apis/core/validation.
"""

import itertools
from collections.abc import Mapping
from typing import Any

from kubeling import quantity
from kubeling.apiserver.conversion import CONVERSIONS
from kubeling.apiserver.status import Cause, CauseType
from kubeling.apiserver.validation import rules
from kubeling.apiserver.validation.rules import Causes, fields, items, number, optional, required

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
    """Check that the data of an immutable ConfigMap did not change."""
    yield from _validate_immutable_data(new, old, ("data", "binaryData"))


def validate_secret(obj: Object) -> Causes:
    """Check a Secret."""
    data = obj.get("data") or {}
    yield from _validate_keys(data, "data")
    yield from _validate_size(data.values(), "data")
    kind = obj.get("type", "")
    for key in _SECRET_KEYS.get(kind, ()):
        if key not in data:
            yield from required(None, f"data[{key}]", f"is required for a secret of type {kind}")
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        yield from required(None, "data[username]", "username or password must be given")
        yield from required(None, "data[password]", "username or password must be given")
    if kind == "kubernetes.io/service-account-token":
        annotations = (obj.get("metadata") or {}).get("annotations") or {}
        here = f"metadata.annotations[{_ACCOUNT_NAME}]"
        yield from required(annotations.get(_ACCOUNT_NAME), here)


def validate_secret_update(new: Object, old: Object) -> Causes:
    """Check that the data of an immutable Secret did not change."""
    yield from _validate_immutable_data(new, old, ("data",))


def _validate_immutable_data(new: Object, old: Object, parts: tuple[str, ...]) -> Causes:
    if not old.get("immutable"):
        return
    reason = "field is immutable when `immutable` is set"
    for part in ("immutable", *parts):
        yield from rules.immutable_forbidden(new.get(part) or {}, old.get(part) or {}, part, reason)


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
    kind, ports = spec.get("type"), spec.get("ports") or ()
    yield from rules.labels(spec.get("selector"), "spec.selector")
    if kind == "ExternalName":
        name = spec.get("externalName") or ""
        here = "spec.externalName"
        yield from required(name, here)
        yield from rules.invalid(
            name and not rules.is_subdomain(name), here, "is not a valid host name"
        )
    elif spec.get("clusterIP") != "None":
        yield from required(ports or None, "spec.ports")
        if address := spec.get("clusterIP"):
            yield from rules.ip(address, "spec.clusterIPs[0]")
    name_check = rules.label_name if len(ports) > 1 else optional(rules.label_name)
    port = fields(name=name_check, port=_validate_port, targetPort=_validate_target_port)
    yield from items(port, "name", ("protocol", "port"))(spec.get("ports"), "spec.ports")


def _validate_port(port: int | None, here: str) -> Causes:
    yield from rules.between(port or 0, 1, 65535, here)


def _validate_target_port(port: Any, here: str) -> Causes:
    if port is not None:
        yield from rules.port_reference(port, here)


def validate_service_update(new: Object, old: Object) -> Causes:
    """Check that the cluster IP of a service did not change."""
    after, before = new.get("spec") or {}, old.get("spec") or {}
    keeps_address = "ExternalName" not in (after.get("type"), before.get("type"))
    if keeps_address and before.get("clusterIP"):
        given = [after["clusterIP"]] if after.get("clusterIP") else None
        reason = "may not change once set" if given else "primary clusterIP can not be unset"
        yield from rules.immutable(given, [before["clusterIP"]], "spec.clusterIPs[0]", reason)


_SECRETS = items(fields(name=optional(rules.text(rules.is_subdomain, "secret name"))))
validate_service_account = fields(secrets=_SECRETS, imagePullSecrets=_SECRETS)
_TAINT = fields(key=rules.label_key, value=rules.label_value, effect=required)
validate_node = fields(spec=fields(taints=items(_TAINT, ("key", "effect"))))
validate_lease = fields(
    spec=fields(leaseDurationSeconds=number(1), leaseTransitions=number(0)),
)


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
            yield from required(obj.get(part), here)
        kind = obj.get("type")
        yield from rules.invalid(
            kind not in ("Normal", "Warning"), "type", "must be Normal or Warning"
        )


def validate_new_event(obj: Object) -> Causes:
    """Check an event of `events.k8s.io`, which must have the time of the event."""
    yield from required(obj.get("eventTime"), "eventTime")
    yield from validate_event(CONVERSIONS["events.v1.Event"].to_storage(dict(obj)))


_OPPOSITES = (("BestEffort", "NotBestEffort"), ("NotTerminating", "Terminating"))
# Each field of a limit must not be more than the next one that is given.
_ASCENDING = ("min", "defaultRequest", "default", "max")


def validate_limit_range(obj: Object) -> Causes:
    """Check a LimitRange."""
    seen: set[str] = set()
    for at, item in enumerate((obj.get("spec") or {}).get("limits") or ()):
        here, kind = f"spec.limits[{at}]", item.get("type") or ""
        yield from rules.invalid(kind in seen, f"{here}.type", f"{kind} is given twice")
        seen.add(kind)
        for name in ("default", "defaultRequest"):
            unused = kind == "Pod" and item.get(name)
            reason = "must not be given for the type Pod"
            yield from rules.forbidden(unused, f"{here}.{name}", reason)
        names = {name for part in _ASCENDING for name in item.get(part) or {}}
        for name in sorted(names):
            given = [
                (part, item[part][name]) for part in _ASCENDING if name in (item.get(part) or {})
            ]
            for (low, less), (high, more) in itertools.pairwise(given):
                over = quantity.parse(less) > quantity.parse(more)
                reason = f"{low} of {less} is more than {high} of {more}"
                yield from rules.invalid(over, f"{here}.{low}[{name}]", reason)
        for name, ratio in (item.get("maxLimitRequestRatio") or {}).items():
            low_ratio = quantity.parse(ratio) < 1
            at_ratio = f"{here}.maxLimitRequestRatio[{name}]"
            yield from rules.invalid(low_ratio, at_ratio, "must not be less than 1")


def validate_resource_quota(obj: Object) -> Causes:
    """Check a ResourceQuota."""
    spec = obj.get("spec") or {}
    for name, amount in (spec.get("hard") or {}).items():
        negative = quantity.parse(amount) < 0
        yield from rules.invalid(negative, f"spec.hard[{name}]", "must not be negative")
        whole = "cpu" not in name and quantity.parse(amount) % 1 != 0
        yield from rules.invalid(whole, f"spec.hard[{name}]", "must be an integer")
    scopes = spec.get("scopes") or ()
    for pair in _OPPOSITES:
        both = set(pair) <= set(scopes)
        yield from rules.invalid(both, "spec.scopes", f"must not have both {' and '.join(pair)}")
    here = "spec.scopeSelector.matchExpressions"
    for term in (spec.get("scopeSelector") or {}).get("matchExpressions") or ():
        operator, values = term.get("operator"), term.get("values")
        if operator in ("In", "NotIn"):
            yield from required(values, f"{here}.values")
        else:
            yield from rules.invalid(values, f"{here}.values", f"must be empty for {operator}")


def _validate_storage(found: Mapping[str, Any] | None, here: str) -> Causes:
    storage = (found or {}).get("storage")
    here = "spec.resources[storage]"
    yield from required(storage, here)
    empty = storage is not None and quantity.parse(storage) <= 0
    yield from rules.invalid(empty, here, "must be more than 0")


validate_claim = fields(
    spec=fields(accessModes=required, resources=fields(requests=_validate_storage))
)
