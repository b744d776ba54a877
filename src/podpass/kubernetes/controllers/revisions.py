"""The templates a deployment has had: each is a replica set with a number, found by its template. Pure.

Source: k8s.io/kubernetes v1.34 pkg/controller/deployment/util.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from podpass.kubernetes.apiserver.admission.plugins import LETTERS
from podpass.kubernetes.apiserver.storage.storage import Object

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MOST = "deployment.kubernetes.io/max-replicas"
_NOT_COPIED = frozenset(
    (
        *("kubectl.kubernetes.io/last-applied-configuration", REVISION, _HISTORY, DESIRED, MOST),
        "deprecated.deployment.rollback.to",
    )
)
_MAX_HISTORY = 2000


def template_hash(template: Mapping[str, Any], collisions: int) -> str:
    """Name a template: the same for the same template, in letters that make no words.

    A real controller hashes what Go prints of its own types, which no other program can.
    """
    text = orjson.dumps([template, collisions], option=orjson.OPT_SORT_KEYS)
    value = 0x811C9DC5
    for byte in text:
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return "".join(LETTERS[ord(digit) % len(LETTERS)] for digit in str(value))


def by_age(sets: Sequence[Object]) -> list[Object]:
    """Order replica sets, the oldest first."""
    return sorted(sets, key=lambda each: (_born(each), each["metadata"]["name"]))


def _born(obj: Object) -> str:
    return str(obj["metadata"]["creationTimestamp"])


def newest(deployment: Object, sets: Sequence[Object]) -> Object | None:
    """Find the replica set of a deployment's template; the oldest, should there be several."""
    wanted = _unhashed(deployment["spec"]["template"])
    for each in by_age(sets):
        if _unhashed(each["spec"]["template"]) == wanted:
            return each
    return None


def _unhashed(template: Mapping[str, Any]) -> Object:
    metadata = dict(template.get("metadata") or {})
    labels = {name: value for name, value in (metadata.get("labels") or {}).items() if name != HASH}
    return {**template, "metadata": {**metadata, "labels": labels}}


def number(obj: Object) -> int:
    """Read a revision's number; zero where there is none."""
    text = (obj["metadata"].get("annotations") or {}).get(REVISION) or ""
    return int(text) if text.isascii() and text.isdigit() else 0


def next_number(others: Sequence[Object]) -> int:
    return max((number(each) for each in others), default=0) + 1


def made(
    deployment: Object, reference: Object, others: Sequence[Object], *, replicas: int, most: int
) -> Object:
    """Make the replica set of a deployment's template, with so many pods for a start."""
    spec, metadata = deployment["spec"], deployment["metadata"]
    template = copy.deepcopy(spec["template"])
    collisions = (deployment.get("status") or {}).get("collisionCount") or 0
    mark = template_hash(template, collisions)
    labels = (template.get("metadata") or {}).get("labels") or {}
    template["metadata"] = {**(template.get("metadata") or {}), "labels": {**labels, HASH: mark}}
    selector = copy.deepcopy(spec["selector"])
    selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH: mark}
    new: Object = {
        "metadata": {
            "name": f"{metadata['name']}-{mark}",
            "namespace": metadata["namespace"],
            "labels": dict(template["metadata"]["labels"]),
            "ownerReferences": [reference],
        },
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    }
    if spec.get("minReadySeconds"):
        new["spec"]["minReadySeconds"] = spec["minReadySeconds"]
    new["metadata"]["annotations"] = {
        **annotations(deployment, new, next_number(others)),
        **sized(deployment, most),
    }
    return new


def annotations(deployment: Object, replica_set: Object, revision: int) -> dict[str, str]:
    """Give a replica set the deployment's annotations and a revision, its older ones remembered."""
    theirs: dict[str, str] = deployment["metadata"].get("annotations") or {}
    found: dict[str, str] = dict(replica_set["metadata"].get("annotations") or {})
    found |= {name: value for name, value in theirs.items() if name not in _NOT_COPIED}
    if (before := number(replica_set)) < revision:
        found[REVISION] = str(revision)
        if before:
            past = [each for each in found.get(_HISTORY, "").split(",") if each]
            found[_HISTORY] = ",".join([*past, str(before)])[-_MAX_HISTORY:]
    return found


def sized(deployment: Object, most: int) -> dict[str, str]:
    """Write down how large the deployment was, so that a later size can be shared out in proportion."""
    return {DESIRED: str(deployment["spec"]["replicas"]), MOST: str(most)}


def forgotten(deployment: Object, olds: Sequence[Object]) -> list[Object]:
    """List the replica sets beyond the history's limit: empty ones, the oldest revision first."""
    limit = deployment["spec"].get("revisionHistoryLimit")
    if limit is None:
        return []
    empty = [each for each in olds if not each["metadata"].get("deletionTimestamp")]
    surplus = len(empty) - limit
    ordered = sorted(empty, key=lambda each: (number(each), _born(each)))
    return [each for each in ordered[: max(surplus, 0)] if _is_empty(each)]


def _is_empty(replica_set: Object) -> bool:
    status = replica_set.get("status") or {}
    seen = (status.get("observedGeneration") or 0) >= replica_set["metadata"].get("generation", 0)
    return seen and not replica_set["spec"]["replicas"] and not status.get("replicas")
