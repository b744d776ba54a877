"""Who owns which field: sets of paths, and the `managedFields` they are written in.

A path is a tuple of the elements of FieldsV1: `f:spec` a field or a map's key, `k:{"name":"web"}` an
item of a list that merges by key, `v:"x"` an item of a set. Server-side apply's rules are in `apply`.
Source: sigs.k8s.io/structured-merge-diff v6, k8s.io/apimachinery v0.34 pkg/util/managedfields.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from podpass.clock import rfc3339
from podpass.kubernetes.apiserver import schema
from podpass.kubernetes.apiserver.kinds import Kind
from podpass.kubernetes.apiserver.patch import list_merge

MAX_UPDATERS = 10
_ANCIENT = "ancient-changes"

Path = tuple[str, ...]
Paths = frozenset[Path]

# What the API itself writes belongs to nobody, nor do the empty halves of an object.
_OF_THE_API = frozenset(
    (
        *(("f:apiVersion",), ("f:kind",), ("f:metadata",), ("f:spec",), ("f:status",)),
        # Parts that are there because they always are, and say nothing.
        *(("f:spec",), ("f:status",)),
        *(("f:metadata", f"f:{name}") for name in ("name", "namespace", "uid", "selfLink")),
        *(("f:metadata", f"f:{name}") for name in ("creationTimestamp", "resourceVersion")),
        *(("f:metadata", f"f:{name}") for name in ("generation", "managedFields")),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A manager as `managedFields` tells it apart."""

    manager: str
    operation: str
    api_version: str
    subresource: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What an owner owns, and since when (RFC 3339)."""

    paths: Paths
    time: str = ""


Owners = dict[Owner, Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The difference between two objects."""

    added: Paths = field(default=frozenset())
    modified: Paths = field(default=frozenset())
    removed: Paths = field(default=frozenset())


def fields_of(kind: Kind, obj: Mapping[str, Any]) -> Paths:
    """List the fields an object sets."""
    return frozenset(_leaves(kind.kind, obj, ())) - _OF_THE_API


def compare(kind: Kind, old: Mapping[str, Any], new: Mapping[str, Any]) -> Change:
    """Find what differs between two objects of a kind."""
    before, after = dict(_values(kind.kind, old)), dict(_values(kind.kind, new))
    both = before.keys() & after.keys()
    return Change(
        added=frozenset(after.keys() - both) - _OF_THE_API,
        removed=frozenset(before.keys() - both) - _OF_THE_API,
        modified=frozenset(path for path in both if before[path] != after[path]) - _OF_THE_API,
    )


def _leaves(kind: str, value: Any, path: Path) -> Iterator[Path]:
    for below, _ in _walk(kind, value, path, holders=False):
        yield below


def _values(kind: str, obj: Any) -> Iterator[tuple[Path, Any]]:
    return _walk(kind, obj, (), holders=True)


def _walk(kind: str, value: Any, path: Path, *, holders: bool) -> Iterator[tuple[Path, Any]]:
    """Yield each field that can be owned, with its value.

    With `holders`, a list or map that merges is a field too (its value does not count), as it is for
    managers that update; those that apply own only what is in it.
    """
    if not isinstance(value, dict) or not value:
        if path:
            yield path, value
        return
    inner = schema.element(kind)
    fields = {} if inner else schema.types().get(kind, {})
    for name, each in value.items():
        if each is None:
            continue
        yield from _walk_field(
            kind, name, inner or fields.get(name, "object"), each, path, holders=holders
        )


def _walk_field(
    owner: str, name: str, kind: str, value: Any, path: Path, *, holders: bool
) -> Iterator[tuple[Path, Any]]:
    below = (*path, f"f:{name}")
    rule = list_merge.rule(owner, name)
    if isinstance(value, list):
        if value and (rule.apply_keys or rule.is_set):
            if holders and name not in schema.required(owner):
                yield below, None
            yield from _walk_items(kind[1:-1], rule, value, below, holders=holders)
        else:
            yield below, value
    elif list_merge.is_atomic(owner, name, kind):
        yield below, value
    else:
        if holders and kind.startswith("{") and value:
            yield below, None
        yield from _walk(kind, value, below, holders=holders)


def _walk_items(
    kind: str, rule: list_merge.ListRule, items: Sequence[Any], path: Path, *, holders: bool
) -> Iterator[tuple[Path, Any]]:
    for item in items:
        below = (*path, item_element(rule, item))
        yield below, None
        if rule.apply_keys:
            yield from _walk(kind, item, below, holders=holders)


def item_element(rule: list_merge.ListRule, item: Any) -> str:
    """Name an item of a list that merges, as a path's element."""
    if rule.is_set:
        return "v:" + _compact(item)
    key = list_merge.key_of(rule.apply_keys, item) if isinstance(item, dict) else None
    return "k:" + _compact(key if key is not None else item)


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def encode(paths: Paths) -> dict[str, Any]:
    """Write a set of paths as FieldsV1."""
    tree: dict[str, Any] = {}
    for path in sorted(paths):
        node = tree
        for at, part in enumerate(path):
            if part not in node:
                node[part] = {}
            # A member with members below it says so with a dot.
            if path[:at] in paths and "." not in node:
                node["."] = {}
            node = node[part]
    return tree


def decode(tree: Any, path: Path = ()) -> Iterator[Path]:
    """Read FieldsV1."""
    if not isinstance(tree, dict):
        return
    if not tree and path:
        yield path
    for part, below in tree.items():
        if part == ".":
            yield path
        else:
            yield from decode(below, (*path, part))


def read(entries: Any) -> Owners:
    """Read an object's `metadata.managedFields`."""
    return {
        Owner(
            manager=each.get("manager", ""),
            operation=each.get("operation", ""),
            api_version=each.get("apiVersion", ""),
            subresource=each.get("subresource", ""),
        ): Entry(paths=frozenset(decode(each.get("fieldsV1"))), time=each.get("time", ""))
        for each in entries or ()
        if isinstance(each, dict) and each.get("operation")
    }


def bounded(owners: Owners) -> Owners:
    """Put the oldest of too many owners that update together into one, a version each."""
    updaters = [
        each for each, entry in owners.items() if each.operation == "Update" and entry.paths
    ]
    updaters.sort(key=lambda each: (owners[each].time, each.manager))
    many, kept = len(updaters) - MAX_UPDATERS, dict(owners)
    # One more than there are too many, for the one they become is an owner too.
    for each in updaters[: many + 1] if many > 0 else ():
        ancient = Owner(manager=_ANCIENT, operation="Update", api_version=each.api_version)
        gone = kept.pop(each)
        before = kept.get(ancient, Entry(paths=frozenset()))
        kept[ancient] = Entry(paths=before.paths | gone.paths, time=gone.time)
    return kept


def write(owners: Owners) -> list[dict[str, Any]]:
    """Write `metadata.managedFields`: those that apply first, then by time and name."""
    order = sorted(
        owners.items(),
        key=lambda each: (each[0].operation, each[1].time, each[0].manager, each[0].subresource),
    )
    return [_entry(owner, entry) for owner, entry in order if entry.paths]


def _entry(owner: Owner, entry: Entry) -> dict[str, Any]:
    written = {
        "manager": owner.manager,
        "operation": owner.operation,
        "apiVersion": owner.api_version,
        "time": entry.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": encode(entry.paths),
    }
    return written | ({"subresource": owner.subresource} if owner.subresource else {})


def entry(paths: Paths, before: Entry | None, now: float) -> Entry:
    """Make an entry that keeps its time while it keeps its paths."""
    kept = before is not None and before.paths == paths
    return Entry(paths=paths, time=before.time if before and kept else rfc3339(now))


def text(path: Path) -> str:
    """Write a path for people: `.spec.containers[name="web"].image`."""
    return "".join(_part(part) for part in path)


def _part(part: str) -> str:
    sort, _, rest = part.partition(":")
    if sort == "f":
        return "." + rest
    if sort == "v":
        return f"[={rest}]"
    key = json.loads(rest)
    named = ",".join(f"{name}={_compact(value)}" for name, value in key.items())
    return f"[{named}]"
