"""StatefulSet controller: pods with stable names, which start, change and end in the order of ordinals."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.status import StatusError
from kubeling.apiserver.storage.storage import Object
from kubeling.controllers import controller_ref, controller_revisions, replicasets
from kubeling.controllers.client import ControllerClient, event_reference, owner_reference
from kubeling.controllers.controller_revisions import REVISION_HASH
from kubeling.controllers.lister import Lister
from kubeling.controllers.pod_info import PodInfo
from kubeling.controllers.replicasets import pod_from_template
from kubeling.controllers.workqueue import RequeueError
from kubeling.event_recorder import NORMAL, WARNING, EventRecorder

POD_NAME, POD_INDEX = "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"


@dataclass(frozen=True, slots=True)
class _Plan:
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


def make_plan(stateful_set: Object, pods: Sequence[PodInfo], updated: str, now: float) -> _Plan:
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
        return _Plan(created, [*ended, *surplus, *replaced], surplus)
    for ordinal, pod in replicas.items():
        if pod is None:
            return _Plan([ordinal], [], [])
        if pod.ended and not pod.deleting:
            return _Plan([], [pod], [])
        if not healthy(pod):
            return _Plan([], [], [])
    if condemned:
        last = condemned[0]
        first_unhealthy = next((pod for pod in reversed(condemned) if not healthy(pod)), None)
        if last.deleting or (not healthy(last) and last is not first_unhealthy):
            return _Plan([], [], [])
        return _Plan([], [last], [last])
    return _Plan([], _outdated(stateful_set, replicas, updated, healthy), [])


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


_KIND, _CLAIM = kind_by_name("StatefulSet"), kind_by_name("PersistentVolumeClaim")
_HASH_LABEL = "controller.kubernetes.io/hash"


class StatefulSetController:
    """Reconciles StatefulSets."""

    def __init__(self, lister: Lister, client: ControllerClient, recorder: EventRecorder) -> None:
        self._lister, self._client, self._recorder = lister, client, recorder

    async def reconcile(self, namespace: str, name: str) -> float | None:
        """Create and delete pods of a StatefulSet; return the requeue delay."""
        before = self._client.store.get(_KIND, namespace, name)
        if before is None:
            return None
        stateful_set = copy.deepcopy(before)
        old = stateful_set.setdefault("status", {})
        pods = await controller_ref.claim_pods(
            self._lister, self._client, _KIND, stateful_set, f"{name}-"
        )
        revisions = await controller_revisions.sync(
            self._client, _KIND, stateful_set, old, _HASH_LABEL
        )
        if not revisions:  # deleted before its first reconcile
            return None
        names = {each["metadata"]["name"]: each for each in revisions}
        updated = revisions[-1]["metadata"]["name"]
        current = old.get("currentRevision")
        current = current if current in names else updated
        try:
            if not stateful_set["metadata"].get("deletionTimestamp"):
                await self._sync_pods(stateful_set, pods, names[current], names[updated])
        finally:
            self._lister.sync()
            pods = self._lister.pods_of(stateful_set["metadata"]["uid"])
            new = status(stateful_set, pods, current, updated, self._client.now)
            await self._client.write_status(_KIND.kind, before, new)
        used = {pod.labels.get(controller_revisions.REVISION_HASH, "") for pod in pods}
        await controller_revisions.truncate(
            self._client, stateful_set, revisions, used | {current, updated}
        )
        return replicasets.seconds_until_available(
            pods, stateful_set["spec"].get("minReadySeconds") or 0, self._client.now
        )

    async def _sync_pods(
        self, stateful_set: Object, pods: list[PodInfo], current: Object, updated: Object
    ) -> None:
        name, now = updated["metadata"]["name"], self._client.now
        plan = make_plan(stateful_set, pods, name, now)
        for ordinal in plan.created:
            revision = current if uses_current(stateful_set, ordinal) else updated
            await self._create_pod(stateful_set, ordinal, revision)
        for pod in plan.condemned:
            await self._own_claims(stateful_set, pod)
        for pod in plan.deleted:
            await self._client.delete("Pod", pod.namespace, pod.name, pod.uid)
            self._record(stateful_set, "delete", f"Pod {pod.name}")

    async def _create_pod(self, stateful_set: Object, ordinal: int, revision: Object) -> None:
        """Create the missing claims of a pod, then the pod.

        Raises RequeueError: the reconcile is repeated.
        """
        reference = owner_reference(_KIND, stateful_set)
        pod = new_pod(stateful_set, ordinal, revision, reference)
        what = f"Pod {pod['metadata']['name']}"
        try:
            for each in stateful_set["spec"].get("volumeClaimTemplates") or ():
                await self._create_claim(stateful_set, each, ordinal, reference)
            await self._client.create("Pod", pod)
        except StatusError as exc:
            self._record(stateful_set, "create", what, exc)
            raise RequeueError(exc.message) from exc
        self._record(stateful_set, "create", what)

    async def _create_claim(
        self, stateful_set: Object, template: Object, ordinal: int, reference: Object
    ) -> None:
        policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
        owners = [reference] if policy.get("whenDeleted") == "Delete" else []
        claim = new_claim(stateful_set, template, ordinal, owners)
        metadata = claim["metadata"]
        if self._client.store.get_stored(_CLAIM, metadata["namespace"], metadata["name"]) is None:
            await self._client.create(_CLAIM.kind, claim)
            pod = f"{stateful_set['metadata']['name']}-{ordinal}"
            self._record(stateful_set, "create", f"Claim {metadata['name']} Pod {pod}")

    async def _own_claims(self, stateful_set: Object, pod: PodInfo) -> None:
        """Make a pod that is scaled away the owner of its claims, if they are deleted together with it."""
        policy = stateful_set["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
        if policy.get("whenScaled") != "Delete":
            return
        owner = owner_reference(kind_by_name("Pod"), pod.identity) | {"controller": False}
        ordinal = ordinal_of(stateful_set, pod)
        for each in stateful_set["spec"].get("volumeClaimTemplates") or ():
            name = claim_name(stateful_set, each, ordinal)
            if self._client.store.get_stored(_CLAIM, pod.namespace, name) is not None:
                await self._client.change(
                    _CLAIM.kind,
                    pod.namespace,
                    name,
                    lambda live: {
                        **live,
                        "metadata": {**live["metadata"], "ownerReferences": [owner]},
                    },
                )

    def _record(
        self, stateful_set: Object, verb: str, what: str, failure: StatusError | None = None
    ) -> None:
        name, reference = stateful_set["metadata"]["name"], event_reference(_KIND, stateful_set)
        text = f"{verb} {what} in StatefulSet {name}"
        if failure is None:
            reason = f"Successful{verb.title()}"
            self._recorder.record(reference, NORMAL, reason, f"{text} successful")
        else:
            text = f"{text} failed error: {failure.message}"
            self._recorder.record(reference, WARNING, f"Failed{verb.title()}", text)
