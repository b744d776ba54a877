"""One version of a custom resource: what its kind does differently from a built-in kind."""

import functools
import hashlib
import itertools
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from kubeling.apiserver import schema
from kubeling.apiserver.customresources import structural
from kubeling.apiserver.customresources.structural import EMBEDDED, INT_OR_STRING, Object, Schema
from kubeling.apiserver.patch import list_merge
from kubeling.apiserver.patch.list_merge import ListRule
from kubeling.apiserver.status import Cause, CauseType
from kubeling.apiserver.validation import openapi_schema
from kubeling.apiserver.validation.openapi_schema import Location, Validator

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
            if kind.startswith("["):
                rule = _list_rule(below)
                if rule is not None:
                    found.rules.setdefault(owner, {})[key] = rule
            elif below.get("x-kubernetes-map-type") == "atomic":
                found.atomic_fields.add((owner, key))
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


def _list_rule(node: Schema) -> ListRule | None:
    match node.get("x-kubernetes-list-type"):
        case "map":
            return ListRule(None, tuple(node.get("x-kubernetes-list-map-keys") or ()))
        case "set":
            return ListRule(None, is_set=True)
        case _:
            return None


_MISSING = object()


class VersionedResource:
    """One served version of a CustomResourceDefinition.

    `definition` is the definition, `version` one of its `spec.versions`. What is expensive is compiled at
    first use. `warning` is empty for a version that is not deprecated; `is_terminating` is true if the
    definition is being deleted.
    """

    def __init__(self, definition: Mapping[str, Any], version: Mapping[str, Any]) -> None:
        names, metadata = definition["status"]["acceptedNames"], definition["metadata"]
        self._definition, self._version = definition, version
        self.schema: Schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        self.singular = names.get("singular") or names["kind"].lower()
        self.list_kind = names.get("listKind") or names["kind"] + "List"
        self.is_terminating = bool(metadata.get("deletionTimestamp"))
        self.warning = _deprecation_warning(definition, version)
        self._name = new_name()

    @property
    def type_name(self) -> str:
        """Return the name of the type; its fields are registered at the first call."""
        _ = self._types
        return self._name

    @functools.cached_property
    def _types(self) -> FieldTypes:
        made = compile_types(self._name, self.schema)
        made.register()
        weakref.finalize(self, made.unregister)
        return made

    @functools.cached_property
    def _validator(self) -> Validator:
        return Validator(_without_metadata(self.schema))

    @functools.cached_property
    def _storage(self) -> Schema | None:
        """Return the schema of the stored version; None if it is this version."""
        stored = next(each for each in self._definition["spec"]["versions"] if each["storage"])
        if stored["name"] == self._version["name"]:
            return None
        schema: Schema = stored["schema"]["openAPIV3Schema"]
        return schema

    @property
    def digest(self) -> str:
        """Return a digest that changes when the definition changes."""
        metadata = self._definition["metadata"]
        text = f"{metadata['uid']}/{metadata.get('generation')}/{self._version['name']}"
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def scale_paths(self) -> Mapping[str, str]:
        """Return the paths of the scale subresource."""
        found: Mapping[str, str] = (self._version.get("subresources") or {}).get("scale") or {}
        return found

    @property
    def printer_columns(self) -> Sequence[Mapping[str, Any]]:
        """Return the additionalPrinterColumns."""
        return self._version.get("additionalPrinterColumns") or ()

    @property
    def published_schema(self) -> Schema:
        """Return the schema for OpenAPI."""
        return self.schema

    def type_errors(self, obj: Mapping[str, Any]) -> list[str]:
        """Return the type errors of an object; only its metadata is decoded into a type."""
        return structural.metadata_errors(self.schema, obj)

    def unknown_fields(self, obj: Mapping[str, Any]) -> list[str]:
        """Return the paths of fields that the schema does not declare."""
        return structural.prune(self.schema, obj)[1]

    def prune(self, obj: Mapping[str, Any]) -> Object:
        """Copy an object without undeclared fields."""
        return structural.prune(self.schema, obj)[0]

    def set_defaults(self, obj: Object) -> None:
        """Set the defaults of the schema in place."""
        structural.set_defaults(self.schema, obj)

    def to_storage(self, obj: Object) -> Object:
        """Convert an object to the stored version: only its apiVersion and its fields change."""
        return obj if self._storage is None else structural.prune(self._storage, obj)[0]

    def from_storage(self, obj: Object) -> Object:
        """Convert a stored object to this version of the definition, which may be newer."""
        pruned = structural.prune(self.schema, obj)[0]
        structural.set_defaults(self.schema, pruned)
        return pruned

    def encode(self, raw: bytes) -> bytes:
        """Convert the JSON of a stored object to this version."""
        return orjson.dumps(self.from_storage(orjson.loads(raw)))

    def validate(
        self, obj: Mapping[str, Any], old: Mapping[str, Any] | None = None
    ) -> Iterator[Cause]:
        """Yield the causes for which an object is invalid, up to a limit.

        A problem of a value that an update does not change is no cause, so that objects from before a change
        of the schema can still be changed.
        """
        count = 0
        for location, cause in self._errors(obj):
            if old is not None and _is_unchanged(location, obj, old):
                continue
            yield cause
            count += 1
            if count == openapi_schema.MAX_CAUSES:
                return

    def _errors(self, obj: Mapping[str, Any]) -> Iterator[tuple[Location, Cause]]:
        body = {name: each for name, each in obj.items() if name != "metadata"}
        yield from self._validator.errors(body)
        yield from _embedded_errors(self.schema, body, ())
        yield from openapi_schema.set_errors(self.schema, body)


def _without_metadata(schema: Schema) -> Schema:
    """Return the schema of an object without metadata, which has rules of its own."""
    properties = dict(schema.get("properties") or {})
    for name in ("metadata", "apiVersion", "kind"):
        properties.pop(name, None)
    required = [each for each in schema.get("required") or () if each in properties]
    return {**schema, "properties": properties, "required": required}


def _embedded_errors(
    node: Schema, value: Any, location: Location
) -> Iterator[tuple[Location, Cause]]:
    """Check that every embedded resource names its type."""
    if isinstance(value, list):
        for at, each in enumerate(value):
            yield from _embedded_errors(node.get("items") or {}, each, (*location, at))
    if not isinstance(value, dict):
        return
    if node.get(EMBEDDED):
        for name in ("apiVersion", "kind"):
            if not value.get(name):
                field = openapi_schema.format_location((*location, name))
                yield location, Cause(CauseType.REQUIRED, "Required value", field)
    for name, each in value.items():
        if (below := structural.child_schema(node, name)) is not None:
            yield from _embedded_errors(below, each, (*location, name))


def _is_unchanged(location: Location, new: Any, old: Any) -> bool:
    """Return whether the value at a location is the same in both objects."""
    for part in location:
        new, old = _child(new, part), _child(old, part)
    return new is not _MISSING and bool(new == old)


def _child(value: Any, part: str | int) -> Any:
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return _MISSING


def _deprecation_warning(definition: Mapping[str, Any], version: Mapping[str, Any]) -> str:
    if not version.get("deprecated"):
        return ""
    spec = definition["spec"]
    text: str = version.get("deprecationWarning") or ""
    return text or f"{spec['group']}/{version['name']} {spec['names']['kind']} is deprecated"
