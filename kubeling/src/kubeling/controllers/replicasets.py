"""ReplicaSet and ReplicationController controllers: create or delete pods until `spec.replicas` run.

Source: k8s.io/kubernetes v1.34 pkg/controller/replicaset and ActivePodsWithRanks.
"""

import copy
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.storage.storage import Object
from kubeling.clock import rfc3339
from kubeling.controllers import controller_ref
from kubeling.controllers.client import ControllerClient, owner_reference
from kubeling.controllers.lister import Lister
from kubeling.controllers.pod_control import BURST_REPLICAS, PodControl
from kubeling.controllers.pod_info import PodInfo, seconds
from kubeling.controllers.workqueue import RequeueError
from kubeling.event_recorder import EventRecorder

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


class ReplicaSetController:
    """Reconciles the objects of a kind: ReplicaSets or ReplicationControllers."""

    def __init__(
        self, kind: Kind, lister: Lister, client: ControllerClient, recorder: EventRecorder
    ) -> None:
        self._kind, self._lister, self._client = kind, lister, client
        self._pod_control = PodControl(client, recorder)

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Create or delete pods of an object; return the requeue delay."""
        replica_set = self._client.store.get(self._kind, namespace, name)
        if replica_set is None:
            return None
        pods = await controller_ref.claim_pods(self._lister, self._client, self._kind, replica_set)
        active = [pod for pod in pods if pod.active]
        failure, difference = "", 0
        if not replica_set["metadata"].get("deletionTimestamp"):
            difference = replica_set["spec"]["replicas"] - len(active)
        if difference > 0:
            failure = await self._create_pods(replica_set, difference)
        elif difference < 0:
            surplus = pods_to_delete(active, -difference, self._client.now)
            await self._pod_control.delete(self._kind, replica_set, surplus)
        wait = await self._write_status(replica_set, failure)
        if failure:
            raise RequeueError(failure)
        return 0.0 if abs(difference) > BURST_REPLICAS else wait

    async def _create_pods(self, replica_set: Object, count: int) -> str:
        reference = owner_reference(self._kind, replica_set)
        template = replica_set["spec"]["template"]
        pod = pod_from_template(template, replica_set, reference)
        return await self._pod_control.create(
            self._kind, replica_set, count, lambda _: copy.deepcopy(pod)
        )

    async def _write_status(self, reconciled: Object, failure: str) -> float | None:
        """Write the status; return the seconds until the next pod counts as available."""
        self._lister.sync()
        metadata, now = reconciled["metadata"], self._client.now
        live = self._client.store.get(self._kind, metadata["namespace"], metadata["name"])
        if live is None or live["metadata"]["uid"] != metadata["uid"]:
            return None
        pods = self._lister.pods_of(metadata["uid"])
        new = status(live, pods, now, failure)
        if "generation" in metadata:  # the generation that was reconciled, not a newer one
            new["observedGeneration"] = metadata["generation"]
        await self._client.write_status(self._kind.kind, live, new)
        return seconds_until_available(pods, live["spec"].get("minReadySeconds") or 0, now)
