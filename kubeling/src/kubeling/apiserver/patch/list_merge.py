"""Merge rules of lists and objects: by a key, as a set, or atomic; for strategic merge patch and apply.

The two differ in some cases (a container's ports have one key in a strategic merge patch, two in server-side
apply), so a rule has both. Those of built-in types are in the data of `release`.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kubeling.apiserver import release

_DEFAULT_KEYS = {"protocol": "TCP"}


@dataclass(frozen=True, slots=True)
class ListRule:
    """The merge rule of a list.

    `patch_key` is the merge key of a strategic merge patch; `""` merges primitive values, and None replaces
    the list. `apply_keys` are the keys of server-side apply, empty for an atomic list. `is_set` is true for a
    set of primitive values.
    """

    patch_key: str | None = None
    apply_keys: tuple[str, ...] = ()
    is_set: bool = False


ATOMIC = ListRule()


class _Rules:
    """The rules of all types; those of the newest release are loaded at the first use."""

    def __init__(self) -> None:
        self.lists: dict[str, Mapping[str, ListRule]] = {}
        self.atomic_types: set[str] = set()
        self.atomic_fields = {("ManagedFieldsEntry", "fieldsV1")}
        self.retained: set[tuple[str, str]] = set()

    def add_release(self, name: str) -> None:
        for owner, notes in release.types(name).items():
            if "list" in notes:
                self.lists[owner] = {
                    field: _rule(key, tuple(keys), is_set)
                    for field, (key, keys, is_set) in notes["list"].items()
                }
            if "atomic" in notes:
                self.atomic_types.add(owner)
            self.atomic_fields.update((owner, field) for field in notes.get("atomicField", ()))
            self.retained.update((owner, field) for field in notes.get("retain", ()))


@functools.cache
def _rule(key: str | None, keys: tuple[str, ...], is_set: bool) -> ListRule:
    return ListRule(key, keys, is_set)


@functools.cache
def _rules() -> _Rules:
    rules = _Rules()
    rules.add_release(release.NEWEST)
    return rules


def add_release(name: str) -> None:
    """Add the rules of the types of a release."""
    _rules().add_release(name)


def register(
    rules: Mapping[str, Mapping[str, ListRule]],
    atomic_types: Iterable[str],
    atomic_fields: Iterable[tuple[str, str]],
) -> None:
    """Add the rules of the types of a custom resource."""
    known = _rules()
    known.lists.update(rules)
    known.atomic_types.update(atomic_types)
    known.atomic_fields.update(atomic_fields)


def unregister(
    owners: Iterable[str], atomic_types: Iterable[str], atomic_fields: Iterable[tuple[str, str]]
) -> None:
    """Remove registered rules."""
    known = _rules()
    for owner in owners:
        known.lists.pop(owner, None)
    known.atomic_types.difference_update(atomic_types)
    known.atomic_fields.difference_update(atomic_fields)


def patch_strategy(owner: str, field: str) -> str:
    """Return the patch strategy of a field, as in OpenAPI; empty if the field is replaced.

    With `retainKeys`, an object keeps only the fields of a patch from kubectl: a volume that becomes a config
    map is no longer an empty directory.
    """
    merges = rule(owner, field).patch_key is not None
    retains = (owner, field) in _rules().retained
    return ",".join(filter(None, ("merge" if merges else "", "retainKeys" if retains else "")))


def rule(owner: str, field: str) -> ListRule:
    """Return the merge rule of the list in a field of a type."""
    return _rules().lists.get(owner, {}).get(field, ATOMIC)


def is_atomic(owner: str, field: str, kind: str) -> bool:
    """Return whether a field's object or map is atomic in server-side apply."""
    known = _rules()
    return kind in known.atomic_types or (owner, field) in known.atomic_fields


def key_of(keys: tuple[str, ...], item: dict[str, Any]) -> dict[str, Any] | None:
    """Return the key fields of an item of a list; None if one of them is missing."""
    found = {name: item.get(name, _DEFAULT_KEYS.get(name)) for name in sorted(keys)}
    return None if None in found.values() else found
