"""Managed fields: sets of field paths for each field manager, and their form in `metadata.managedFields`.

A path is a tuple of FieldsV1 elements: `f:spec` is a field or the key of a map, `k:{"name":"web"}` an item of
a list that merges by key, `v:"x"` an item of a set. The rules of apply are in `server_side_apply`.
Source: sigs.k8s.io/structured-merge-diff v6, k8s.io/apimachinery v0.34 pkg/util/managedfields.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubeling.apiserver import schema
from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.patch import list_merge
from kubeling.clock import rfc3339

MAX_UPDATE_MANAGERS = 10
_ANCIENT_MANAGER = "ancient-changes"
_MAX_FORMATTED_CHARS = 1024

Path = tuple[str, ...]
Paths = frozenset[Path]

# Fields that the API server sets have no manager, nor do the empty parts of an object.
_UNMANAGED_PATHS = frozenset(
    (
        *(("f:apiVersion",), ("f:kind",), ("f:metadata",), ("f:spec",), ("f:status",)),
        # Parts that every object has.
        *(("f:spec",), ("f:status",)),
        *(("f:metadata", f"f:{name}") for name in ("name", "namespace", "uid", "selfLink")),
        *(("f:metadata", f"f:{name}") for name in ("creationTimestamp", "resourceVersion")),
        *(("f:metadata", f"f:{name}") for name in ("generation", "managedFields")),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldManager:
    """The key of a field manager in `managedFields`."""

    manager: str
    operation: str
    api_version: str
    subresource: str = ""


_PARTS = frozenset((("f:spec",), ("f:status",)))


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedFields:
    """The field paths of a manager, and the time of its last change (RFC 3339)."""

    paths: Paths
    time: str = ""


ManagedFields = dict[FieldManager, OwnedFields]


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldComparison:
    """The field paths that differ between two objects."""

    added: Paths = field(default=frozenset())
    modified: Paths = field(default=frozenset())
    removed: Paths = field(default=frozenset())


def field_paths(kind: Kind, obj: Mapping[str, Any]) -> Paths:
    """Return the field paths that an object sets."""
    return frozenset(_leaves(kind.schema_name, obj, ())) - _unmanaged(kind)


def compare(kind: Kind, old: Mapping[str, Any], new: Mapping[str, Any]) -> FieldComparison:
    """Compare two objects of a kind."""
    before, after = dict(_values(kind.schema_name, old)), dict(_values(kind.schema_name, new))
    both, unmanaged = before.keys() & after.keys(), _unmanaged(kind)
    return FieldComparison(
        added=frozenset(after.keys() - both) - unmanaged,
        removed=frozenset(before.keys() - both) - unmanaged,
        modified=frozenset(path for path in both if before[path] != after[path]) - unmanaged,
    )


def _unmanaged(kind: Kind) -> Paths:
    """Return the paths that have no manager; a custom resource may exist without spec and status."""
    return _UNMANAGED_PATHS if kind.custom is None else _UNMANAGED_PATHS - _PARTS


def _leaves(kind: str, value: Any, path: Path) -> Iterator[Path]:
    for child, _ in _walk(kind, value, path, containers=False):
        yield child


def _values(kind: str, obj: Any) -> Iterator[tuple[Path, Any]]:
    return _walk(kind, obj, (), containers=True)


def _walk(kind: str, value: Any, path: Path, *, containers: bool) -> Iterator[tuple[Path, Any]]:
    """Yield each path that can have a manager, with its value.

    With `containers`, a merging list or map is a path too (without its value), as for managers that update.
    Managers that apply own only the items.
    """
    if not isinstance(value, dict) or not value:
        if path:
            yield path, value
        return
    inner = schema.element_type(kind)
    fields = {} if inner else schema.types().get(kind, {})
    is_custom = _is_custom(kind)
    for name, each in value.items():
        if each is None:
            # Only in a custom resource null is a value.
            if is_custom:
                yield (*path, f"f:{name}"), None
            continue
        if is_custom and name not in fields and isinstance(each, dict) and each:
            yield (*path, f"f:{name}"), None  # an item of a map, unlike a declared field
        yield from _walk_field(
            kind, name, inner or fields.get(name, "object"), each, path, containers=containers
        )


def _walk_field(
    parent: str, name: str, kind: str, value: Any, path: Path, *, containers: bool
) -> Iterator[tuple[Path, Any]]:
    child = (*path, f"f:{name}")
    rule = list_merge.rule(parent, name)
    if isinstance(value, list):
        if value and (rule.apply_keys or rule.is_set):
            if containers and name not in schema.required(parent):
                yield child, None
            yield from _walk_items(kind[1:-1], rule, value, child, containers=containers)
        else:
            yield child, value
    elif list_merge.is_atomic(parent, name, kind):
        yield child, value
    else:
        if containers and value and (kind.startswith("{") or _is_custom(kind)):
            yield child, None
        yield from _walk(kind, value, child, containers=containers)


def _is_custom(kind: str) -> bool:
    """Return whether a type is an object of a custom resource: declared, a map of those, or free."""
    return kind.lstrip("{").startswith(schema.CUSTOM) or kind == "object"


def _walk_items(
    kind: str, rule: list_merge.ListRule, items: Sequence[Any], path: Path, *, containers: bool
) -> Iterator[tuple[Path, Any]]:
    for item in items:
        child, is_atomic = (*path, item_element(rule, item)), list_merge.is_atomic("", "", kind)
        yield child, item if is_atomic else None
        if rule.apply_keys and not is_atomic:
            yield from _walk(kind, item, child, containers=containers)


def item_element(rule: list_merge.ListRule, item: Any) -> str:
    """Return the path element of an item of a merging list."""
    if rule.is_set:
        return "v:" + _compact(item)
    key = list_merge.key_of(rule.apply_keys, item) if isinstance(item, dict) else None
    return "k:" + _compact(key if key is not None else item)


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def encode(paths: Paths) -> dict[str, Any]:
    """Encode a set of paths as FieldsV1, in the order of the real API server; clients compare its text."""
    tree: dict[str, Any] = {}
    ends = []
    for path in sorted(paths):
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        # A path that is itself in the set and has children is marked with a dot.
        node["."] = {}
        ends.append(node)
    for node in ends:
        if len(node) == 1:
            del node["."]
    return tree


def decode(tree: Any, path: Path = ()) -> Iterator[Path]:
    """Decode FieldsV1 into paths."""
    if not isinstance(tree, dict):
        return
    if not tree and path:
        yield path
    for part, child in tree.items():
        if part == ".":
            yield path
        else:
            yield from decode(child, (*path, part))


def parse(entries: Any) -> ManagedFields:
    """Parse an object's `metadata.managedFields`."""
    return {
        FieldManager(
            manager=each.get("manager", ""),
            operation=each.get("operation", ""),
            api_version=each.get("apiVersion", ""),
            subresource=each.get("subresource", ""),
        ): OwnedFields(paths=frozenset(decode(each.get("fieldsV1"))), time=each.get("time", ""))
        for each in entries or ()
        if isinstance(each, dict) and each.get("operation")
    }


def cap_update_managers(managers: ManagedFields) -> ManagedFields:
    """Merge the oldest update managers above the limit into one manager per API version."""
    update_managers = [
        each
        for each, owned_fields in managers.items()
        if each.operation == "Update" and owned_fields.paths
    ]
    update_managers.sort(key=lambda each: (managers[each].time, each.manager))
    excess, result = len(update_managers) - MAX_UPDATE_MANAGERS, dict(managers)
    paths: dict[FieldManager, set[Path]] = {}
    times: dict[FieldManager, str] = {}
    # One more than the excess, because the merged manager counts too.
    for each in update_managers[: excess + 1] if excess > 0 else ():
        ancient = FieldManager(
            manager=_ANCIENT_MANAGER, operation="Update", api_version=each.api_version
        )
        if ancient not in paths:
            paths[ancient] = set(managers[ancient].paths) if ancient in managers else set()
        paths[ancient] |= managers[each].paths
        times[ancient] = managers[each].time
        del result[each]
    for ancient, found in paths.items():
        result[ancient] = OwnedFields(paths=frozenset(found), time=times[ancient])
    return result


def serialize(managers: ManagedFields) -> list[dict[str, Any]]:
    """Serialize `metadata.managedFields`: managers that apply first, then by time and name."""
    order = sorted(
        managers.items(),
        key=lambda each: (each[0].operation, each[1].time, each[0].manager, each[0].subresource),
    )
    return [_entry(manager, entry) for manager, entry in order if entry.paths]


def _entry(manager: FieldManager, entry: OwnedFields) -> dict[str, Any]:
    serialized = {
        "manager": manager.manager,
        "operation": manager.operation,
        "apiVersion": manager.api_version,
        "time": entry.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": encode(entry.paths),
    }
    return serialized | ({"subresource": manager.subresource} if manager.subresource else {})


def owned_fields(paths: Paths, before: OwnedFields | None, now: float) -> OwnedFields:
    """Return the paths with the old time if they did not change, else with the current time."""
    is_same = before is not None and before.paths == paths
    return OwnedFields(paths=paths, time=before.time if before and is_same else rfc3339(now))


def format_path(path: Path) -> str:
    """Format a path for messages: `.spec.containers[name="web"].image`."""
    return "".join(_format_element(part) for part in path)[:_MAX_FORMATTED_CHARS]


def _format_element(part: str) -> str:
    prefix, _, rest = part.partition(":")
    if len(rest) > _MAX_FORMATTED_CHARS:
        return f"[{rest[:_MAX_FORMATTED_CHARS]}...]"
    if prefix == "f":
        return "." + rest
    if prefix == "v":
        return f"[={rest}]"
    key = json.loads(rest)
    named = ",".join(f"{name}={_compact(value)}" for name, value in key.items())
    return f"[{named}]"
