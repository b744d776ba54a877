"""Rules for disruption budgets, network policies, priority classes, CSI drivers, endpoint slices and RBAC."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from kubeling.apiserver.kinds import RBAC
from kubeling.apiserver.validation import rules
from kubeling.apiserver.validation.pod import TOKEN_SECONDS
from kubeling.apiserver.validation.rules import Causes, Check, fields, items, number, required
from kubeling.apiserver.validation.workload import validate_count_or_percent

Object = Mapping[str, Any]

SYSTEM_CLASSES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_SYSTEM_PREFIX = "system-"
_MAX_USER_PRIORITY = 1_000_000_000
_PEERS = ("ipBlock", "namespaceSelector", "podSelector")


def validate_budget(obj: Object) -> Causes:
    """Check a PodDisruptionBudget."""
    spec = obj.get("spec") or {}
    min_available, max_unavailable = spec.get("minAvailable"), spec.get("maxUnavailable")
    both = min_available is not None and max_unavailable is not None
    yield from rules.invalid(both, "spec", "must not have both minAvailable and maxUnavailable")
    yield from validate_count_or_percent(min_available, "spec.minAvailable")
    yield from validate_count_or_percent(max_unavailable, "spec.maxUnavailable")
    yield from rules.selector(spec.get("selector"), "spec.selector")


def _validate_port(port: Object, here: str) -> Causes:
    first, last = port.get("port"), port.get("endPort")
    if first is not None:
        yield from rules.port_reference(first, f"{here}.port")
    if last is not None:
        wrong = not isinstance(first, int) or last < first
        reason = "requires a port number that is not greater"
        yield from rules.invalid(wrong, f"{here}.endPort", reason)


def _validate_peer(peer: Object, here: str) -> Causes:
    given = [name for name in _PEERS if peer.get(name) is not None]
    if not given:
        yield from rules.required(None, here, f"must have one of {', '.join(_PEERS)}")
    alone = "ipBlock" not in given or len(given) == 1
    yield from rules.forbidden(not alone, here, "an ipBlock must be the only selector of a peer")
    for name in ("namespaceSelector", "podSelector"):
        yield from rules.selector(peer.get(name), f"{here}.{name}")
    if block := peer.get("ipBlock"):
        yield from _validate_block(block, f"{here}.ipBlock")


def _validate_block(block: Object, here: str) -> Causes:
    outer = _network(block.get("cidr"))
    yield from rules.invalid(outer is None, f"{here}.cidr", "is not a valid CIDR")
    for at, each in enumerate(block.get("except") or ()):
        inner: Any = _network(each)
        same = outer and inner and inner.version == outer.version
        inside = same and inner != outer and inner.subnet_of(outer)
        yield from rules.invalid(not inside, f"{here}.except[{at}]", "is not a subnet of cidr")


def _network(text: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text or "", strict=False)
    except ValueError:
        return None


def _direction(peers: str) -> Check:
    return items(fields(ports=items(_validate_port), **{peers: items(_validate_peer)}))


validate_network_policy = fields(
    spec=fields(podSelector=rules.selector, ingress=_direction("from"), egress=_direction("to"))
)


def validate_priority_class(obj: Object) -> Causes:
    """Check a PriorityClass."""
    name, value = (obj.get("metadata") or {}).get("name") or "", obj.get("value") or 0
    if name.startswith(_SYSTEM_PREFIX):
        known = SYSTEM_CLASSES.get(name) == value and not obj.get("globalDefault")
        reason = f"names that begin with {_SYSTEM_PREFIX!r} are reserved for the system"
        yield from rules.forbidden(not known, "metadata.name", reason)
    else:
        yield from rules.forbidden(
            value > _MAX_USER_PRIORITY, "value", f"must not be more than {_MAX_USER_PRIORITY}"
        )


def validate_priority_class_update(new: Object, old: Object) -> Causes:
    """Check that the value and the preemption policy of a PriorityClass did not change."""
    reason = "may not be changed in an update."
    yield from rules.immutable_forbidden(new.get("value"), old.get("value"), "value", reason)
    after, before = new.get("preemptionPolicy"), old.get("preemptionPolicy")
    yield from rules.immutable(after, before, "preemptionPolicy")


def validate_csi_driver(obj: Object) -> Causes:
    """Check the token requests of a CSIDriver; its other fields have no effect here."""
    here, found = "spec.tokenRequests", (obj.get("spec") or {}).get("tokenRequests")
    yield from _unique_or_missing(found, here, "audience")
    yield from items(fields(expirationSeconds=TOKEN_SECONDS))(found, here)


def _unique_or_missing(found: Any, here: str, name: str) -> Causes:
    """Check that no two items share a field; only one item may lack it."""
    pairs = rules.indexed(found, here)
    yield from rules.unique((each.get(name) or "-", f"{at}.{name}") for each, at in pairs)


def validate_endpoint_slice(obj: Object) -> Causes:
    """Check an EndpointSlice."""
    yield from rules.required(obj.get("addressType"), "addressType")
    for each, here in rules.indexed(obj.get("endpoints"), "endpoints"):
        yield from rules.required(each.get("addresses"), f"{here}.addresses")
        for at, address in enumerate(each.get("addresses") or ()):
            path = f"{here}.addresses[{at}]"
            if obj.get("addressType") != "FQDN":
                yield from rules.endpoint_ip(each, address, path)
            else:
                reason = "is not a valid host name"
                yield from rules.invalid(not rules.is_subdomain(address), path, reason)
    yield from items(fields(port=number(0, 65535)))(obj.get("ports"), "ports")
    # As in Kubernetes; the work for each DNS query is bounded by them.
    for field, most in (("endpoints", 1000), ("ports", 100)):
        too_many = len(obj.get(field) or ()) > most
        yield from rules.invalid(too_many, field, f"must have at most {most} items")
    yield from _unique_or_missing(obj.get("ports"), "ports", "name")


def validate_endpoints(obj: Object) -> Causes:
    """Check Endpoints."""
    for subset, here in rules.indexed(obj.get("subsets"), "subsets"):
        for part in ("addresses", "notReadyAddresses"):
            for each, at in rules.indexed(subset.get(part), f"{here}.{part}"):
                yield from rules.endpoint_ip(each, each.get("ip"), f"{at}.ip")


def _is_namespaced(obj: Object) -> bool:
    return bool((obj.get("metadata") or {}).get("namespace"))


def validate_role(obj: Object) -> Causes:
    """Check a Role or ClusterRole."""
    for rule, here in rules.indexed(obj.get("rules"), "rules"):
        yield from required(rule.get("verbs"), f"{here}.verbs")
        if rule.get("nonResourceURLs"):
            at, reason = f"{here}.nonResourceURLs", "a namespaced role must not grant URLs"
            yield from rules.invalid(_is_namespaced(obj), at, reason)
            mixed = any(rule.get(part) for part in ("apiGroups", "resources", "resourceNames"))
            yield from rules.invalid(mixed, at, "URLs and resources must be in different rules")
        else:
            yield from required(rule.get("apiGroups"), f"{here}.apiGroups")
            yield from required(rule.get("resources"), f"{here}.resources")


def validate_binding(obj: Object) -> Causes:
    """Check a RoleBinding or ClusterRoleBinding."""
    ref = obj.get("roleRef") or {}
    kinds = ("Role", "ClusterRole") if _is_namespaced(obj) else ("ClusterRole",)
    yield from rules.one_of(ref.get("apiGroup"), (RBAC,), "roleRef.apiGroup")
    yield from rules.one_of(ref.get("kind"), kinds, "roleRef.kind")
    yield from required(ref.get("name"), "roleRef.name")
    yield from rules.text(rules.is_path_segment, "role name")(ref.get("name"), "roleRef.name")
    yield from items(_validate_subject)(obj.get("subjects"), "subjects")


def _validate_subject(subject: Object, here: str) -> Causes:
    yield from required(subject.get("name"), f"{here}.name")
    match subject.get("kind"):
        case "ServiceAccount":
            yield from rules.one_of(subject.get("apiGroup") or "", ("",), f"{here}.apiGroup")
            yield from required(subject.get("namespace"), f"{here}.namespace")
        case "User" | "Group":
            yield from rules.one_of(subject.get("apiGroup"), (RBAC,), f"{here}.apiGroup")
        case other:
            yield from rules.one_of(other, ("Group", "ServiceAccount", "User"), f"{here}.kind")
