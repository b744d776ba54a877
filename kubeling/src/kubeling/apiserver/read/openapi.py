"""OpenAPI v3 (one document for each group and version) and v2 (one document).

Clients need three things from it: the query parameters of a PATCH (`kubectl` checks `fieldValidation` and
`dryRun`), the merge rules of lists in a strategic merge patch, and the fields (`kubectl explain`). Documents
are built at each request; clients cache them.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from kubeling import __version__
from kubeling.apiserver import release, schema
from kubeling.apiserver.customresources.structural import PRESERVE
from kubeling.apiserver.kinds import KINDS, Kind
from kubeling.apiserver.patch import list_merge
from kubeling.apiserver.release import base_name

Document = dict[str, Any]

_V3 = "#/components/schemas/"
_V2 = "#/definitions/"
_GVK = "x-kubernetes-group-version-kind"
_PATCHES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
_PLAIN: Mapping[str, Document] = {
    "boolean": {"type": "boolean"},
    "bytes": {"type": "string", "format": "byte"},
    "int32": {"type": "integer", "format": "int32"},
    "integer": {"type": "integer", "format": "int64"},
    "number": {"type": "number", "format": "double"},
    "intOrString": {"type": "string", "format": "int-or-string"},
    "microTime": {"type": "string", "format": "date-time"},
    "object": {"type": "object"},
    "quantity": {"type": "string"},
    "string": {"type": "string"},
    "time": {"type": "string", "format": "date-time"},
}
_QUERY = {
    "list": ("continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "watch"),
    "get": (),
    "create": ("dryRun", "fieldManager", "fieldValidation"),
    "update": ("dryRun", "fieldManager", "fieldValidation"),
    "patch": ("dryRun", "fieldManager", "fieldValidation", "force"),
    "delete": ("dryRun", "gracePeriodSeconds", "propagationPolicy"),
}
_NOT_IN_V2 = frozenset(("allOf", "anyOf", "default", "not", "nullable", "oneOf"))
_METHODS = {"get": "get", "update": "put", "patch": "patch", "delete": "delete"}


def _digest(kinds: Iterable[Kind]) -> str:
    """Return a hash of the document of these kinds."""
    kinds = list(kinds)
    parts = [kind.custom.digest for kind in kinds if kind.custom is not None]
    releases = sorted({release.load(kind.release).version for kind in kinds})
    text = "".join([*releases, __version__, *parts])
    return hashlib.sha256(text.encode()).hexdigest().upper()[:32]


def _by_group_version(kinds: Iterable[Kind]) -> dict[tuple[str, str], list[Kind]]:
    found: dict[tuple[str, str], list[Kind]] = {}
    for kind in kinds:
        found.setdefault((kind.group, kind.version), []).append(kind)
    return found


def v3_root(kinds: Iterable[Kind] = KINDS) -> Document:
    """List the documents of OpenAPI v3; clients cache them by the hash."""
    return {
        "paths": {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={_digest(found)}"}
            for path, found in (
                (_path(*name), found) for name, found in _by_group_version(kinds).items()
            )
        }
    }


def _path(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def v3(group: str, version: str, kinds: Iterable[Kind] = KINDS) -> Document | None:
    """Build the document of a group and version; None if it does not exist."""
    found = _by_group_version(kinds).get((group, version))
    if not found:
        return None
    return {
        "openapi": "3.0.0",
        "info": {"title": "kubeling", "version": __version__},
        "paths": _paths(found, _V3),
        "components": {"schemas": _schemas(found, _V3)},
    }


def v2(kinds: Iterable[Kind] = KINDS) -> Document:
    """Build the OpenAPI v2 (Swagger) document of all kinds."""
    found = list(kinds)
    return {
        "swagger": "2.0",
        "info": {"title": "kubeling", "version": __version__},
        "paths": _paths(found, _V2),
        "definitions": _schemas(found, _V2),
    }


def _paths(kinds: Iterable[Kind], refs: str) -> Document:
    paths: Document = {}
    for kind in kinds:
        space = "/namespaces/{namespace}" if kind.namespaced else ""
        base = f"{kind.prefix}{space}/{kind.plural}"
        path: Document = _unless_empty("parameters", _in_path(kind, refs))
        if kind.stored:
            path["get"] = _operation(kind, "list", refs)
        paths[base] = path | {"post": _operation(kind, "create", refs)}
        if kind.stored:
            item = {"parameters": [*_in_path(kind, refs), _parameter("name", "path", refs)]}
            methods = {method: verb for verb, method in _METHODS.items() if verb in kind.verbs}
            paths[base + "/{name}"] = item | {
                method: _operation(kind, verb, refs) for method, verb in methods.items()
            }
        if kind.stored and kind.namespaced:
            paths[f"{kind.prefix}/{kind.plural}"] = {"get": _operation(kind, "list", refs)}
    return paths


def _in_path(kind: Kind, refs: str) -> list[Document]:
    return [_parameter("namespace", "path", refs)] if kind.namespaced else []


def _unless_empty(name: str, found: Any) -> Document:
    """Return a member of an object, or nothing: Go's types do not keep empty lists and objects."""
    return {name: found} if found else {}


def _parameter(name: str, where: str, refs: str) -> Document:
    parameter: Document = {"name": name, "in": where}
    if where == "path":
        parameter["required"] = True
    text = {"type": "string"}
    return parameter | ({"schema": text} if refs == _V3 else text)


def _operation(kind: Kind, verb: str, refs: str) -> Document:
    ref = {"$ref": refs + _full_name(kind)}
    operation: Document = {
        "operationId": f"{verb}{kind.kind}",
        "x-kubernetes-action": verb,
        _GVK: _gvk(kind),
        "responses": {"200": {"description": "OK"}},
    } | _unless_empty("parameters", [_parameter(name, "query", refs) for name in _QUERY[verb]])
    if refs == _V2:
        return operation
    operation["responses"]["200"]["content"] = {"application/json": {"schema": ref}}
    if verb in ("create", "update", "patch"):
        patches = _PATCHES if kind.custom is None else _PATCHES[:-1]
        media = patches if verb == "patch" else ("application/json",)
        body = {"type": "object"} if verb == "patch" else ref
        operation["requestBody"] = {"content": {each: {"schema": body} for each in media}}
    return operation


def _gvk(kind: Kind) -> dict[str, str]:
    return {"group": kind.group, "kind": kind.kind, "version": kind.version}


def _schemas(kinds: Iterable[Kind], refs: str) -> Document:
    kinds = list(kinds)
    by_type = {kind.schema_name: kind for kind in kinds if kind.custom is None}
    custom = [kind for kind in kinds if kind.custom is not None]
    found: Document = {_full_name(kind): _custom_schema(kind, refs) for kind in custom}
    for name in _reachable([*by_type, *(["ObjectMeta"] if custom else ())]):
        made = _schema(name, refs)
        if name in by_type:
            made[_GVK] = [_gvk(by_type[name])]
        found[full_name(name)] = made
    return found


def full_name(name: str) -> str:
    """Return the full name of a built-in type: its Go package, and its name there."""
    return f"{schema.notes(name)['in']}.{base_name(name).rpartition('.')[2]}"


def _full_name(kind: Kind) -> str:
    if kind.custom is None:
        return full_name(kind.schema_name)
    return ".".join([*reversed(kind.group.split(".")), kind.version, kind.kind])


def _custom_schema(kind: Kind, refs: str) -> Document:
    """Return the schema of a custom resource with the fields that every object has."""
    assert kind.custom is not None
    made: Document = dict(kind.custom.published_schema)
    if refs == _V2 and made.get(PRESERVE):
        return {"type": "object", _GVK: [_gvk(kind)]}
    if refs == _V2:
        made = _as_v2(made)
    fields = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"$ref": refs + full_name("ObjectMeta")},
    }
    made["properties"] = {**(made.get("properties") or {}), **fields}
    return made | {_GVK: [_gvk(kind)]}


def _as_v2(value: Any) -> Any:
    """Return a schema as the real API server publishes it in OpenAPI v2, for which kubectl has no unions.

    A value that may be null or has undeclared fields has no type. `properties` may be a name of a field.
    """
    if not isinstance(value, dict):
        return value
    keeps_unknown, is_nullable = bool(value.get(PRESERVE)), bool(value.get("nullable"))
    dropped = {*_NOT_IN_V2}
    if keeps_unknown or is_nullable:
        dropped |= {"items", "properties"}
    is_open_array = value.get("type") == "array" and not (
        "items" in value and "items" not in dropped
    )
    is_open_object = value.get("type") == "object" and keeps_unknown
    if is_nullable or is_open_array or is_open_object:
        dropped.add("type")
    made = {name: each for name, each in value.items() if name not in dropped}
    properties = made.get("properties") or {}
    if properties:
        made["properties"] = {name: _as_v2(each) for name, each in properties.items()}
    if required := made.get("required"):
        made["required"] = [
            name for name in required if not (properties.get(name) or {}).get("nullable")
        ]
    for name in ("items", "additionalProperties"):
        if name in made:
            made[name] = _as_v2(made[name])
    return {name: each for name, each in made.items() if (name, each) != ("required", [])}


def _reachable(roots: Iterable[str]) -> list[str]:
    """List the types that these types use, directly or indirectly, each once."""
    waiting, found = list(roots), dict[str, None]()
    while waiting:
        name = waiting.pop(0)
        if name in found or name not in schema.types():
            continue
        found[name] = None
        waiting += [kind.strip("[]{}") for kind in schema.types()[name].values()]
    return list(found)


def _schema(name: str, refs: str) -> Document:
    properties = {
        field: _property(name, field, kind, refs) for field, kind in schema.types()[name].items()
    }
    made: Document = {"type": "object"} | _unless_empty("properties", properties)
    if must := sorted(schema.required(name)):
        made["required"] = must
    if schema.notes(name).get("atomic"):
        made["x-kubernetes-map-type"] = "atomic"
    return made


def _property(owner: str, field: str, kind: str, refs: str) -> Document:
    made, notes = _type(kind, refs), schema.notes(owner)
    if refs == _V3 and "$ref" not in made:
        made |= _unless_empty("default", notes.get("default", {}).get(field))
        if values := notes.get("enum", {}).get(field):
            made.get("items", made)["enum"] = values
    strategy = list_merge.patch_strategy(owner, field)
    if strategy and "$ref" in made:  # clients ignore other members next to $ref
        made = {"allOf": [made]}
    if strategy:
        made["x-kubernetes-patch-strategy"] = strategy
    if not kind.startswith("["):
        return made
    rule = list_merge.rule(owner, field)
    if rule.patch_key:
        made["x-kubernetes-patch-merge-key"] = rule.patch_key
    if rule.apply_keys:
        made["x-kubernetes-list-map-keys"] = list(rule.apply_keys)
    made["x-kubernetes-list-type"] = (
        "map" if rule.apply_keys else "set" if rule.is_set else "atomic"
    )
    return made


def _type(kind: str, refs: str) -> Document:
    if kind.startswith("["):
        return {"type": "array", "items": _type(kind[1:-1], refs)}
    if kind.startswith("{"):
        return {"type": "object", "additionalProperties": _type(kind[1:-1], refs)}
    plain = _PLAIN.get(kind)
    return dict(plain) if plain is not None else {"$ref": refs + full_name(kind)}
