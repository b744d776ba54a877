"""The types of custom resources in the notation of `schema`, so that the rules of apply hold for them too.

Each object of a structural schema becomes a type, with the merge rules of its lists. The names of types are
unique in the process, because several clusters may run in it.
"""

import itertools
from dataclasses import dataclass, field

from kubeling.apiserver import schema
from kubeling.apiserver.customresources.structural import (
    EMBEDDED,
    INT_OR_STRING,
    Schema,
)
from kubeling.apiserver.patch import list_merge
from kubeling.apiserver.patch.list_merge import ListRule

_SCALARS = ("boolean", "integer", "number", "string")
_RESOURCE_FIELDS = {"apiVersion": "string", "kind": "string", "metadata": "ObjectMeta"}
_numbers = itertools.count(1)


@dataclass(slots=True)
class FieldTypes:
    """The types of one version of a custom resource; `root` is the name of the type of the whole object."""

    root: str
    fields: dict[str, dict[str, str]] = field(default_factory=dict)
    rules: dict[str, dict[str, ListRule]] = field(default_factory=dict)
    atomic_types: set[str] = field(default_factory=set)
    atomic_fields: set[tuple[str, str]] = field(default_factory=set)

    def register(self) -> None:
        """Register the types with the schema and with the merge rules."""
        schema.register(self.fields)
        list_merge.register(self.rules, self.atomic_types, self.atomic_fields)

    def unregister(self) -> None:
        """Remove the types from the schema and from the merge rules."""
        schema.unregister(self.fields)
        list_merge.unregister(self.rules, self.atomic_types, self.atomic_fields)


def new_name() -> str:
    """Return a new name for the type of a custom resource."""
    return f"{schema.CUSTOM}{next(_numbers)}"


def compile_types(name: str, root: Schema) -> FieldTypes:
    """Compile a structural schema; `name` is the name of the type of the whole object."""
    found = FieldTypes(name)
    waiting: list[tuple[str, Schema, bool]] = [(name, root, True)]
    while waiting:
        owner, node, is_resource = waiting.pop()
        made: dict[str, str] = {}
        if is_resource:
            made |= _RESOURCE_FIELDS
        for key, below in (node.get("properties") or {}).items():
            if is_resource and key in _RESOURCE_FIELDS:
                continue
            kind, objects = _notation(f"{owner}.{key}", below)
            made[key] = kind
            waiting += objects
            _add_rules(found, owner, key, kind, below)
        if node.get("x-kubernetes-map-type") == "atomic":
            found.atomic_types.add(owner)
        found.fields[owner] = made
    return found


def _notation(name: str, node: Schema) -> tuple[str, list[tuple[str, Schema, bool]]]:
    """Return the notation of a schema, and the objects in it that need a type of their own."""
    if node.get(INT_OR_STRING):
        return "intOrString", []
    kind, other = node.get("type"), node.get("additionalProperties")
    if kind == "array":
        below, objects = _notation(f"{name}[]", node.get("items") or {})
        return f"[{below}]", objects
    if isinstance(other, dict):
        below, objects = _notation(f"{name}{{}}", other)
        return f"{{{below}}}", objects
    if node.get("properties") or node.get(EMBEDDED):
        return name, [(name, node, bool(node.get(EMBEDDED)))]
    return (kind if kind in _SCALARS else "object"), []


def _add_rules(found: FieldTypes, owner: str, key: str, kind: str, node: Schema) -> None:
    if kind.startswith("["):
        rule = _list_rule(node)
        if rule is not None:
            found.rules.setdefault(owner, {})[key] = rule
    elif node.get("x-kubernetes-map-type") == "atomic":
        found.atomic_fields.add((owner, key))


def _list_rule(node: Schema) -> ListRule | None:
    match node.get("x-kubernetes-list-type"):
        case "map":
            return ListRule(None, tuple(node.get("x-kubernetes-list-map-keys") or ()))
        case "set":
            return ListRule(None, is_set=True)
        case _:
            return None
