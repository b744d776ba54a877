"""Decide the pods that a StatefulSet creates and deletes, and its status. Pure.

Source: k8s.io/kubernetes v1.34 pkg/controller/statefulset.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kubeling.apiserver.storage.storage import Object
from kubeling.controllers.controller_revisions import REVISION_HASH
from kubeling.controllers.pod_info import PodInfo
from kubeling.controllers.replica_status import pod_from_template

POD_NAME, POD_INDEX = "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"


@dataclass(frozen=True, slots=True)
class Plan:
    """The next writes: pods to create by ordinal, and pods to delete.

    `condemned` are the pods of `deleted` whose ordinal is outside the replicas.
    """

    created: list[int]
    deleted: list[PodInfo]
    condemned: list[PodInfo]


def ordinal_of(stateful_set: Object, pod: PodInfo) -> int:
    """Return the ordinal in the name of a pod; -1 if the name is not one of the set's."""
    prefix, _, number = pod.name.rpartition("-")
    fits = prefix == stateful_set["metadata"]["name"] and number.isascii() and number.isdigit()
    return int(number) if fits else -1


def _ordinals(stateful_set: Object) -> range:
    spec = stateful_set["spec"]
    start = (spec.get("ordinals") or {}).get("start") or 0
    return range(start, start + spec["replicas"])


def _partition(stateful_set: Object) -> int:
    """Return the number of pods, from the first, that a rolling update does not change."""
    strategy = stateful_set["spec"].get("updateStrategy") or {}
    return int((strategy.get("rollingUpdate") or {}).get("partition") or 0)


def uses_current(stateful_set: Object, ordinal: int) -> bool:
    """Return whether a new pod gets the current revision, and not the updated one."""
    return ordinal < _ordinals(stateful_set).start + _partition(stateful_set)


def plan(stateful_set: Object, pods: Sequence[PodInfo], updated: str, now: float) -> Plan:
    """Return the next writes; with OrderedReady management, at most one.

    `updated` is the name of the revision of the current template.
    """
    by_ordinal = {ordinal_of(stateful_set, pod): pod for pod in pods}
    spec, ordinals = stateful_set["spec"], _ordinals(stateful_set)
    replicas = {ordinal: by_ordinal.get(ordinal) for ordinal in ordinals}
    condemned = [
        by_ordinal[each]
        for each in sorted(by_ordinal, reverse=True)
        if each >= 0 and each not in ordinals
    ]
    least = spec.get("minReadySeconds") or 0

    def healthy(pod: PodInfo | None) -> bool:
        return (
            pod is not None
            and pod.active
            and pod.phase == "Running"
            and pod.available(now, float(least))
        )

    if spec.get("podManagementPolicy") == "Parallel":
        created = [ordinal for ordinal, pod in replicas.items() if pod is None]
        ended = [pod for pod in replicas.values() if pod and pod.ended and not pod.deleting]
        surplus = [pod for pod in condemned if not pod.deleting]
        replaced = _outdated(stateful_set, replicas, updated, healthy)
        replaced = [pod for pod in replaced if pod not in ended]
        return Plan(created, [*ended, *surplus, *replaced], surplus)
    for ordinal, pod in replicas.items():
        if pod is None:
            return Plan([ordinal], [], [])
        if pod.ended and not pod.deleting:
            return Plan([], [pod], [])
        if not healthy(pod):
            return Plan([], [], [])
    if condemned:
        last = condemned[0]
        first_unhealthy = next((pod for pod in reversed(condemned) if not healthy(pod)), None)
        if last.deleting or (not healthy(last) and last is not first_unhealthy):
            return Plan([], [], [])
        return Plan([], [last], [last])
    return Plan([], _outdated(stateful_set, replicas, updated, healthy), [])


def _outdated(
    stateful_set: Object,
    replicas: Mapping[int, PodInfo | None],
    updated: str,
    healthy: Callable[[PodInfo | None], bool],
) -> list[PodInfo]:
    """Return the pod that a rolling update replaces next, from the last to the first."""
    if (stateful_set["spec"].get("updateStrategy") or {}).get("type") == "OnDelete":
        return []
    for pod in reversed(list(replicas.values())[_partition(stateful_set) :]):
        if pod is None:
            return []
        if pod.labels.get(REVISION_HASH) != updated and not pod.deleting:
            return [pod]
        if not healthy(pod):
            return []
    return []


def status(
    stateful_set: Object, pods: Sequence[PodInfo], current: str, updated: str, now: float
) -> Object:
    """Return the status of a StatefulSet; a complete rolling update makes the updated revision current."""
    spec, old = stateful_set["spec"], stateful_set.get("status") or {}
    members = [pod for pod in pods if ordinal_of(stateful_set, pod) >= 0]
    ready = [pod for pod in members if pod.ready and pod.phase == "Running"]
    labels = [pod.labels.get(REVISION_HASH) for pod in members if not pod.deleting]
    counts = {
        "replicas": len(members),
        "readyReplicas": len(ready),
        "availableReplicas": sum(
            pod.available(now, spec.get("minReadySeconds") or 0) for pod in ready
        ),
        "currentReplicas": labels.count(current),
        "updatedReplicas": labels.count(updated),
    }
    rolls = (spec.get("updateStrategy") or {}).get("type") != "OnDelete"
    parts = ("replicas", "readyReplicas", "updatedReplicas")
    if rolls and all(counts[name] == spec["replicas"] for name in parts):
        current, counts["currentReplicas"] = updated, counts["updatedReplicas"]
    always = ("replicas", "availableReplicas")
    new: Object = {name: count for name, count in counts.items() if count or name in always}
    new |= {"currentRevision": current, "updateRevision": updated}
    new["observedGeneration"] = stateful_set["metadata"].get("generation") or 0
    new["collisionCount"] = old.get("collisionCount") or 0
    if conditions := old.get("conditions"):
        new["conditions"] = conditions
    return new


def claim_name(stateful_set: Object, claim: Object, ordinal: int) -> str:
    """Return the name of the PersistentVolumeClaim of one pod."""
    return f"{claim['metadata']['name']}-{stateful_set['metadata']['name']}-{ordinal}"


def new_claim(stateful_set: Object, claim: Object, ordinal: int, owners: list[Object]) -> Object:
    """Build the PersistentVolumeClaim of one pod."""
    metadata = claim["metadata"]
    selected = (stateful_set["spec"].get("selector") or {}).get("matchLabels") or {}
    made: Object = {
        "metadata": {
            **metadata,
            "name": claim_name(stateful_set, claim, ordinal),
            "namespace": stateful_set["metadata"]["namespace"],
            "labels": {**(metadata.get("labels") or {}), **selected},
        },
        "spec": claim.get("spec") or {},
    }
    if owners:
        made["metadata"]["ownerReferences"] = owners
    return made


def new_pod(stateful_set: Object, ordinal: int, revision: Object, reference: Object) -> Object:
    """Build the pod of an ordinal from the template of a revision."""
    set_name, spec = stateful_set["metadata"]["name"], stateful_set["spec"]
    made = pod_from_template(revision["data"]["spec"]["template"], stateful_set, reference)
    metadata, name = made["metadata"], f"{set_name}-{ordinal}"
    del metadata["generateName"]
    metadata["name"] = name
    metadata["labels"] = {
        **(metadata.get("labels") or {}),
        REVISION_HASH: revision["metadata"]["name"],
        POD_NAME: name,
        POD_INDEX: str(ordinal),
    }
    made["spec"] = {**made["spec"], "hostname": name}
    if spec.get("serviceName"):
        made["spec"]["subdomain"] = spec["serviceName"]
    if claims := spec.get("volumeClaimTemplates"):
        names = {
            each["metadata"]["name"]: claim_name(stateful_set, each, ordinal) for each in claims
        }
        others = [each for each in made["spec"].get("volumes") or () if each["name"] not in names]
        made["spec"]["volumes"] = others + [
            {"name": name, "persistentVolumeClaim": {"claimName": claim}}
            for name, claim in names.items()
        ]
    return made
