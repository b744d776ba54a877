"""Decide the pods that a ReplicaSet creates and deletes, and its status. Pure.

Source: k8s.io/kubernetes v1.34 pkg/controller/replicaset and ActivePodsWithRanks.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from kubeling.apiserver.storage.storage import Object
from kubeling.clock import rfc3339
from kubeling.controllers.pod_info import PodInfo, seconds

_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}
FAILURE = "ReplicaFailure"


def pod_from_template(template: Mapping[str, Any], owner: Object, reference: Object) -> Object:
    """Build a pod from a template; the API server generates its name."""
    given = template.get("metadata") or {}
    metadata: Object = {
        "generateName": owner["metadata"]["name"] + "-",
        "namespace": owner["metadata"]["namespace"],
        "ownerReferences": [reference],
    }
    for part in ("labels", "annotations", "finalizers"):
        if given.get(part):
            metadata[part] = type(given[part])(given[part])
    return {"metadata": metadata, "spec": template["spec"]}


def pods_to_delete(pods: Sequence[PodInfo], count: int, now: float) -> list[PodInfo]:
    """Return the active pods to delete, in the order of kube-controller-manager.

    First come pods without a node, then pending, not ready, low deletion cost, more pods on the same node,
    ready for a shorter time, more restarts, younger.
    """
    if count >= len(pods):
        return list(pods)
    pods_per_node = Counter(pod.node for pod in pods)

    def rank(pod: PodInfo) -> tuple[Any, ...]:
        return (
            bool(pod.node),
            _PHASES.get(pod.phase, 0),
            pod.ready,
            pod.cost,
            -pods_per_node[pod.node] if pod.ready else 0,
            _age(now - pod.ready_since) if pod.ready else 0,
            -pod.restarts,
            _age(now - seconds(pod.created)),
        )

    return sorted(pods, key=rank)[:count]


def _age(span: float) -> int:
    """Return the logarithm of an age, so that small differences do not matter among old pods."""
    return int(math.log2(span)) if span >= 1 else 0


def status(replica_set: Object, pods: Sequence[PodInfo], now: float, failure: str) -> Object:
    """Return the status of a ReplicaSet; `failure` is the last create error, or empty."""
    spec, old = replica_set["spec"], replica_set.get("status") or {}
    wanted = (spec["template"].get("metadata") or {}).get("labels") or {}
    alive = [pod for pod in pods if not pod.ended and not pod.deleting]
    least = spec.get("minReadySeconds") or 0
    counts = {
        "fullyLabeledReplicas": sum(wanted.items() <= pod.labels.items() for pod in alive),
        "readyReplicas": sum(pod.ready for pod in alive),
        "availableReplicas": sum(pod.available(now, least) for pod in alive),
        "observedGeneration": replica_set["metadata"].get("generation") or 0,
    }
    new: Object = {"replicas": len(alive)}
    new |= {name: count for name, count in counts.items() if count}
    if conditions := _conditions(old.get("conditions") or [], failure, now):
        new["conditions"] = conditions
    return new


def _conditions(old: list[Object], failure: str, now: float) -> list[Object]:
    others = [each for each in old if each["type"] != FAILURE]
    if not failure:
        return others
    known = next((each for each in old if each["type"] == FAILURE), None)
    if known and known.get("message") == failure:
        return old
    condition = {
        "type": FAILURE,
        "status": "True",
        "lastTransitionTime": rfc3339(now),
        "reason": "FailedCreate",
        "message": failure,
    }
    return [*others, condition]


def seconds_until_available(pods: Sequence[PodInfo], least: float, now: float) -> float | None:
    """Return the seconds until the next ready pod becomes available; None if no pod waits."""
    waits = [
        pod.ready_since + least - now
        for pod in pods
        if pod.active and pod.ready and not pod.available(now, least)
    ]
    return max(min(waits), 0.0) if waits else None
