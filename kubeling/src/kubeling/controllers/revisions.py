"""Revisions of a Deployment: one ReplicaSet per pod template, with a revision number. Pure.

Source: k8s.io/kubernetes v1.34 pkg/controller/deployment/util.
"""

import copy
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
