"""Structural schemas: prune the fields that a schema does not declare, and set its defaults.

Source: Kubernetes, "Extend the Kubernetes API with CustomResourceDefinitions", pruning and defaulting.
"""

import copy
from collections.abc import Mapping
from typing import Any

from kubeling.apiserver import schema

Schema = Mapping[str, Any]
Object = dict[str, Any]

PRESERVE = "x-kubernetes-preserve-unknown-fields"
EMBEDDED = "x-kubernetes-embedded-resource"
INT_OR_STRING = "x-kubernetes-int-or-string"
_TYPE_META = ("apiVersion", "kind")


def prune(root: Schema, obj: Mapping[str, Any]) -> tuple[Object, list[str]]:
    """Copy an object without undeclared fields; also return the paths of these fields, sorted."""
    unknown: list[str] = []
    pruned: Object = _prune(root, obj, "", unknown, is_resource=True)
    return pruned, sorted(unknown)


def _prune(
    node: Schema, value: Any, path: str, unknown: list[str], *, is_resource: bool = False
) -> Any:
    if isinstance(value, list):
        item = node.get("items")
        if item is None:
            return copy.deepcopy(value)
        return [_prune(item, each, f"{path}[{at}]", unknown) for at, each in enumerate(value)]
    if not isinstance(value, dict):
        return value
    is_resource = is_resource or bool(node.get(EMBEDDED))
    pruned: Object = {}
    for name, each in value.items():
        child = f"{path}.{name}" if path else name
        if is_resource and name in _TYPE_META:
            pruned[name] = each
        elif is_resource and name == "metadata":
            if each is not None:
                pruned[name] = _prune_metadata(each, child, unknown)
        elif (below := child_schema(node, name)) is not None:
            pruned[name] = _prune(below, each, child, unknown)
        elif accepts_unknown(node):
            pruned[name] = copy.deepcopy(each)
        else:
            unknown.append(child)
    return pruned


def _prune_metadata(metadata: Any, path: str, unknown: list[str]) -> Any:
    if not isinstance(metadata, dict):
        return metadata
    unknown += [f"{path}.{each}" for each in schema.check("ObjectMeta", metadata).unknown]
    return schema.prune("ObjectMeta", metadata)


def child_schema(node: Schema, name: str) -> Schema | None:
    """Return the schema of a field of an object; None if the schema does not declare the field."""
    found: Schema | None = (node.get("properties") or {}).get(name)
    if found is not None:
        return found
    other = node.get("additionalProperties")
    return other if isinstance(other, dict) else None


def accepts_unknown(node: Schema) -> bool:
    """Return whether an object of this schema keeps fields that the schema does not declare."""
    return bool(node.get(PRESERVE)) or node.get("additionalProperties") is True


def metadata_errors(root: Schema, obj: Any) -> list[str]:
    """Return the type errors in the metadata of an object and of the resources embedded in it."""
    return _metadata_errors(root, obj, "", is_resource=True)


def _metadata_errors(node: Schema, value: Any, path: str, *, is_resource: bool) -> list[str]:
    if isinstance(value, list):
        item = node.get("items") or {}
        return [
            error
            for at, each in enumerate(value)
            for error in _metadata_errors(
                item, each, f"{path}[{at}]", is_resource=bool(item.get(EMBEDDED))
            )
        ]
    if not isinstance(value, dict):
        return []
    found: list[str] = []
    for name, each in value.items():
        child = f"{path}.{name}" if path else name
        if is_resource and name == "metadata":
            if each is not None and not isinstance(each, dict):
                found.append(f"{child}: want an object")
            else:
                errors = schema.check("ObjectMeta", each).type_errors
                found += [f"{child}.{error}" for error in errors]
        elif (below := child_schema(node, name)) is not None:
            found += _metadata_errors(below, each, child, is_resource=bool(below.get(EMBEDDED)))
    return found


def set_defaults(root: Schema, obj: Object) -> None:
    """Set the defaults of a schema in an object, and drop nulls of fields that cannot be null."""
    _default(root, {name: each for name, each in obj.items() if name != "metadata"}, obj)


def _default(node: Schema, value: Any, target: Any) -> None:
    if isinstance(value, list):
        if item := node.get("items"):
            for each in value:
                _default(item, each, each)
        return
    if not isinstance(value, dict):
        return
    for name, each in list(value.items()):
        below = child_schema(node, name)
        if each is None and below is not None and not below.get("nullable"):
            del target[name]
    for name, below in (node.get("properties") or {}).items():
        if name not in target and below.get("default") is not None:
            target[name] = copy.deepcopy(below["default"])
    for name in [
        name for name in target if name in value or name in (node.get("properties") or {})
    ]:
        if (below := child_schema(node, name)) is not None and target is not None:
            _default(below, target[name], target[name])
