"""Rules for the schema of a CustomResourceDefinition: it must be structural, and its defaults valid.

Source: Kubernetes, "Extend the Kubernetes API with CustomResourceDefinitions", structural schemas.
"""

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
    """Find what is no schema: the types of JSONSchemaProps do not cover nulls and additionalProperties."""
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
    yield from _validate_type(node, here)
    yield from _validate_extensions(node, here)
    for name in _FORBIDDEN:
        yield from rules.forbidden(node.get(name) is not None, f"{here}.{name}", "is not supported")
    unique = node.get("uniqueItems")
    yield from rules.forbidden(unique, f"{here}.uniqueItems", "its cost is quadratic")
    yield from _validate_fields(node, here)
    yield from _validate_junctors(node, here)
    if is_root or node.get(_EMBEDDED):
        yield from _validate_metadata((node.get("properties") or {}).get("metadata"), here)
    if node.get("default") is not None:
        yield from _validate_default(node, f"{here}.default")


def _validate_type(node: Schema, here: str) -> Causes:
    kind = node.get("type")
    if node.get(_INT_OR_STRING):
        yield from rules.forbidden(kind, f"{here}.type", f"must be empty with {_INT_OR_STRING}")
    elif kind:
        yield from rules.one_of(kind, _TYPES, f"{here}.type")
    elif not node.get(_PRESERVE):
        yield from rules.required(None, f"{here}.type", "must not be empty")
    if kind == "array" and node.get("items") is None:
        yield from rules.required(None, f"{here}.items")


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
    """Find the patterns for which a schema cannot be compiled."""
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


def _validate_metadata(metadata: Schema | None, here: str) -> Causes:
    if metadata is not None and set(metadata.get("properties") or ()) - _METADATA_FIELDS:
        reason = "only name and generateName can be restricted"
        yield Cause(CauseType.FORBIDDEN, reason, f"{here}.properties[metadata]")


def _validate_default(node: Schema, here: str) -> Causes:
    try:
        errors = [cause for _, cause in Validator(node).errors(node["default"])]
    except ValueError:  # the pattern has its own cause
        return
    for cause in errors:
        yield Cause(cause.reason, cause.message, here)


def _validate_junctors(node: Schema, here: str) -> Causes:
    for name in ("allOf", "anyOf", "oneOf"):
        for at, each in enumerate(node.get(name) or ()):
            if node.get(_INT_OR_STRING) and (set(each) == {"type"} or set(each) == {"anyOf"}):
                continue  # controller-gen lists the two types of an int-or-string
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
