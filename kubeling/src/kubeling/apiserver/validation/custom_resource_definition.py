"""Rules for CustomResourceDefinitions."""

import re
from collections.abc import Mapping
from typing import Any

from kubeling.apiserver.status import Cause, CauseType
from kubeling.apiserver.validation import rules, structural_schema
from kubeling.apiserver.validation.rules import Causes

Object = Mapping[str, Any]

APPROVAL = "api-approved.kubernetes.io"
_PROTECTED = ("k8s.io", "kubernetes.io")
_COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
_SIMPLE_PATH = re.compile(r"(?:\.[^.\[\]\s]+)+")
_CEL_WARNING = (
    "this cluster does not evaluate x-kubernetes-validations (CEL): it accepts custom resources that these "
    "rules refuse"
)
_WEBHOOK_WARNING = (
    "this cluster does not call conversion webhooks: between versions of {name} only apiVersion changes, and "
    "fields that a version does not declare are dropped"
)


def validate_definition(obj: Object) -> Causes:
    """Check a CustomResourceDefinition."""
    spec, metadata = obj.get("spec") or {}, obj.get("metadata") or {}
    names, group = spec.get("names") or {}, spec.get("group") or ""
    wrong = metadata.get("name") != f"{names.get('plural')}.{group}"
    yield from rules.invalid(wrong, "metadata.name", "must be spec.names.plural, a dot, spec.group")
    yield from _validate_group(group, metadata)
    yield from rules.one_of(spec.get("scope"), ("Cluster", "Namespaced"), "spec.scope")
    yield from _validate_names(names, "spec.names")
    yield from _validate_conversion(spec.get("conversion") or {}, "spec.conversion")
    if spec.get("preserveUnknownFields"):
        reason = "must be false: use x-kubernetes-preserve-unknown-fields in the schema"
        yield Cause(CauseType.INVALID, reason, "spec.preserveUnknownFields")
    yield from _validate_versions([each or {} for each in spec.get("versions") or ()])
    yield from _validate_stored(obj)


def _validate_group(group: str, metadata: Object) -> Causes:
    if not group:
        yield from rules.required(None, "spec.group")
        return
    broken = not rules.is_subdomain(group) or "." not in group
    yield from rules.invalid(broken, "spec.group", "must be a domain with at least one dot")
    is_protected = group in _PROTECTED or group.endswith(tuple(f".{each}" for each in _PROTECTED))
    if is_protected and not (metadata.get("annotations") or {}).get(APPROVAL):
        here = f"metadata.annotations[{APPROVAL}]"
        yield from rules.required(None, here, "a protected group needs this annotation")


def _validate_names(names: Object, here: str) -> Causes:
    labels = [(name, names.get(name)) for name in ("plural", "singular")]
    labels += [(name, (names.get(name) or "").lower()) for name in ("kind", "listKind")]
    labels += [(f"shortNames[{at}]", each) for at, each in enumerate(names.get("shortNames") or ())]
    labels += [(f"categories[{at}]", each) for at, each in enumerate(names.get("categories") or ())]
    for name, value in labels:
        if value or name in ("plural", "kind") or name.endswith("]"):
            broken = not rules.is_service_name(value or "")
            yield from rules.invalid(broken, f"{here}.{name}", "is not a DNS label")
    same = names.get("kind") and names.get("kind") == names.get("listKind")
    yield from rules.invalid(same, f"{here}.listKind", "must differ from kind")


def _validate_conversion(conversion: Object, here: str) -> Causes:
    strategy = conversion.get("strategy")
    yield from rules.one_of(strategy, ("None", "Webhook"), f"{here}.strategy")
    webhook = conversion.get("webhook") or {}
    if strategy == "Webhook":
        yield from rules.required(webhook.get("clientConfig"), f"{here}.webhookClientConfig")
        versions = webhook.get("conversionReviewVersions")
        yield from rules.required(versions, f"{here}.conversionReviewVersions")
    elif webhook:
        yield from rules.forbidden(True, f"{here}.webhook", "needs the strategy Webhook")


def _validate_versions(versions: Any) -> Causes:
    stored = [each for each in versions if each.get("storage")]
    yield from rules.invalid(
        len(stored) != 1, "spec.versions", "exactly one version must be the storage version"
    )
    names = [each.get("name") for each in versions]
    yield from rules.invalid(
        len(set(names)) != len(names), "spec.versions", "the names of versions must be unique"
    )
    for version, here in rules.indexed(versions, "spec.versions"):
        yield from _validate_version(version, here)


def _validate_version(version: Object, here: str) -> Causes:
    broken = not rules.is_service_name(version.get("name") or "")
    yield from rules.invalid(broken, f"{here}.name", "is not a DNS label")
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if schema is None:
        yield from rules.required(None, f"{here}.schema.openAPIV3Schema")
    else:
        yield from structural_schema.validate_schema(schema, f"{here}.schema.openAPIV3Schema")
    for column, path in rules.indexed(
        version.get("additionalPrinterColumns"), f"{here}.additionalPrinterColumns"
    ):
        yield from rules.required(column.get("name"), f"{path}.name")
        yield from rules.one_of(column.get("type"), _COLUMN_TYPES, f"{path}.type")
        broken = not str(column.get("jsonPath") or "").startswith((".", "["))
        yield from rules.invalid(broken, f"{path}.jsonPath", "must be a JSON path from .")
    for field, path in rules.indexed(version.get("selectableFields"), f"{here}.selectableFields"):
        broken = not _SIMPLE_PATH.fullmatch(str(field.get("jsonPath") or ""))
        yield from rules.invalid(broken, f"{path}.jsonPath", "must be a simple JSON path")
    if scale := (version.get("subresources") or {}).get("scale"):
        yield from _validate_scale(scale, f"{here}.subresources.scale")


def _validate_scale(scale: Object, here: str) -> Causes:
    for name, prefix in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        broken = not _is_below(scale.get(name), prefix)
        yield from rules.invalid(broken, f"{here}.{name}", f"must be a JSON path below {prefix}")
    if selector := scale.get("labelSelectorPath"):
        broken = not (_is_below(selector, ".spec.") or _is_below(selector, ".status."))
        reason = "must be a JSON path below .spec or .status"
        yield from rules.invalid(broken, f"{here}.labelSelectorPath", reason)


def _is_below(path: Any, prefix: str) -> bool:
    text = str(path or "")
    return text.startswith(prefix) and _SIMPLE_PATH.fullmatch(text) is not None


def _validate_stored(obj: Object) -> Causes:
    versions = (obj.get("spec") or {}).get("versions") or ()
    names = {(each or {}).get("name") for each in versions}
    for at, each in enumerate((obj.get("status") or {}).get("storedVersions") or ()):
        reason = f"{each} was a storage version, so it must stay in spec.versions"
        yield from rules.invalid(each not in names, f"status.storedVersions[{at}]", reason)


def validate_definition_update(new: Object, old: Object) -> Causes:
    """Check that the names of an established definition do not change."""
    for part in ("group", "scope"):
        yield from rules.immutable(new["spec"].get(part), old["spec"].get(part), f"spec.{part}")
    for part in ("plural", "kind"):
        after, before = new["spec"]["names"].get(part), old["spec"]["names"].get(part)
        yield from rules.immutable(after, before, f"spec.names.{part}")


def warnings(obj: Object) -> list[str]:
    """Return what this API server does not do for a definition."""
    spec, found = obj.get("spec") or {}, []
    if structural_schema.has_rules(spec.get("versions")):
        found.append(_CEL_WARNING)
    conversion = (spec.get("conversion") or {}).get("strategy")
    if conversion == "Webhook" and len(spec.get("versions") or ()) > 1:
        found.append(_WEBHOOK_WARNING.format(name=obj["metadata"].get("name", "")))
    return found
