"""Revisions of a Deployment, and the sizes of its ReplicaSets within maxSurge and maxUnavailable. Pure.

Source: k8s.io/kubernetes v1.34 pkg/controller/deployment: rolling.go, sync.go, util.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from kubeling.apiserver.admission.plugins import NAME_CHARACTERS
from kubeling.apiserver.storage.storage import Object

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
_NOT_COPIED = frozenset(
    (
        *(REVISION, _HISTORY, DESIRED, MAX_REPLICAS, "deprecated.deployment.rollback.to"),
        "kubectl.kubernetes.io/last-applied-configuration",
    )
)
_MAX_HISTORY = 2000


def template_hash(template: Mapping[str, Any], collisions: int) -> str:
    """Return the hash of a template in characters that are safe in names.

    kube-controller-manager hashes the Go representation of its types, which no other program can reproduce.
    """
    text = orjson.dumps([template, collisions], option=orjson.OPT_SORT_KEYS)
    value = 0x811C9DC5
    for byte in text:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return "".join(NAME_CHARACTERS[ord(digit) % len(NAME_CHARACTERS)] for digit in str(value))


def oldest_first(sets: Sequence[Object]) -> list[Object]:
    """Sort ReplicaSets, the oldest first."""
    return sorted(sets, key=lambda each: (_creation_time(each), each["metadata"]["name"]))


def _creation_time(obj: Object) -> str:
    return str(obj["metadata"]["creationTimestamp"])


def find_new_replica_set(deployment: Object, sets: Sequence[Object]) -> Object | None:
    """Return the ReplicaSet of the current template; the oldest if there are several."""
    wanted = _without_hash(deployment["spec"]["template"])
    for each in oldest_first(sets):
        if _without_hash(each["spec"]["template"]) == wanted:
            return each
    return None


def _without_hash(template: Mapping[str, Any]) -> Object:
    metadata = dict(template.get("metadata") or {})
    labels = {name: value for name, value in (metadata.get("labels") or {}).items() if name != HASH}
    return {**template, "metadata": {**metadata, "labels": labels}}


def revision_of(obj: Object) -> int:
    """Return the revision number, or zero."""
    text = (obj["metadata"].get("annotations") or {}).get(REVISION) or ""
    return int(text) if text.isascii() and text.isdigit() else 0


def next_revision(others: Sequence[Object]) -> int:
    return max((revision_of(each) for each in others), default=0) + 1


def new_replica_set(
    deployment: Object, reference: Object, others: Sequence[Object], *, replicas: int, most: int
) -> Object:
    """Build the ReplicaSet of the current template."""
    spec, metadata = deployment["spec"], deployment["metadata"]
    template = copy.deepcopy(spec["template"])
    collisions = (deployment.get("status") or {}).get("collisionCount") or 0
    hash_ = template_hash(template, collisions)
    labels = (template.get("metadata") or {}).get("labels") or {}
    template["metadata"] = {**(template.get("metadata") or {}), "labels": {**labels, HASH: hash_}}
    selector = copy.deepcopy(spec["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH: hash_}
    new: Object = {
        "metadata": {
            "name": f"{metadata['name']}-{hash_}",
            "namespace": metadata["namespace"],
            "labels": dict(template["metadata"]["labels"]),
            "ownerReferences": [reference],
        },
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    }
    if spec.get("minReadySeconds"):
        new["spec"]["minReadySeconds"] = spec["minReadySeconds"]
    new["metadata"]["annotations"] = {
        **set_annotations(deployment, new, next_revision(others)),
        **size_annotations(deployment, most),
    }
    return new


def set_annotations(deployment: Object, replica_set: Object, revision: int) -> dict[str, str]:
    """Return the annotations of a ReplicaSet: those of the Deployment, its revision, and past revisions."""
    theirs: dict[str, str] = deployment["metadata"].get("annotations") or {}
    found: dict[str, str] = dict(replica_set["metadata"].get("annotations") or {})
    found |= {name: value for name, value in theirs.items() if name not in _NOT_COPIED}
    if (before := revision_of(replica_set)) < revision:
        found[REVISION] = str(revision)
        if before:
            past = [each for each in found.get(_HISTORY, "").split(",") if each]
            found[_HISTORY] = ",".join([*past, str(before)])[-_MAX_HISTORY:]
    return found


def size_annotations(deployment: Object, most: int) -> dict[str, str]:
    """Return the annotations with the current size, which a later proportional scaling needs."""
    return {DESIRED: str(deployment["spec"]["replicas"]), MAX_REPLICAS: str(most)}


def over_history_limit(deployment: Object, old: Sequence[Object]) -> list[Object]:
    """Return the empty ReplicaSets over the history limit, the oldest revision first."""
    limit = deployment["spec"].get("revisionHistoryLimit")
    if limit is None:
        return []
    empty = [each for each in old if not each["metadata"].get("deletionTimestamp")]
    surplus = len(empty) - limit
    ordered = sorted(empty, key=lambda each: (revision_of(each), _creation_time(each)))
    return [each for each in ordered[: max(surplus, 0)] if _is_empty(each)]


def _is_empty(replica_set: Object) -> bool:
    status = replica_set.get("status") or {}
    is_observed = (status.get("observedGeneration") or 0) >= replica_set["metadata"].get(
        "generation", 0
    )
    return is_observed and not replica_set["spec"]["replicas"] and not status.get("replicas")


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
