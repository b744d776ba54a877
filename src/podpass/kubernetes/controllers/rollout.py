"""How a deployment gets from old pods to new ones without too few or too many at any time. Pure.

Every function says how many pods each replica set shall have; nobody is scaled here.
Source: k8s.io/kubernetes v1.34 pkg/controller/deployment: rolling.go, sync.go, util.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from podpass.kubernetes.apiserver.storage.storage import Object
from podpass.kubernetes.controllers.revisions import DESIRED, MOST, by_age

Sizes = dict[str, int]
"""Numbers of pods by the names of replica sets."""


def size(replica_set: Object) -> int:
    return int(replica_set["spec"]["replicas"])


def total(sets: Sequence[Object]) -> int:
    return sum(size(each) for each in sets)


def available(replica_set: Object | None) -> int:
    return int(((replica_set or {}).get("status") or {}).get("availableReplicas") or 0)


def is_rolling(deployment: Object) -> bool:
    return bool(deployment["spec"]["strategy"]["type"] == "RollingUpdate")


def bounds(deployment: Object) -> tuple[int, int]:
    """Give how many pods may be there on top, and how many may be missing."""
    if not is_rolling(deployment):
        return 0, 0
    rolling, wanted = deployment["spec"]["strategy"]["rollingUpdate"], _wanted(deployment)
    surge = resolve(rolling.get("maxSurge", "25%"), wanted, math.ceil)
    missing = resolve(rolling.get("maxUnavailable", "25%"), wanted, math.floor)
    if surge == 0 and missing == 0:
        missing = 1  # rounded down to nothing, and nothing would ever change
    return surge, min(missing, wanted)


def resolve(value: Any, whole: int, rounded: Any) -> int:
    """Read a number, or a percentage of the whole."""
    if isinstance(value, str):
        return int(rounded(int(value.rstrip("%")) * whole / 100))
    return int(value)


def _wanted(deployment: Object) -> int:
    return int(deployment["spec"]["replicas"])


def most(deployment: Object) -> int:
    """Give how many pods there may be at once."""
    return _wanted(deployment) + bounds(deployment)[0]


def new_size(deployment: Object, sets: Sequence[Object], new: Object | None) -> int:
    """Say how large the new replica set shall be now, for there must be room for its pods."""
    wanted, now = _wanted(deployment), size(new) if new else 0
    if not is_rolling(deployment) or now >= wanted:
        return wanted
    room = most(deployment) - total(sets)
    return now + max(min(room, wanted - now), 0)


def old_sizes(deployment: Object, new: Object, olds: Sequence[Object]) -> Sizes:
    """Say which old replica sets shrink, and to what: first by pods that do not work anyway."""
    least = _wanted(deployment) - bounds(deployment)[1]
    starting = size(new) - available(new)
    may_go = total(olds) + size(new) - least - starting
    sizes = {each["metadata"]["name"]: size(each) for each in olds}
    if may_go <= 0 or not total(olds):
        return {}
    broken = 0
    for each in by_age(olds):
        gone = min(may_go - broken, size(each) - min(available(each), size(each)))
        sizes[each["metadata"]["name"]] -= gone
        broken += gone
    spare = sum(available(each) for each in [*olds, new]) - least
    for each in by_age(olds):
        name = each["metadata"]["name"]
        gone = min(sizes[name], max(spare, 0))
        sizes[name] -= gone
        spare -= gone
    return {_name(each): sizes[_name(each)] for each in olds if sizes[_name(each)] != size(each)}


def _name(replica_set: Object) -> str:
    return str(replica_set["metadata"]["name"])


def resized(deployment: Object, new: Object | None, olds: Sequence[Object]) -> Sizes:
    """Share out a changed size while no new template is rolled out, or in the middle of a roll-out."""
    wanted = _wanted(deployment)
    every = [*olds, *([new] if new else [])]
    active = [each for each in every if size(each) > 0]
    if len(active) <= 1:
        only = active[0] if active else new or (by_age(olds)[-1] if olds else None)
        return {} if only is None else {_name(only): wanted}
    if (
        new
        and size(new) == wanted
        and available(new) == wanted
        and _annotated(new, DESIRED) == wanted
    ):
        return {_name(each): 0 for each in olds if size(each)}
    return _in_proportion(deployment, active) if is_rolling(deployment) else {}


def _in_proportion(deployment: Object, sets: Sequence[Object]) -> Sizes:
    allowed = most(deployment) if _wanted(deployment) else 0
    to_add, added = allowed - total(sets), 0
    # Of two of one size the younger grows and the older shrinks.
    by_size = sorted(by_age(sets)[:: -1 if to_add > 0 else 1], key=size, reverse=True)
    sizes: Sizes = {}
    for each in by_size:
        share = _share(deployment, each, to_add, added) if to_add else 0
        sizes[_name(each)], added = size(each) + share, added + share
    if by_size and to_add:
        first = _name(by_size[0])
        sizes[first] = max(sizes[first] + to_add - added, 0)
    return sizes


def _share(deployment: Object, replica_set: Object, to_add: int, added: int) -> int:
    left = to_add - added
    if not size(replica_set) or not left:
        return 0
    if not _wanted(deployment):
        fraction = -size(replica_set)
    else:
        before = _annotated(replica_set, MOST) or (deployment.get("status") or {}).get("replicas")
        scaled = size(replica_set) * most(deployment) / (before or most(deployment))
        fraction = math.floor(scaled + 0.5) - size(replica_set)
    return min(fraction, left) if to_add > 0 else max(fraction, left)


def _annotated(replica_set: Object, name: str) -> int:
    text = (replica_set["metadata"].get("annotations") or {}).get(name) or ""
    return int(text) if text.isascii() and text.isdigit() else 0


def was_resized(deployment: Object, sets: Sequence[Object]) -> bool:
    """Tell whether a deployment's size changed since its replica sets were last given theirs."""
    return any(
        size(each) > 0
        and _annotated(each, DESIRED) != _wanted(deployment)
        and DESIRED in (each["metadata"].get("annotations") or {})
        for each in sets
    )


def is_complete(deployment: Object, status: Mapping[str, Any]) -> bool:
    """Tell whether all pods are of the newest template and can be used."""
    wanted = _wanted(deployment)
    counts = ("updatedReplicas", "replicas", "availableReplicas")
    seen = status.get("observedGeneration") or 0
    return all((status.get(name) or 0) == wanted for name in counts) and seen >= (
        deployment["metadata"].get("generation") or 0
    )
