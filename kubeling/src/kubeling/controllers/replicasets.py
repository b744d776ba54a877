"""ReplicaSet and ReplicationController controllers: create or delete pods until `spec.replicas` run."""

import copy

from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.storage.storage import Object
from kubeling.controllers import controller_ref, replica_status
from kubeling.controllers.client import ControllerClient, owner_reference
from kubeling.controllers.lister import Lister
from kubeling.controllers.pod_control import BURST_REPLICAS, PodControl
from kubeling.controllers.workqueue import RequeueError
from kubeling.event_recorder import EventRecorder


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
            surplus = replica_status.pods_to_delete(active, -difference, self._client.now)
            await self._pod_control.delete(self._kind, replica_set, surplus)
        wait = await self._write_status(replica_set, failure)
        if failure:
            raise RequeueError(failure)
        return 0.0 if abs(difference) > BURST_REPLICAS else wait

    async def _create_pods(self, replica_set: Object, count: int) -> str:
        reference = owner_reference(self._kind, replica_set)
        template = replica_set["spec"]["template"]
        pod = replica_status.pod_from_template(template, replica_set, reference)
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
        new = replica_status.status(live, pods, now, failure)
        if "generation" in metadata:  # the generation that was reconciled, not a newer one
            new["observedGeneration"] = metadata["generation"]
        await self._client.write_status(self._kind.kind, live, new)
        return replica_status.seconds_until_available(
            pods, live["spec"].get("minReadySeconds") or 0, now
        )
