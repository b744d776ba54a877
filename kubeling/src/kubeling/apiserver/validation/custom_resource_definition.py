"""Rules for CustomResourceDefinitions, and for their schemas: structural, with valid defaults.

Source: Kubernetes, "Extend the Kubernetes API with CustomResourceDefinitions", structural schemas.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kubeling.apiserver import schema as schema_types
from kubeling.apiserver.status import Cause, CauseType
from kubeling.apiserver.validation import rules
from kubeling.apiserver.validation.openapi_schema import Validator
from kubeling.apiserver.validation.rules import Causes

Schema = Mapping[str, Any]

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_FORBIDDEN = (
    *("$ref", "definitions", "dependencies", "patternProperties", "additionalItems", "id"),
    "$schema",
)
# Fields of a schema that must not be in a logical junctor, because they do not validate.
_NOT_IN_JUNCTORS = (
    *("description", "type", "default", "additionalProperties", "nullable"),
    *("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"),
    *("x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type"),
)
_INT_OR_STRING = "x-kubernetes-int-or-string"
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_EMBEDDED = "x-kubernetes-embedded-resource"
_METADATA_FIELDS = {"name", "generateName"}


def validate_schema(schema: Schema, here: str) -> Causes:
    """Check the schema of one version."""
    malformed = list(_malformed(schema, here))
    if malformed:
        yield from malformed
        return
    if schema.get("type") != "object":
        yield Cause(CauseType.INVALID, "must be object at the root", f"{here}.type")
    causes = list(_validate_node(schema, here, is_root=True))
    yield from causes
    try:
        Validator(schema)
    except ValueError as exc:
        patterns = list(_invalid_patterns(schema, here))
        yield from patterns
        if not (causes or patterns):
            yield Cause(CauseType.INVALID, f"cannot be compiled: {exc}", here)


def _malformed(node: Schema, here: str) -> Causes:
    """Find values that are not schemas: JSONSchemaProps allows null, and any additionalProperties."""
    for name, each in _children(node):
        path = f"{here}.{name}"
        if not isinstance(each, dict):
            yield Cause(CauseType.INVALID, "is not a schema", path)
            continue
        if name == "additionalProperties":
            for error in schema_types.check("JSONSchemaProps", each).type_errors:
                yield Cause(CauseType.INVALID, error, path)
                return
        yield from _malformed(each, path)


def _validate_node(node: Schema, here: str, *, is_root: bool = False) -> Causes:
    kind = node.get("type")
    if node.get(_INT_OR_STRING):
        yield from rules.forbidden(kind, f"{here}.type", f"must be empty with {_INT_OR_STRING}")
    elif kind:
        yield from rules.one_of(kind, _TYPES, f"{here}.type")
    elif not node.get(_PRESERVE):
        yield from rules.required(None, f"{here}.type", "must not be empty")
    if kind == "array" and node.get("items") is None:
        yield from rules.required(None, f"{here}.items")
    yield from _validate_extensions(node, here)
    for name in _FORBIDDEN:
        yield from rules.forbidden(node.get(name) is not None, f"{here}.{name}", "is not supported")
    unique = node.get("uniqueItems")
    yield from rules.forbidden(unique, f"{here}.uniqueItems", "its cost is quadratic")
    yield from _validate_fields(node, here)
    yield from _validate_junctors(node, here)
    if is_root or node.get(_EMBEDDED):
        metadata = (node.get("properties") or {}).get("metadata")
        if metadata is not None and set(metadata.get("properties") or ()) - _METADATA_FIELDS:
            reason = "only name and generateName can be restricted"
            yield Cause(CauseType.FORBIDDEN, reason, f"{here}.properties[metadata]")
    if node.get("default") is not None:
        yield from _validate_default(node, f"{here}.default")


def _validate_fields(node: Schema, here: str) -> Causes:
    properties, other = node.get("properties") or {}, node.get("additionalProperties")
    if properties and other is not None and other is not False:
        reason = "additionalProperties and properties exclude each other"
        yield Cause(CauseType.FORBIDDEN, reason, f"{here}.additionalProperties")
    for name, each in properties.items():
        if name != "metadata" or not isinstance(each, dict) or each.get("type"):
            yield from _validate_node(each, f"{here}.properties[{name}]")
    if isinstance(other, dict):
        yield from _validate_node(other, f"{here}.additionalProperties")
    if isinstance(items := node.get("items"), dict):
        yield from _validate_node(items, f"{here}.items")


def _validate_extensions(node: Schema, here: str) -> Causes:
    kind, keys = node.get("x-kubernetes-list-type"), node.get("x-kubernetes-list-map-keys")
    if kind is not None:
        yield from rules.one_of(kind, ("atomic", "map", "set"), f"{here}.x-kubernetes-list-type")
        wrong = node.get("type") != "array"
        yield from rules.invalid(wrong, f"{here}.type", "must be array for a list type")
    if kind == "map":
        yield from rules.required(keys, f"{here}.x-kubernetes-list-map-keys")
        yield from _validate_map_keys(node.get("items") or {}, keys or (), f"{here}.items")
    if (kind := node.get("x-kubernetes-map-type")) is not None:
        yield from rules.one_of(kind, ("atomic", "granular"), f"{here}.x-kubernetes-map-type")
    if node.get(_EMBEDDED):
        wrong = node.get("type") != "object"
        yield from rules.invalid(wrong, f"{here}.type", f"must be object with {_EMBEDDED}")
        if not node.get(_PRESERVE) and not node.get("properties"):
            yield from rules.required(None, f"{here}.properties", "must not be empty")


def _validate_map_keys(items: Schema, keys: Any, here: str) -> Causes:
    properties, required = items.get("properties") or {}, items.get("required") or ()
    for key in keys:
        if key not in properties:
            yield Cause(CauseType.INVALID, f"has no property {key!r}", f"{here}.properties")
        elif key not in required and properties[key].get("default") is None:
            reason = "a key of the list must be required or have a default"
            yield Cause(CauseType.REQUIRED, reason, f"{here}.properties[{key}].default")


def _invalid_patterns(node: Schema, here: str) -> Causes:
    """Find the patterns that are not regular expressions."""
    if pattern := node.get("pattern"):
        try:
            Validator({"pattern": pattern})
        except ValueError:
            reason = "is not a valid regular expression"
            yield Cause(CauseType.INVALID, reason, f"{here}.pattern")
    for name, each in _children(node):
        yield from _invalid_patterns(each, f"{here}.{name}")


def _children(node: Schema) -> Iterator[tuple[str, Any]]:
    """Yield the schemas in a schema, with their paths."""
    for name, each in (node.get("properties") or {}).items():
        yield f"properties[{name}]", each
    for name in ("items", "additionalProperties", "not"):
        if (each := node.get(name)) is not None and not isinstance(each, bool):
            yield name, each
    for name in ("allOf", "anyOf", "oneOf"):
        for at, each in enumerate(node.get(name) or ()):
            yield f"{name}[{at}]", each


def _validate_default(node: Schema, here: str) -> Causes:
    try:
        errors = [cause for _, cause in Validator(node).errors(node["default"])]
    except ValueError:  # `_invalid_patterns` reports the pattern
        return
    for cause in errors:
        yield Cause(cause.reason, cause.message, here)


def _validate_junctors(node: Schema, here: str) -> Causes:
    for name in ("allOf", "anyOf", "oneOf"):
        for at, each in enumerate(node.get(name) or ()):
            if node.get(_INT_OR_STRING) and (set(each) == {"type"} or set(each) == {"anyOf"}):
                continue  # controller-gen writes the two types of an int-or-string here
            yield from _validate_junctor(each, f"{here}.{name}[{at}]")
    if node.get("not") is not None:
        yield from _validate_junctor(node["not"], f"{here}.not")


def _validate_junctor(node: Schema, here: str) -> Causes:
    for name in _NOT_IN_JUNCTORS:
        wrong = node.get(name) not in (None, "", False)
        yield from rules.forbidden(wrong, f"{here}.{name}", "must be empty to be structural")
    for name, each in (node.get("properties") or {}).items():
        yield from _validate_junctor(each, f"{here}.properties[{name}]")
    if isinstance(items := node.get("items"), dict):
        yield from _validate_junctor(items, f"{here}.items")
    for name in ("allOf", "anyOf", "oneOf"):
        for at, each in enumerate(node.get(name) or ()):
            yield from _validate_junctor(each, f"{here}.{name}[{at}]")
    if node.get("not") is not None:
        yield from _validate_junctor(node["not"], f"{here}.not")


def has_rules(node: Any) -> bool:
    """Return whether a schema contains `x-kubernetes-validations`."""
    return next(_rules(node), None) is not None


def _rules(node: Any) -> Iterator[Any]:
    if isinstance(node, list):
        for each in node:
            yield from _rules(each)
    elif isinstance(node, dict):
        if isinstance(node.get("x-kubernetes-validations"), list):
            yield node["x-kubernetes-validations"]
        for each in node.values():
            yield from _rules(each)


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
        yield from validate_schema(schema, f"{here}.schema.openAPIV3Schema")
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
    if has_rules(spec.get("versions")):
        found.append(_CEL_WARNING)
    conversion = (spec.get("conversion") or {}).get("strategy")
    if conversion == "Webhook" and len(spec.get("versions") or ()) > 1:
        found.append(_WEBHOOK_WARNING.format(name=obj["metadata"].get("name", "")))
    return found
