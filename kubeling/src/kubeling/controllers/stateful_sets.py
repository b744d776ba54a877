"""StatefulSet controller: pods with stable names, which start, change and end in the order of ordinals."""

import copy

from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.status import StatusError
from kubeling.apiserver.storage.storage import Object
from kubeling.controllers import (
    controller_ref,
    controller_revisions,
    replica_status,
    stateful_rules,
)
from kubeling.controllers.client import ControllerClient, event_reference, owner_reference
from kubeling.controllers.lister import Lister
from kubeling.controllers.pod_info import PodInfo
from kubeling.controllers.workqueue import RequeueError
from kubeling.event_recorder import NORMAL, WARNING, EventRecorder

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
            pods = await self._write_status(before, stateful_set, current, updated)
        used = {pod.labels.get(controller_revisions.REVISION_HASH, "") for pod in pods}
        await controller_revisions.truncate(
            self._client, stateful_set, revisions, used | {current, updated}
        )
        return replica_status.seconds_until_available(
            pods, stateful_set["spec"].get("minReadySeconds") or 0, self._client.now
        )

    async def _sync_pods(
        self, stateful_set: Object, pods: list[PodInfo], current: Object, updated: Object
    ) -> None:
        name, now = updated["metadata"]["name"], self._client.now
        plan = stateful_rules.plan(stateful_set, pods, name, now)
        for ordinal in plan.created:
            revision = current if stateful_rules.uses_current(stateful_set, ordinal) else updated
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
        pod = stateful_rules.new_pod(stateful_set, ordinal, revision, reference)
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
        claim = stateful_rules.new_claim(stateful_set, template, ordinal, owners)
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
        identity = {"metadata": {"name": pod.name, "uid": pod.uid}}
        owner = owner_reference(kind_by_name("Pod"), identity) | {"controller": False}
        ordinal = stateful_rules.ordinal_of(stateful_set, pod)
        for each in stateful_set["spec"].get("volumeClaimTemplates") or ():
            name = stateful_rules.claim_name(stateful_set, each, ordinal)
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

    async def _write_status(
        self, before: Object, stateful_set: Object, current: str, updated: str
    ) -> list[PodInfo]:
        """Write the status; return the pods that it counts."""
        self._lister.sync()
        pods = self._lister.pods_of(stateful_set["metadata"]["uid"])
        new = stateful_rules.status(stateful_set, pods, current, updated, self._client.now)
        if new != before.get("status"):
            await self._client.update(_KIND.kind, {**stateful_set, "status": new}, part="status")
        return pods
