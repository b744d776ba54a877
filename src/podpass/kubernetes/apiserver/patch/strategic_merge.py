"""Strategic merge patch: objects merge, lists merge by the key of their type, and directives.

    $patch: replace | delete | merge       for an object or for an item of a list
    $deleteFromPrimitiveList/FIELD         values to remove from a list
    $setElementOrder/FIELD                 the order of the merged list
    $retainKeys                            the only fields that stay in an object

Source: k8s.io/apimachinery v0.34 pkg/util/strategicpatch. The order of merged lists is the same: items of
the patch in the patch's order, the others at their old positions among them.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from podpass.kubernetes.apiserver import schema
from podpass.kubernetes.apiserver.patch import list_merge
from podpass.kubernetes.apiserver.status import bad_request

_PATCH = "$patch"
_RETAIN = "$retainKeys"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"

Object = dict[str, Any]


def merge(kind: str, obj: Mapping[str, Any], patch: Mapping[str, Any]) -> Object:
    """Merge a patch into an object of a type; the arguments are not changed.

    Errors:  StatusError 400 for an unknown directive, or one that contradicts the rest of the patch.
    """
    match patch.get(_PATCH):
        case None | "merge":
            return _merge_fields(kind, dict(obj), copy.deepcopy(dict(patch)))
        case "replace":
            rest: Object = copy.deepcopy({k: v for k, v in patch.items() if k != _PATCH})
            return rest
        case "delete":
            return {}
        case other:
            raise bad_request(f"unknown directive $patch: {other!r}")


def _merge_fields(kind: str, obj: Object, patch: Object) -> Object:
    patch.pop(_PATCH, None)
    _retain_keys(obj, patch)
    _delete_from_lists(obj, patch)
    _merge_in_order(kind, obj, patch)
    for key, value in patch.items():
        if value is None:
            obj.pop(key, None)
        else:
            obj[key] = _merge_value(kind, key, obj.get(key), value)
    return obj


def _retain_keys(obj: Object, patch: Object) -> None:
    if (keep := patch.pop(_RETAIN, None)) is None:
        return
    if not isinstance(keep, list) or not {key for key in patch if key[:1] != "$"} <= set(keep):
        raise bad_request("$retainKeys must list every field the patch sets")
    for key in [key for key in obj if key not in keep]:
        del obj[key]


def _delete_from_lists(obj: Object, patch: Object) -> None:
    for directive in [key for key in patch if key.startswith(_DELETE_FROM)]:
        values = patch.pop(directive)
        field = directive.removeprefix(_DELETE_FROM)
        if not isinstance(values, list):
            raise bad_request(f"{directive} must be a list")
        if isinstance(obj.get(field), list):
            obj[field] = [each for each in obj[field] if each not in values]


def _merge_value(kind: str, field: str, old: Any, new: Any) -> Any:
    """Merge the value of one field; `kind` is the type (or the `{X}` map) that has the field."""
    child_type = _field_type(kind, field)
    if isinstance(new, dict):
        start = old if isinstance(old, dict) else {}
        return merge(child_type, start, new)
    if isinstance(new, list) and list_merge.rule(kind, field).patch_key is not None:
        return _merge_list(kind, field, old if isinstance(old, list) else [], new)
    return new


def _field_type(kind: str, field: str) -> str:
    inner = schema.element_type(kind)
    return inner if inner is not None else schema.types().get(kind, {}).get(field, "object")


def _merge_list(kind: str, field: str, old: list[Any], new: list[Any]) -> list[Any]:
    merged, patched, replaced = _merge_items(kind, field, old, new)
    if replaced:
        return merged
    key = list_merge.rule(kind, field).patch_key or ""
    return _in_order(merged, patched, old, key)


def _merge_items(
    kind: str, field: str, old: list[Any], new: list[Any]
) -> tuple[list[Any], list[Any], bool]:
    """Merge items without ordering; return the list, the patched items, and whether they replace all."""
    key = list_merge.rule(kind, field).patch_key or ""
    if not key:
        return [*old, *(each for each in _unique(new) if each not in old)], new, False
    child_type = _field_type(kind, field)[1:-1]
    patched = [each for each in new if _directive(each, key) is None]
    if any(_directive(each, key) == "replace" for each in new):
        return [merge(child_type, {}, each) for each in patched], patched, True
    deleted = [each[key] for each in new if _directive(each, key) == "delete"]
    merged = [each for each in old if _name(each, key) not in deleted]
    for item in patched:
        at = _find(merged, item, key)
        if at is None:
            merged.append(merge(child_type, {}, item))
        else:
            merged[at] = merge(child_type, merged[at], item)
    return merged, patched, False


def _unique(values: Sequence[Any]) -> list[Any]:
    return [each for at, each in enumerate(values) if each not in values[:at]]


def _directive(item: Any, key: str) -> str | None:
    if not isinstance(item, dict):
        raise bad_request(f"a list that merges by {key} must contain objects")
    directive = item.get(_PATCH)
    if directive == "replace":
        return "replace"
    if key not in item:
        raise bad_request(f"an item of a list that merges by {key} has no {key}")
    if directive not in (None, "delete", "merge"):
        raise bad_request(f"unknown directive $patch: {directive!r}")
    return None if directive == "merge" else directive


def _name(item: Any, key: str) -> Any:
    """Return the identity of an item: its key's value, or the item itself in a list of primitive values."""
    return item.get(key) if key and isinstance(item, dict) else item


def _find(items: Sequence[Any], item: Any, key: str) -> int | None:
    name = _name(item, key)
    return next((at for at, each in enumerate(items) if _name(each, key) == name), None)


def _merge_in_order(kind: str, obj: Object, patch: Object) -> None:
    """Apply `$setElementOrder` to each list that has one, together with the list's own patch."""
    for directive in [key for key in patch if key.startswith(_ORDER)]:
        order = patch.pop(directive)
        field = directive.removeprefix(_ORDER)
        key = list_merge.rule(kind, field).patch_key
        if not isinstance(order, list) or key is None:
            raise bad_request(f"{directive} must be a list, for a list that merges")
        old, new = obj.get(field) or [], patch.pop(field, None) or []
        _check_order(order, new, key, directive)
        merged, _, replaced = _merge_items(kind, field, old, new)
        if merged or old:
            obj[field] = merged if replaced else _in_order(merged, order, old, key)


def _check_order(order: list[Any], new: list[Any], key: str, directive: str) -> None:
    items = [each for each in new if not key or _directive(each, key) is None]
    positions = [_find(order, each, key) for each in items]
    found = [position for position in positions if position is not None]
    if len(found) != len(positions) or found != sorted(found):
        raise bad_request(f"{directive} contradicts the order of the patch's own list")


def _in_order(merged: list[Any], patched: Sequence[Any], old: Sequence[Any], key: str) -> list[Any]:
    """Order a merged list: items of `patched` in that order, the others by their old position."""
    ordered_by_patch = [each for each in merged if _find(patched, each, key) is not None]
    ordered_by_patch.sort(key=lambda each: _find(patched, each, key) or 0)
    rest = [each for each in merged if _find(patched, each, key) is None]
    ordered: list[Any] = []
    while ordered_by_patch and rest:
        left, right = _find(old, rest[0], key), _find(old, ordered_by_patch[0], key)
        first = left is not None and right is not None and left < right
        ordered.append(rest.pop(0) if first else ordered_by_patch.pop(0))
    return ordered + ordered_by_patch + rest
