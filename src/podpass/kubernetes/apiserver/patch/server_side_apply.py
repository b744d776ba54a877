"""Server-side apply, and the record of who set what that it lives on.

A manager applies the fields it cares about. They are merged into the live object; a field another
manager owns with another value is a conflict, unless forced; a field this manager applied before and
leaves out now goes, unless somebody else owns it. Plain updates take part by `track_update`.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from podpass.kubernetes.apiserver import schema
from podpass.kubernetes.apiserver.kinds import Kind
from podpass.kubernetes.apiserver.patch import last_applied, list_merge, managed_fields
from podpass.kubernetes.apiserver.patch.managed_fields import (
    Change,
    Entry,
    Owner,
    Owners,
    Path,
    Paths,
)
from podpass.kubernetes.apiserver.status import Cause, StatusError, Why, bad_request

Object = dict[str, Any]

_BEFORE = "before-first-apply"


def server_side_apply(
    kind: Kind,
    live: Mapping[str, Any] | None,
    applied: Mapping[str, Any],
    manager: str,
    *,
    force: bool = False,
    now: float,
    subresource: str = "",
) -> Object:
    """Merge what a manager applies into the live object, `metadata.managedFields` included.

    Shapes:  the answer has neither defaults nor what the API writes itself; an apply that changes
             nothing gives the live object back, times and all.
    Units:   `now` in seconds since the epoch.
    Errors:  StatusError 409 with one cause a conflict; 400 for a list that names an item twice.
    """
    config = _config(kind, applied, subresource)
    owners = _owners_for_apply(kind, live, now)
    me = Owner(
        manager=manager,
        operation="Apply",
        api_version=kind.api_version,
        subresource=subresource,
    )
    others = {owner: entry for owner, entry in owners.items() if owner != me}
    wanted = managed_fields.fields_of(kind, config)
    merged = _merge(kind.kind, live or {}, config)
    if before := owners.get(me):
        _drop(kind, merged, _with_parents(before.paths) - _with_parents(wanted), others)
    change = managed_fields.compare(kind, live or {}, merged)
    if not force:
        _refuse_conflicts(others, change, last_applied.taken_over(kind, live or {}, manager))
    owners = _give_up(others, change) | {me: managed_fields.entry(wanted, owners.get(me), now)}
    return _with_owners(last_applied.in_step(merged, applied, manager), owners)


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
    """Give the `managedFields` of an object after a create (`old` is None), update or patch.

    Call it with defaults set and before admission changes the object, as the real API does. A client
    may set managedFields itself; `[{}]` or an empty list clears them.
    """
    # Only the object itself says who owns it, never one of its parts.
    sent = None if subresource else (new.get("metadata") or {}).get("managedFields")
    kept = (old or {}).get("metadata", {}).get("managedFields")
    if old is not None and (sent in ([], [{}]) or not (sent or kept)):
        return []  # an object without owners stays so until somebody applies
    owners = managed_fields.read(sent) or managed_fields.read(kept)
    me = Owner(
        manager=manager,
        operation=operation,
        api_version=kind.api_version,
        subresource=subresource,
    )
    change = managed_fields.compare(kind, old or {}, new)
    owners = _give_up({o: e for o, e in owners.items() if o != me}, change) | {
        o: e for o, e in owners.items() if o == me
    }
    mine = owners.get(me)
    paths = (
        (mine.paths if mine else frozenset()) | change.added | change.modified
    ) - change.removed
    owners[me] = managed_fields.entry(_settable(kind, paths, subresource), mine, now)
    return managed_fields.write(managed_fields.bounded(owners))


def _config(kind: Kind, applied: Mapping[str, Any], subresource: str) -> Object:
    """Take from an applied body what can be applied at this path."""
    if (applied.get("metadata") or {}).get("managedFields"):
        raise bad_request("metadata.managedFields must not be applied")
    config = schema.prune(kind, applied)
    if kind.has_status and subresource != "status":
        config.pop("status", None)
    if subresource == "status":
        config.pop("spec", None)
    return config


def _settable(kind: Kind, paths: Paths, subresource: str) -> Paths:
    """Leave out what a write at this path cannot set, so that nobody owns it by accident."""
    if subresource == "status":
        return frozenset(path for path in paths if path[0] != "f:spec")
    if kind.has_status:
        return frozenset(path for path in paths if path[0] != "f:status")
    return paths


def _owners_for_apply(kind: Kind, live: Mapping[str, Any] | None, now: float) -> Owners:
    """Read the owners; an object nobody owns yet was made by somebody before the first apply."""
    if live is None:
        return {}
    owners = managed_fields.read((live.get("metadata") or {}).get("managedFields"))
    unknown = managed_fields.compare(kind, {}, live).added
    if owners or not unknown:
        return owners
    before = Owner(manager=_BEFORE, operation="Update", api_version=kind.api_version)
    return {before: managed_fields.entry(unknown, None, now)}


def _refuse_conflicts(others: Owners, change: Change, but: Paths) -> None:
    touched = (change.added | change.modified) - but
    causes = [
        Cause(Why.MANAGER_CONFLICT, f"conflict with {_told(owner)}", managed_fields.text(path))
        for owner, entry in sorted(others.items(), key=lambda each: each[0].manager)
        for path in sorted(entry.paths & touched)
    ]
    if causes:
        told = ", ".join(f"{cause.field} ({cause.message})" for cause in causes)
        raise StatusError(409, "Conflict", f"apply failed, conflicts: {told}", causes=causes)


def _told(owner: Owner) -> str:
    """Name an owner for people: who, at which path, and in which version where it only updates."""
    told = f'"{owner.manager}"'
    if owner.subresource:
        told += f' with subresource "{owner.subresource}"'
    return told + (f" using {owner.api_version}" if owner.operation == "Update" else "")


def _give_up(others: Owners, change: Change) -> Owners:
    """Take from the other owners what has just been changed by somebody else."""
    lost = change.added | change.modified | change.removed
    return {
        owner: Entry(paths=entry.paths - lost, time=entry.time) for owner, entry in others.items()
    }


def _with_owners(obj: Object, owners: Owners) -> Object:
    metadata = dict(obj.get("metadata") or {})
    metadata.pop("managedFields", None)
    if written := managed_fields.write(owners):
        metadata["managedFields"] = written
    return obj | {"metadata": metadata}


def _merge(kind: str, live: Mapping[str, Any], config: Mapping[str, Any]) -> Object:
    """Merge a config into an object, by the types' rules for lists and atomic objects."""
    merged: Object = {name: copy.deepcopy(value) for name, value in live.items()}
    inner = schema.element(kind)
    fields = {} if inner else schema.types().get(kind, {})
    for name, value in config.items():
        below = inner or fields.get(name, "object")
        merged[name] = _merge_field(kind, name, below, merged.get(name), value)
    return merged


def _merge_field(owner: str, name: str, kind: str, live: Any, value: Any) -> Any:
    rule = list_merge.rule(owner, name)
    if isinstance(value, list) and (rule.apply_keys or rule.is_set):
        return _merge_list(kind[1:-1], rule, live or [], value, name)
    if isinstance(value, dict) and not list_merge.is_atomic(owner, name, kind):
        return _merge(kind, live if isinstance(live, dict) else {}, value)
    return copy.deepcopy(value)


def _merge_list(
    kind: str, rule: list_merge.ListRule, live: Sequence[Any], config: Sequence[Any], name: str
) -> list[Any]:
    mine = {_element(rule, item, name): item for item in config}
    if len(mine) != len(config):
        raise bad_request(f"the applied list {name} names an item twice")
    named = [managed_fields.item_element(rule, item) for item in live]
    theirs: dict[str, list[Any]] = {each: [] for each in named}
    for each, item in zip(named, live, strict=True):
        theirs[each].append(item)  # a live list may hold a name twice, as env may
    merged = []
    for each in _interleave(named, list(mine)):
        if each not in mine:
            merged.append(theirs[each].pop(0))
        elif rule.apply_keys:
            merged.append(_merge(kind, theirs.get(each, [{}])[0], mine[each]))
        else:
            merged.append(mine[each])
    return merged


def _element(rule: list_merge.ListRule, item: Any, name: str) -> str:
    if rule.apply_keys and (
        not isinstance(item, dict) or not list_merge.key_of(rule.apply_keys, item)
    ):
        raise bad_request(f"an item of the applied list {name} lacks {', '.join(rule.apply_keys)}")
    return managed_fields.item_element(rule, item)


def _interleave(live: Sequence[str], mine: Sequence[str]) -> list[str]:
    """Order a merged list: the applied order holds, live items keep their place among it."""
    place = {each: at for at, each in enumerate(mine)}
    known = set(live)
    ordered, at = [], 0
    for each in live:
        if each not in place:
            ordered.append(each)
            continue
        while at <= place[each]:
            ordered.append(mine[at])
            at += 1
            # What is new and follows stands right behind its applied neighbour.
        while at < len(mine) and mine[at] not in known:
            ordered.append(mine[at])
            at += 1
    return ordered + list(mine[at:])


def _with_parents(paths: Paths) -> Paths:
    """Add the fields on the way, so that an object goes when all that was applied of it goes."""
    return paths | {
        path[:at]
        for path in paths
        for at in range(1, len(path))
        if path[at - 1].startswith("f:") and path[:at] != ("f:metadata",)
    }


def _drop(kind: Kind, obj: Object, gone: Paths, others: Owners) -> None:
    """Remove fields nobody owns any more, from the outside in."""
    owned = frozenset().union(*(_prefixes(entry.paths) for entry in others.values()))
    for path in sorted(gone, key=len):
        if path not in owned and path != ("f:metadata",):
            _remove(kind.kind, obj, path)


def _prefixes(paths: Paths) -> Paths:
    return frozenset(path[:at] for path in paths for at in range(1, len(path) + 1))


def _remove(kind: str, holder: Any, path: Path) -> None:
    """Remove what a path names; a path whose way is gone already names nothing."""
    owner, name = kind, ""
    for part in path[:-1]:
        if part.startswith("f:"):
            if not isinstance(holder, dict) or part[2:] not in holder:
                return
            owner, name, holder = kind, part[2:], holder[part[2:]]
            kind = schema.element(kind) or schema.types().get(kind, {}).get(name, "object")
        else:
            at = _item_at(list_merge.rule(owner, name), holder, part)
            if at is None:
                return
            holder, kind = holder[at], kind[1:-1]
    _remove_last(list_merge.rule(owner, name), holder, path[-1])


def _remove_last(rule: list_merge.ListRule, holder: Any, part: str) -> None:
    if part.startswith("f:"):
        if isinstance(holder, dict):
            holder.pop(part[2:], None)
    elif (at := _item_at(rule, holder, part)) is not None:
        del holder[at]


def _item_at(rule: list_merge.ListRule, holder: Any, part: str) -> int | None:
    if not isinstance(holder, list):
        return None
    return next(
        (at for at, item in enumerate(holder) if managed_fields.item_element(rule, item) == part),
        None,
    )
