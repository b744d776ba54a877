"""Select the webhooks for a request, and build their AdmissionReview, from the stored configurations.

Webhooks are ordered by the name of their configuration, then as listed in it.
Source: Kubernetes, "Dynamic Admission Control".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeling.apiserver.admission.plugins import CREATE, AdmissionAttributes
from kubeling.apiserver.kinds import ADMISSION, Kind, kind_by_name
from kubeling.apiserver.selectors import matches
from kubeling.apiserver.storage.storage import Object, ObjectStore


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook of one configuration."""

    configuration: str
    spec: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Return the name of the webhook."""
        return str(self.spec["name"])

    @property
    def failure_policy(self) -> str:
        """Return the failurePolicy, Fail if it is not set."""
        return str(self.spec.get("failurePolicy") or "Fail")


def list_webhooks(
    store: ObjectStore, attributes: AdmissionAttributes, configurations: str
) -> list[Webhook]:
    """List the webhooks of a kind of configuration, in order."""
    # Otherwise a webhook could refuse every change of its own configuration.
    if attributes.kind.group == ADMISSION:
        return []
    return [
        Webhook(entry.name, each)
        for entry in store.list_stored(kind_by_name(configurations))
        for each in entry.object().get("webhooks") or ()
    ]


def should_call(store: ObjectStore, webhook: Webhook, attributes: AdmissionAttributes) -> bool:
    """Return whether a webhook's rules and selectors match a request and its current object."""
    rules = webhook.spec.get("rules") or ()
    return any(_rule_matches(rule, attributes) for rule in rules) and _selectors_match(
        store, webhook, attributes
    )


def _rule_matches(rule: Mapping[str, Any], attributes: AdmissionAttributes) -> bool:
    kind = attributes.kind
    scope = rule.get("scope") or "*"
    if scope != "*" and (scope == "Namespaced") is not kind.namespaced:
        return False
    return (
        _includes(attributes.operation, rule.get("operations"))
        and _includes(kind.group, rule.get("apiGroups"))
        and _includes(kind.version, rule.get("apiVersions"))
        and any(_resource_matches(each, attributes) for each in rule.get("resources") or ())
    )


def _includes(value: str, wanted: Sequence[str] | None) -> bool:
    return "*" in (wanted or ()) or value in (wanted or ())


def _resource_matches(pattern: str, attributes: AdmissionAttributes) -> bool:
    """Match `pods`, `pods/status`, `pods/*`, `*/scale`, `*` (no subresource) or `*/*`."""
    resource, _, subresource = pattern.partition("/")
    return resource in ("*", attributes.kind.plural) and subresource in (
        "*",
        attributes.subresource,
    )


def _selectors_match(store: ObjectStore, webhook: Webhook, attributes: AdmissionAttributes) -> bool:
    selector = webhook.spec.get("objectSelector") or {}
    objects = [each for each in (attributes.obj, attributes.old) if each is not None]
    if not any(matches(selector, _labels(each)) for each in objects):
        return False
    selector = webhook.spec.get("namespaceSelector") or {}
    if not selector or not (attributes.kind.namespaced or attributes.kind.type_name == "Namespace"):
        return True
    if attributes.kind.type_name == "Namespace":
        namespace = attributes.obj if attributes.operation == CREATE else None
        name = attributes.name
    else:
        namespace, name = None, attributes.namespace
    found = namespace or store.get(kind_by_name("Namespace"), "", name)
    return found is not None and matches(selector, _labels(found))


def _labels(obj: Mapping[str, Any]) -> Mapping[str, str]:
    return (obj.get("metadata") or {}).get("labels") or {}


def build_review(attributes: AdmissionAttributes, uid: str, version: str) -> Object:
    """Build the AdmissionReview for a webhook."""
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
        "userInfo": attributes.user.body(),
        "object": with_type_meta(attributes, attributes.obj),
        "oldObject": with_type_meta(attributes, attributes.old),
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


def with_type_meta(attributes: AdmissionAttributes, obj: Object | None) -> Object | None:
    """Add `kind` and `apiVersion` to an object, as a webhook receives it."""
    if obj is None:
        return None
    group, version, kind = attributes.sub_kind or _gvk(attributes.kind)
    return {"kind": kind, "apiVersion": f"{group}/{version}" if group else version, **obj}
