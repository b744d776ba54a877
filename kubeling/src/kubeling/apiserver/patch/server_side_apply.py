"""Server-side apply, and managed fields of updates.

A field manager applies a partial object, which is merged into the live object. A field that another manager
owns with another value is a conflict, unless the apply is forced. A field that this manager applied before
and no longer applies is removed, unless another manager owns it. `track_update` records the field manager
of creates, updates and patches.
"""

import copy
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import orjson

from kubeling.apiserver import schema
from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.patch import list_merge, managed_fields
from kubeling.apiserver.patch.managed_fields import (
    FieldComparison,
    FieldManager,
    ManagedFields,
    OwnedFields,
    Path,
    Paths,
)
from kubeling.apiserver.status import Cause, CauseType, StatusError, bad_request

Object = dict[str, Any]

_BEFORE = "before-first-apply"
_MAX_CONFLICTS = 1000
_REMOVED: Any = object()


def apply(
    kind: Kind,
    live: Mapping[str, Any] | None,
    applied: Mapping[str, Any],
    manager: str,
    *,
    force: bool = False,
    now: float,
    subresource: str = "",
) -> Object:
    """Merge an applied object into the live object, and update `metadata.managedFields`.

    The result has no defaults and no fields that the API server sets; an apply that changes nothing returns
    the live object with its times. `now` is in seconds since the epoch. Raises StatusError 409 with one cause
    for each conflict; 400 for a list with a duplicate item.
    """
    applied_fields = _select_applicable(kind, applied, subresource)
    managers = _managers_for_apply(kind, live, now)
    this_manager = FieldManager(
        manager=manager,
        operation="Apply",
        api_version=kind.api_version,
        subresource=subresource,
    )
    others = {
        manager_key: entry for manager_key, entry in managers.items() if manager_key != this_manager
    }
    applied_paths = managed_fields.field_paths(kind, applied_fields)
    merged = _merge(kind.schema_name, live or {}, applied_fields)
    if before := managers.get(this_manager):
        _remove_unowned(
            kind, merged, _with_parents(before.paths) - _with_parents(applied_paths), others
        )
    comparison = managed_fields.compare(kind, live or {}, merged)
    if not force:
        _refuse_conflicts(others, comparison, adoptable_fields(kind, live or {}, manager))
    managers = _release_changed(others, comparison) | {
        this_manager: managed_fields.owned_fields(applied_paths, managers.get(this_manager), now)
    }
    return _with_managed_fields(update_annotation(merged, applied, manager), managers)


def track_update(
    kind: Kind,
    old: Mapping[str, Any] | None,
    new: Mapping[str, Any],
    manager: str,
    *,
    subresource: str = "",
    operation: str = "Update",
    now: float,
) -> list[Object]:
    """Return the `managedFields` of an object after a create (`old` is None), update or patch.

    Call this after defaulting and before admission, as the real API does. A client may set managedFields
    itself; `[{}]` or an empty list clears them.
    """
    # A client may set managedFields in an object, but not in the body of a subresource.
    sent_managed = None if subresource else (new.get("metadata") or {}).get("managedFields")
    old_managed = (old or {}).get("metadata", {}).get("managedFields")
    if old is not None and (sent_managed in ([], [{}]) or not (sent_managed or old_managed)):
        return []  # an object without managedFields gets none until a server-side apply
    managers = managed_fields.parse(sent_managed) or managed_fields.parse(old_managed)
    this_manager = FieldManager(
        manager=manager,
        operation=operation,
        api_version=kind.api_version,
        subresource=subresource,
    )
    comparison = managed_fields.compare(kind, old or {}, new)
    managers = _release_changed(
        {o: e for o, e in managers.items() if o != this_manager}, comparison
    ) | {o: e for o, e in managers.items() if o == this_manager}
    this_entry = managers.get(this_manager)
    paths = (
        (this_entry.paths if this_entry else frozenset()) | comparison.added | comparison.modified
    ) - comparison.removed
    managers[this_manager] = managed_fields.owned_fields(
        _select_settable(kind, paths, subresource), this_entry, now
    )
    return managed_fields.serialize(managed_fields.cap_update_managers(managers))


def _select_applicable(kind: Kind, applied: Mapping[str, Any], subresource: str) -> Object:
    """Return the part of an applied body that can be applied at this path."""
    if (applied.get("metadata") or {}).get("managedFields"):
        raise bad_request("metadata.managedFields must not be applied")
    applied_fields = schema.prune(kind, applied)
    if kind.has_status and subresource != "status":
        applied_fields.pop("status", None)
    if subresource == "status":
        applied_fields.pop("spec", None)
    return applied_fields


def _select_settable(kind: Kind, paths: Paths, subresource: str) -> Paths:
    """Return the paths without those that a write at this path cannot set."""
    if subresource == "status":
        return frozenset(path for path in paths if path[0] != "f:spec")
    if kind.has_status:
        return frozenset(path for path in paths if path[0] != "f:status")
    return paths


def _managers_for_apply(kind: Kind, live: Mapping[str, Any] | None, now: float) -> ManagedFields:
    """Return the managers of a live object; unmanaged fields belong to the manager `before-first-apply`."""
    if live is None:
        return {}
    managers = managed_fields.parse((live.get("metadata") or {}).get("managedFields"))
    unmanaged = managed_fields.compare(kind, {}, live).added
    if managers or not unmanaged:
        return managers
    before = FieldManager(manager=_BEFORE, operation="Update", api_version=kind.api_version)
    return {before: managed_fields.owned_fields(unmanaged, None, now)}


def _refuse_conflicts(others: ManagedFields, comparison: FieldComparison, allowed: Paths) -> None:
    touched = (comparison.added | comparison.modified) - allowed
    conflicts = (
        (manager_key, path)
        for manager_key, entry in sorted(others.items(), key=lambda each: each[0].manager)
        for path in sorted(entry.paths & touched)
    )
    causes = [
        Cause(
            CauseType.MANAGER_CONFLICT,
            f"conflict with {_describe(manager_key)}",
            managed_fields.format_path(path),
        )
        for manager_key, path in islice(conflicts, _MAX_CONFLICTS)
    ]
    if causes:
        text = ", ".join(f"{cause.field} ({cause.message})" for cause in causes)
        raise StatusError(409, "Conflict", f"apply failed, conflicts: {text}", causes=causes)


def _describe(manager_key: FieldManager) -> str:
    """Describe a field manager in a conflict message: name, subresource, and API version if it updates."""
    text = f'"{manager_key.manager}"'
    if manager_key.subresource:
        text += f' with subresource "{manager_key.subresource}"'
    return text + (f" using {manager_key.api_version}" if manager_key.operation == "Update" else "")


def _release_changed(others: ManagedFields, comparison: FieldComparison) -> ManagedFields:
    """Remove changed fields from the other managers."""
    changed = comparison.added | comparison.modified | comparison.removed
    return {
        manager_key: OwnedFields(paths=entry.paths - changed, time=entry.time)
        for manager_key, entry in others.items()
    }


def _with_managed_fields(obj: Object, managers: ManagedFields) -> Object:
    metadata = dict(obj.get("metadata") or {})
    metadata.pop("managedFields", None)
    if serialized := managed_fields.serialize(managers):
        metadata["managedFields"] = serialized
    return obj | {"metadata": metadata}


def _merge(kind: str, live: Mapping[str, Any], applied_fields: Mapping[str, Any]) -> Object:
    """Merge applied fields into an object, by the merge rules of lists and atomic objects."""
    merged: Object = {name: copy.deepcopy(value) for name, value in live.items()}
    inner = schema.element_type(kind)
    fields = {} if inner else schema.types().get(kind, {})
    for name, value in applied_fields.items():
        child_type = inner or fields.get(name, "object")
        merged[name] = _merge_field(kind, name, child_type, merged.get(name), value)
    return merged


def _merge_field(parent: str, name: str, kind: str, live: Any, value: Any) -> Any:
    rule = list_merge.rule(parent, name)
    if isinstance(value, list) and (rule.apply_keys or rule.is_set):
        return _merge_list(kind[1:-1], rule, live or [], value, name)
    if isinstance(value, dict) and not list_merge.is_atomic(parent, name, kind):
        return _merge(kind, live if isinstance(live, dict) else {}, value)
    return copy.deepcopy(value)


def _merge_list(
    kind: str,
    rule: list_merge.ListRule,
    live: Sequence[Any],
    applied_items: Sequence[Any],
    name: str,
) -> list[Any]:
    applied_by_name = {_checked_element(rule, item, name): item for item in applied_items}
    if len(applied_by_name) != len(applied_items):
        raise bad_request(f"the applied list {name} contains an item twice")
    live_names = [managed_fields.item_element(rule, item) for item in live]
    live_items: dict[str, deque[Any]] = {each: deque() for each in live_names}
    for each, item in zip(live_names, live, strict=True):
        live_items[each].append(item)  # a live list may contain a name twice, such as `env`
    merged = []
    for each in _interleave(live_names, list(applied_by_name)):
        if each not in applied_by_name:
            merged.append(live_items[each].popleft())
        elif rule.apply_keys and not list_merge.is_atomic("", "", kind):
            merged.append(_merge(kind, live_items.get(each, [{}])[0], applied_by_name[each]))
        else:
            merged.append(applied_by_name[each])
    return merged


def _checked_element(rule: list_merge.ListRule, item: Any, name: str) -> str:
    if rule.apply_keys and (
        not isinstance(item, dict) or not list_merge.key_of(rule.apply_keys, item)
    ):
        raise bad_request(f"an item of the applied list {name} lacks {', '.join(rule.apply_keys)}")
    return managed_fields.item_element(rule, item)


def _interleave(live: Sequence[str], applied: Sequence[str]) -> list[str]:
    """Return the order of a merged list: the applied order, with other live items at their old positions."""
    position = {each: at for at, each in enumerate(applied)}
    known = set(live)
    ordered, at = [], 0
    for each in live:
        if each not in position:
            ordered.append(each)
            continue
        while at <= position[each]:
            ordered.append(applied[at])
            at += 1
            # New applied items follow directly after the applied item before them.
        while at < len(applied) and applied[at] not in known:
            ordered.append(applied[at])
            at += 1
    return ordered + list(applied[at:])


def _with_parents(paths: Paths) -> Paths:
    """Add parent fields, so that an object is removed when all of its applied fields are removed."""
    parents = _prefixes(path[:-1] for path in paths if len(path) > 1)
    return paths | {
        path for path in parents if path[-1].startswith("f:") and path != ("f:metadata",)
    }


def _prefixes(paths: Iterable[Path]) -> set[Path]:
    """Return paths with all of their prefixes; each prefix is built once."""
    found: set[Path] = set()
    for path in paths:
        for at in range(len(path), 0, -1):
            if path[:at] in found:
                break
            found.add(path[:at])
    return found


def _remove_unowned(kind: Kind, obj: Object, released: Paths, others: ManagedFields) -> None:
    """Remove fields that no manager owns any more, in one walk."""
    owned = _prefixes(path for entry in others.values() for path in entry.paths)
    tree: dict[str, Any] = {}
    for path in sorted(released - owned - {("f:metadata",)}, key=len):
        node: Any = tree
        for part in path[:-1]:
            node = node.setdefault(part, {})
            if node is _REMOVED:  # a parent is removed as a whole
                break
        else:
            node[path[-1]] = _REMOVED
    _remove_fields(kind.schema_name, "", kind.schema_name, obj, tree)


def _remove_fields(
    parent: str, name: str, kind: str, container: Any, tree: Mapping[str, Any]
) -> None:
    """Remove the fields and items in a tree of path elements; ignore those that do not exist.

    The container has the type `kind` and is in the field `name` of the type `parent`.
    """
    if isinstance(container, list):
        _remove_items(list_merge.rule(parent, name), kind[1:-1], container, tree)
    elif isinstance(container, dict):
        inner, fields = schema.element_type(kind), schema.types().get(kind, {})
        for part, below in tree.items():
            field = part[2:]
            if not part.startswith("f:") or field not in container:
                continue
            if below is _REMOVED:
                del container[field]
            else:
                child_type = inner or fields.get(field, "object")
                _remove_fields(kind, field, child_type, container[field], below)


def _remove_items(
    rule: list_merge.ListRule, kind: str, container: list[Any], tree: Mapping[str, Any]
) -> None:
    positions: dict[str, int] = {}
    for at, item in enumerate(container):
        positions.setdefault(managed_fields.item_element(rule, item), at)
    removed = set()
    for part, below in tree.items():
        if part not in positions:
            continue
        if below is _REMOVED:
            removed.add(positions[part])
        else:
            _remove_fields("", "", kind, container[positions[part]], below)
    if removed:
        container[:] = [item for at, item in enumerate(container) if at not in removed]


ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
_MANAGER = "kubectl"


def adoptable_fields(kind: Kind, live: Mapping[str, Any], manager: str) -> Paths:
    """Return the fields that still have their last applied value; the manager may take them over."""
    text = _annotations(live).get(ANNOTATION)
    if manager != _MANAGER or not text:
        return frozenset()
    try:
        last = orjson.loads(text)
    except ValueError:
        return frozenset()
    if not isinstance(last, dict) or last.get("apiVersion") != kind.api_version:
        return frozenset()
    if schema.check(kind, last).type_errors:
        return frozenset()  # the annotation can contain anything
    last = schema.prune(kind, last)
    return (
        managed_fields.field_paths(kind, last) - managed_fields.compare(kind, last, live).modified
    )


def update_annotation(obj: Object, applied: Mapping[str, Any], manager: str) -> Object:
    """Update an existing annotation with the applied object."""
    if manager != _MANAGER or not _annotations(obj).get(ANNOTATION):
        return obj
    metadata = dict(applied.get("metadata") or {})
    annotations = {name: text for name, text in _annotations(applied).items() if name != ANNOTATION}
    metadata["annotations"] = annotations
    text = orjson.dumps({**applied, "metadata": metadata}).decode() + "\n"
    updated = obj["metadata"] | {"annotations": _annotations(obj) | {ANNOTATION: text}}
    return obj | {"metadata": updated}


def _annotations(obj: Mapping[str, Any]) -> dict[str, Any]:
    return (obj.get("metadata") or {}).get("annotations") or {}
