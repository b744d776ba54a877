"""Which webhooks want a request, and what they are shown of it. Pure, over the stored configurations.

Source: Kubernetes, "Dynamic Admission Control"; order is by the configuration's name, then as listed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podpass.kubernetes.apiserver.admission.plugins import CREATE, Attributes
from podpass.kubernetes.apiserver.kinds import ADMISSION, Kind, named
from podpass.kubernetes.apiserver.selectors import matches
from podpass.kubernetes.apiserver.storage.storage import Object, Store


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook of one configuration."""

    configuration: str
    spec: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def failure_policy(self) -> str:
        return str(self.spec.get("failurePolicy") or "Fail")


def hooks(store: Store, attributes: Attributes, configurations: str) -> list[Hook]:
    """List all webhooks of a kind of configurations in their order."""
    # A webhook could otherwise make the configurations that call it unchangeable.
    if attributes.kind.group == ADMISSION:
        return []
    return [
        hook
        for entry in store.entries(named(configurations))
        for hook in _hooks(entry.name, entry.object())
    ]


def wants(store: Store, hook: Hook, attributes: Attributes) -> bool:
    """Tell whether a webhook wants a request, with its object as it is now."""
    rules = hook.spec.get("rules") or ()
    return any(_rule_fits(rule, attributes) for rule in rules) and _selects(store, hook, attributes)


def _hooks(name: str, configuration: Object) -> list[Hook]:
    return [Hook(name, each) for each in configuration.get("webhooks") or ()]


def _rule_fits(rule: Mapping[str, Any], attributes: Attributes) -> bool:
    kind = attributes.kind
    scope = rule.get("scope") or "*"
    if scope != "*" and (scope == "Namespaced") is not kind.namespaced:
        return False
    return (
        _in(attributes.operation, rule.get("operations"))
        and _in(kind.group, rule.get("apiGroups"))
        and _in(kind.version, rule.get("apiVersions"))
        and any(_resource_fits(each, attributes) for each in rule.get("resources") or ())
    )


def _in(value: str, wanted: Sequence[str] | None) -> bool:
    return "*" in (wanted or ()) or value in (wanted or ())


def _resource_fits(pattern: str, attributes: Attributes) -> bool:
    """Compare with `pods`, `pods/status`, `pods/*`, `*/scale`, `*` (no subresource) or `*/*`."""
    resource, _, subresource = pattern.partition("/")
    return resource in ("*", attributes.kind.plural) and subresource in (
        "*",
        attributes.subresource,
    )


def _selects(store: Store, hook: Hook, attributes: Attributes) -> bool:
    selector = hook.spec.get("objectSelector") or {}
    objects = [each for each in (attributes.obj, attributes.old) if each is not None]
    if not any(matches(selector, _labels(each)) for each in objects):
        return False
    selector = hook.spec.get("namespaceSelector") or {}
    if not selector or not (attributes.kind.namespaced or attributes.kind.kind == "Namespace"):
        return True
    if attributes.kind.kind == "Namespace":
        namespace = attributes.obj if attributes.operation == CREATE else None
        name = attributes.name
    else:
        namespace, name = None, attributes.namespace
    found = namespace or store.get(named("Namespace"), "", name)
    return found is not None and matches(selector, _labels(found))


def _labels(obj: Mapping[str, Any]) -> Mapping[str, str]:
    return (obj.get("metadata") or {}).get("labels") or {}


def review(attributes: Attributes, uid: str, version: str) -> Object:
    """Write the AdmissionReview a webhook is sent."""
    kind = attributes.kind
    sub = attributes.sub_kind
    request_kind = dict(zip(("group", "version", "kind"), sub or _gvk(kind), strict=True))
    resource = {"group": kind.group, "version": kind.version, "resource": kind.plural}
    request: Object = {
        "uid": uid,
        "kind": request_kind,
        "resource": resource,
        "requestKind": request_kind,
        "requestResource": resource,
        "operation": attributes.operation,
        "userInfo": attributes.user.info(),
        "object": shown(attributes, attributes.obj),
        "oldObject": shown(attributes, attributes.old),
        "dryRun": attributes.dry_run,
        "options": attributes.options or None,
    }
    if attributes.subresource:
        request["subResource"] = request["requestSubResource"] = attributes.subresource
    if attributes.name:
        request["name"] = attributes.name
    if attributes.namespace:
        request["namespace"] = attributes.namespace
    return {
        "kind": "AdmissionReview",
        "apiVersion": f"admission.k8s.io/{version}",
        "request": request,
    }


def _gvk(kind: Kind) -> tuple[str, str, str]:
    return kind.group, kind.version, kind.kind


def shown(attributes: Attributes, obj: Object | None) -> Object | None:
    """Put kind and version on an object, as a webhook sees it."""
    if obj is None:
        return None
    group, version, kind = attributes.sub_kind or _gvk(attributes.kind)
    return {"kind": kind, "apiVersion": f"{group}/{version}" if group else version, **obj}
