"""Strategic merge patch: objects merge, lists merge by the key of their type, and directives.

    $patch: replace | delete | merge       for an object or for an item of a list
    $deleteFromPrimitiveList/FIELD         values to remove from a list
    $setElementOrder/FIELD                 the order of the merged list
    $retainKeys                            the only fields that stay in an object

Source: k8s.io/apimachinery v0.34 pkg/util/strategicpatch. The order of merged lists is the same: items of
the patch in the patch's order, the others at their old positions among them.

Items are found by a hash of their key, so the time grows with the size of the object and of the patch. A
patch that names one item many times would merge its whole content each time; `WorkBudget` bounds that.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kubeling.apiserver import schema
from kubeling.apiserver.json_value import identity
from kubeling.apiserver.limits import WorkBudget, count_values
from kubeling.apiserver.patch import list_merge
from kubeling.apiserver.status import bad_request

_PATCH = "$patch"
_RETAIN = "$retainKeys"
_DELETE_FROM = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"

Object = dict[str, Any]

# For patches of small objects, which may name an item several times.
_SPARE_WORK = 50


def merge(kind: str, obj: Mapping[str, Any], patch: Mapping[str, Any]) -> Object:
    """Merge a patch into an object of a type; the arguments are not changed.

    Raises StatusError 400 for an unknown directive, or one that contradicts the rest of the patch; 413 for a
    patch that merges large lists too often.
    """
    budget = WorkBudget(2 * (count_values(obj) + count_values(patch)) + _SPARE_WORK)
    return _Merger(budget).merge(kind, obj, copy.deepcopy(dict(patch)))


class _Merger:
    """One merge. It modifies the patch and reuses its parts."""

    def __init__(self, budget: WorkBudget) -> None:
        self._budget = budget

    def merge(self, kind: str, obj: Mapping[str, Any], patch: Object) -> Object:
        match patch.pop(_PATCH, None):
            case None | "merge":
                return self._merge_fields(kind, obj, patch)
            case "replace":
                return patch
            case "delete":
                return {}
            case other:
                raise bad_request(f"unknown directive $patch: {other!r}")

    def _merge_fields(self, kind: str, live: Mapping[str, Any], patch: Object) -> Object:
        self._budget.spend(len(live))
        obj = dict(live)
        _retain_keys(obj, patch)
        self._delete_from_lists(obj, patch)
        self._merge_in_order(kind, obj, patch)
        for key, value in patch.items():
            if value is None:
                obj.pop(key, None)
            else:
                obj[key] = self._merge_value(kind, key, obj.get(key), value)
        return obj

    def _delete_from_lists(self, obj: Object, patch: Object) -> None:
        for directive in [key for key in patch if key.startswith(_DELETE_FROM)]:
            values = patch.pop(directive)
            field = directive.removeprefix(_DELETE_FROM)
            if not isinstance(values, list):
                raise bad_request(f"{directive} must be a list")
            if isinstance(obj.get(field), list):
                self._budget.spend(len(obj[field]))
                deleted = {identity(each) for each in values}
                obj[field] = [each for each in obj[field] if identity(each) not in deleted]

    def _merge_value(self, kind: str, field: str, old: Any, new: Any) -> Any:
        """Merge the value of one field; `kind` is the type (or the `{X}` map) that has the field."""
        if isinstance(new, dict):
            start = old if isinstance(old, dict) else {}
            return self.merge(_field_type(kind, field), start, new)
        if isinstance(new, list) and list_merge.rule(kind, field).patch_key is not None:
            return self._merge_list(kind, field, old if isinstance(old, list) else [], new)
        return new

    def _merge_list(self, kind: str, field: str, old: list[Any], new: list[Any]) -> list[Any]:
        merged, patched, replaced = self._merge_items(kind, field, old, new)
        if replaced:
            return merged
        key = list_merge.rule(kind, field).patch_key or ""
        return _in_order(merged, patched, old, key)

    def _merge_items(
        self, kind: str, field: str, old: list[Any], new: list[Any]
    ) -> tuple[list[Any], list[Any], bool]:
        """Merge items without ordering; return the list, the patched items, and whether they replace all."""
        self._budget.spend(len(old) + len(new))
        key = list_merge.rule(kind, field).patch_key or ""
        if not key:
            known = {identity(each) for each in old}
            added = {identity(each): each for each in reversed(new)}
            unique = [added.pop(name) for name in map(identity, new) if name in added]
            return [*old, *(each for each in unique if identity(each) not in known)], new, False
        child_type = _field_type(kind, field)[1:-1]
        directives = [_directive(each, key) for each in new]
        patched = [each for each, what in zip(new, directives, strict=True) if what is None]
        if "replace" in directives:
            return [self.merge(child_type, {}, each) for each in patched], patched, True
        deleted = {
            identity(each[key])
            for each, what in zip(new, directives, strict=True)
            if what == "delete"
        }
        merged = [each for each in old if _name(each, key) not in deleted]
        positions = _positions(merged, key)
        for item in patched:
            at = positions.setdefault(_name(item, key), len(merged))
            if at == len(merged):
                merged.append({})
            merged[at] = self.merge(child_type, merged[at], item)
        return merged, patched, False

    def _merge_in_order(self, kind: str, obj: Object, patch: Object) -> None:
        """Apply `$setElementOrder` to each list that has one, together with the list's own patch."""
        for directive in [key for key in patch if key.startswith(_ORDER)]:
            order = patch.pop(directive)
            field = directive.removeprefix(_ORDER)
            key = list_merge.rule(kind, field).patch_key
            if not isinstance(order, list) or key is None:
                raise bad_request(f"{directive} must be a list, for a list that merges")
            old, new = obj.get(field) or [], patch.pop(field, None) or []
            items = [each for each in new if not key or _directive(each, key) is None]
            known = _positions(order, key)
            positions = [known.get(_name(each, key)) for each in items]
            found = [position for position in positions if position is not None]
            if len(found) != len(positions) or found != sorted(found):
                raise bad_request(f"{directive} contradicts the order of the patch's own list")
            merged, _, replaced = self._merge_items(kind, field, old, new)
            if merged or old:
                obj[field] = merged if replaced else _in_order(merged, order, old, key)


def _retain_keys(obj: Object, patch: Object) -> None:
    if (keep := patch.pop(_RETAIN, None)) is None:
        return
    names = {each for each in keep if isinstance(each, str)} if isinstance(keep, list) else set()
    if not isinstance(keep, list) or not {key for key in patch if key[:1] != "$"} <= names:
        raise bad_request("$retainKeys must list every field the patch sets")
    for key in [key for key in obj if key not in names]:
        del obj[key]


def _field_type(kind: str, field: str) -> str:
    inner = schema.element_type(kind)
    return inner if inner is not None else schema.types().get(kind, {}).get(field, "object")


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


def _name(item: Any, key: str) -> bytes:
    """Return the identity of an item: its key's value, or the item itself in a list of primitive values."""
    return identity(item.get(key) if key and isinstance(item, dict) else item)


def _positions(items: Iterable[Any], key: str) -> dict[bytes, int]:
    """Return the first position of each item, by its identity."""
    found: dict[bytes, int] = {}
    for at, each in enumerate(items):
        found.setdefault(_name(each, key), at)
    return found


def _in_order(merged: list[Any], patched: Sequence[Any], old: Sequence[Any], key: str) -> list[Any]:
    """Order a merged list: items of `patched` in that order, the others by their old position."""
    by_patch, before = _positions(patched, key), _positions(old, key)
    named = [(_name(each, key), each) for each in merged]
    first = sorted(
        (each for each in named if each[0] in by_patch), key=lambda each: by_patch[each[0]]
    )
    rest = [each for each in named if each[0] not in by_patch]
    ordered: list[Any] = []
    taken = left = 0
    while taken < len(first) and left < len(rest):
        one, other = before.get(rest[left][0]), before.get(first[taken][0])
        if one is not None and other is not None and one < other:
            ordered.append(rest[left][1])
            left += 1
        else:
            ordered.append(first[taken][1])
            taken += 1
    return ordered + [each for _, each in first[taken:] + rest[left:]]
