"""Rules for disruption budgets, network policies, priority classes and endpoint slices."""

import ipaddress
from collections.abc import Mapping
from typing import Any

from kubeling.apiserver.validation import rules
from kubeling.apiserver.validation.rules import Causes
from kubeling.apiserver.validation.volume import MAX_TOKEN_SECONDS, MIN_TOKEN_SECONDS
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
    yield from rules.selector(spec.get("selector") or {}, "spec.selector")


def validate_network_policy(obj: Object) -> Causes:
    """Check a NetworkPolicy."""
    spec = obj.get("spec") or {}
    yield from rules.selector(spec.get("podSelector") or {}, "spec.podSelector")
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for each, here in rules.indexed(spec.get(direction), f"spec.{direction}"):
            for port, at in rules.indexed(each.get("ports"), f"{here}.ports"):
                yield from _validate_port(port, at)
            for peer, at in rules.indexed(each.get(peers), f"{here}.{peers}"):
                yield from _validate_peer(peer, at)


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
        yield from rules.selector(peer.get(name) or {}, f"{here}.{name}")
    if block := peer.get("ipBlock"):
        yield from _validate_block(block, f"{here}.ipBlock")


def _validate_block(block: Object, here: str) -> Causes:
    outer = _network(block.get("cidr"))
    yield from rules.invalid(outer is None, f"{here}.cidr", "is not a valid CIDR")
    for at, each in enumerate(block.get("except") or ()):
        inner = _network(each)
        inside = outer and inner and inner.version == outer.version and _within(inner, outer)
        yield from rules.invalid(not inside, f"{here}.except[{at}]", "is not a subnet of cidr")


def _network(text: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text or "", strict=False)
    except ValueError:
        return None


def _within(inner: Any, outer: Any) -> bool:
    return inner != outer and bool(inner.subnet_of(outer))


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
    """Check a changed PriorityClass."""
    changed = new.get("value") != old.get("value")
    yield from rules.forbidden(changed, "value", "cannot be changed once set")
    after, before = new.get("preemptionPolicy"), old.get("preemptionPolicy")
    yield from rules.immutable(after, before, "preemptionPolicy")


def validate_csi_driver(obj: Object) -> Causes:
    """Check the token requests of a CSIDriver; its other fields have no effect here."""
    found = (obj.get("spec") or {}).get("tokenRequests")
    requests = list(rules.indexed(found, "spec.tokenRequests"))
    yield from rules.unique(
        (each.get("audience") or "-", f"{here}.audience") for each, here in requests
    )
    for each, here in requests:
        seconds = f"{here}.expirationSeconds"
        limits = (MIN_TOKEN_SECONDS, MAX_TOKEN_SECONDS)
        yield from rules.between(each.get("expirationSeconds"), *limits, seconds)


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
    ports = list(rules.indexed(obj.get("ports"), "ports"))
    for port, here in ports:
        yield from rules.between(port.get("port") or 0, 0, 65535, f"{here}.port")
    # As in Kubernetes; the work for each DNS query is bounded by them.
    for field, most in (("endpoints", 1000), ("ports", 100)):
        too_many = len(obj.get(field) or ()) > most
        yield from rules.invalid(too_many, field, f"must have at most {most} items")
    yield from rules.unique((port.get("name") or "-", f"{here}.name") for port, here in ports)


def validate_endpoints(obj: Object) -> Causes:
    """Check Endpoints."""
    for subset, here in rules.indexed(obj.get("subsets"), "subsets"):
        for part in ("addresses", "notReadyAddresses"):
            for each, at in rules.indexed(subset.get(part), f"{here}.{part}"):
                yield from rules.endpoint_ip(each, each.get("ip"), f"{at}.ip")


def validate_endpoint_slice_update(new: Object, old: Object) -> Causes:
    """Check a changed EndpointSlice."""
    yield from rules.immutable(new.get("addressType"), old.get("addressType"), "addressType")
