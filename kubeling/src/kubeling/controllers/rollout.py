"""Sizes of the ReplicaSets during a rollout, within maxSurge and maxUnavailable. Pure.

Source: k8s.io/kubernetes v1.34 pkg/controller/deployment: rolling.go, sync.go, util.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kubeling.apiserver.storage.storage import Object
from kubeling.controllers.revisions import DESIRED, MAX_REPLICAS, oldest_first

Sizes = dict[str, int]
"""Numbers of pods by the names of replica sets."""


def replicas_of(replica_set: Object) -> int:
    return int(replica_set["spec"]["replicas"])


def total(sets: Sequence[Object]) -> int:
    return sum(replicas_of(each) for each in sets)


def available(replica_set: Object | None) -> int:
    return int(((replica_set or {}).get("status") or {}).get("availableReplicas") or 0)


def is_rolling(deployment: Object) -> bool:
    return bool(deployment["spec"]["strategy"]["type"] == "RollingUpdate")


def bounds(deployment: Object) -> tuple[int, int]:
    """Return maxSurge and maxUnavailable as numbers of pods."""
    if not is_rolling(deployment):
        return 0, 0
    rolling, wanted = deployment["spec"]["strategy"]["rollingUpdate"], _desired(deployment)
    surge = resolve(rolling.get("maxSurge", "25%"), wanted, math.ceil)
    missing = resolve(rolling.get("maxUnavailable", "25%"), wanted, math.floor)
    if surge == 0 and missing == 0:
        missing = 1  # both rounded to zero: the rollout could not proceed
    return surge, min(missing, wanted)


def resolve(value: Any, whole: int, rounded: Any) -> int:
    """Resolve a number, or a percentage of a total, to a number of pods."""
    if isinstance(value, str):
        return int(rounded(int(value.rstrip("%")) * whole / 100))
    return int(value)


def _desired(deployment: Object) -> int:
    return int(deployment["spec"]["replicas"])


def max_replicas(deployment: Object) -> int:
    """Return the maximum number of pods during a rollout."""
    return _desired(deployment) + bounds(deployment)[0]


def new_size(deployment: Object, sets: Sequence[Object], new: Object | None) -> int:
    """Return the size of the new ReplicaSet within maxSurge."""
    wanted, now = _desired(deployment), replicas_of(new) if new else 0
    if not is_rolling(deployment) or now >= wanted:
        return wanted
    room = max_replicas(deployment) - total(sets)
    return now + max(min(room, wanted - now), 0)


def old_sizes(deployment: Object, new: Object, old: Sequence[Object]) -> Sizes:
    """Return the old ReplicaSets to scale down; unavailable pods are removed first."""
    least = _desired(deployment) - bounds(deployment)[1]
    not_available = replicas_of(new) - available(new)
    removable = total(old) + replicas_of(new) - least - not_available
    sizes = {each["metadata"]["name"]: replicas_of(each) for each in old}
    if removable <= 0 or not total(old):
        return {}
    unavailable = 0
    for each in oldest_first(old):
        removed = min(
            removable - unavailable, replicas_of(each) - min(available(each), replicas_of(each))
        )
        sizes[each["metadata"]["name"]] -= removed
        unavailable += removed
    surplus = sum(available(each) for each in [*old, new]) - least
    for each in oldest_first(old):
        name = each["metadata"]["name"]
        removed = min(sizes[name], max(surplus, 0))
        sizes[name] -= removed
        surplus -= removed
    return {
        _name(each): sizes[_name(each)] for each in old if sizes[_name(each)] != replicas_of(each)
    }


def _name(replica_set: Object) -> str:
    return str(replica_set["metadata"]["name"])


def scale_all(deployment: Object, new: Object | None, old: Sequence[Object]) -> Sizes:
    """Distribute a changed replica count over the ReplicaSets, also during a rollout."""
    wanted = _desired(deployment)
    every = [*old, *([new] if new else [])]
    active = [each for each in every if replicas_of(each) > 0]
    if len(active) <= 1:
        only = active[0] if active else new or (oldest_first(old)[-1] if old else None)
        return {} if only is None else {_name(only): wanted}
    if new and {replicas_of(new), available(new), _annotation(new, DESIRED)} == {wanted}:
        return {_name(each): 0 for each in old if replicas_of(each)}
    return _in_proportion(deployment, active) if is_rolling(deployment) else {}


def _in_proportion(deployment: Object, sets: Sequence[Object]) -> Sizes:
    allowed = max_replicas(deployment) if _desired(deployment) else 0
    to_add, added = allowed - total(sets), 0
    # If two ReplicaSets have the same size, the younger grows and the older shrinks.
    by_size = sorted(oldest_first(sets)[:: -1 if to_add > 0 else 1], key=replicas_of, reverse=True)
    sizes: Sizes = {}
    for each in by_size:
        share = _share(deployment, each, to_add, added) if to_add else 0
        sizes[_name(each)], added = replicas_of(each) + share, added + share
    if by_size and to_add:
        first = _name(by_size[0])
        sizes[first] = max(sizes[first] + to_add - added, 0)
    return sizes


def _share(deployment: Object, replica_set: Object, to_add: int, added: int) -> int:
    left = to_add - added
    if not replicas_of(replica_set) or not left:
        return 0
    if not _desired(deployment):
        fraction = -replicas_of(replica_set)
    else:
        observed = (deployment.get("status") or {}).get("replicas")
        most, now = max_replicas(deployment), replicas_of(replica_set)
        before = _annotation(replica_set, MAX_REPLICAS) or observed or most
        fraction = math.floor(now * most / before + 0.5) - now
    return min(fraction, left) if to_add > 0 else max(fraction, left)


def _annotation(replica_set: Object, name: str) -> int:
    text = (replica_set["metadata"].get("annotations") or {}).get(name) or ""
    return int(text) if text.isascii() and text.isdigit() else 0


def is_scaling_event(deployment: Object, sets: Sequence[Object]) -> bool:
    """Return whether `spec.replicas` changed since the ReplicaSets were last scaled."""
    return any(
        replicas_of(each) > 0
        and _annotation(each, DESIRED) != _desired(deployment)
        and DESIRED in (each["metadata"].get("annotations") or {})
        for each in sets
    )


def is_complete(deployment: Object, status: Mapping[str, Any]) -> bool:
    """Return whether all pods are of the current template and available."""
    wanted = _desired(deployment)
    counts = ("updatedReplicas", "replicas", "availableReplicas")
    observed = status.get("observedGeneration") or 0
    return all((status.get(name) or 0) == wanted for name in counts) and observed >= (
        deployment["metadata"].get("generation") or 0
    )
