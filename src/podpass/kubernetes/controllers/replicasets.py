"""Replica sets: as many pods as are wanted, of one template."""

import copy

from podpass.kubernetes.apiserver.kinds import named
from podpass.kubernetes.apiserver.storage.storage import Object
from podpass.kubernetes.controllers import controller_ref, replica_status
from podpass.kubernetes.controllers.client import Writer, owner_reference
from podpass.kubernetes.controllers.event_recorder import Notes
from podpass.kubernetes.controllers.lister import View
from podpass.kubernetes.controllers.pod_control import MOST_AT_ONCE, Maker
from podpass.kubernetes.controllers.workqueue import Again

_KIND = named("ReplicaSet")


class ReplicaSets:
    """Looks after replica sets."""

    def __init__(self, view: View, writer: Writer) -> None:
        self._view, self._writer = view, writer
        self._maker = Maker(writer, Notes(writer, "replicaset-controller"))

    async def look(self, namespace: str, name: str) -> float | None:
        """Bring a replica set's pods to the number that is wanted; say when to look again.

        Errors:  StatusError, Again.
        """
        replica_set = self._writer.store.get(_KIND, namespace, name)
        if replica_set is None:
            return None
        pods = await controller_ref.pods(self._view, self._writer, _KIND.kind, replica_set)
        active = [pod for pod in pods if pod.active]
        failure, difference = "", 0
        if not replica_set["metadata"].get("deletionTimestamp"):
            difference = replica_set["spec"]["replicas"] - len(active)
        if difference > 0:
            failure = await self._make(replica_set, difference)
        elif difference < 0:
            gone = replica_status.to_delete(active, -difference, self._writer.now)
            await self._maker.delete(_KIND.kind, replica_set, gone)
        wait = await self._report(replica_set, failure)
        if failure:
            raise Again(failure)
        return 0.0 if abs(difference) > MOST_AT_ONCE else wait

    async def _make(self, replica_set: Object, count: int) -> str:
        reference = owner_reference(_KIND, replica_set)
        template = replica_set["spec"]["template"]
        pod = replica_status.pod_of(template, replica_set, reference)
        return await self._maker.create(
            _KIND.kind, replica_set, count, lambda _: copy.deepcopy(pod)
        )

    async def _report(self, decided: Object, failure: str) -> float | None:
        """Write down what has become of the pods; say when one of them will count as available."""
        self._view.catch_up()
        metadata, now = decided["metadata"], self._writer.now
        live = self._writer.store.get(_KIND, metadata["namespace"], metadata["name"])
        if live is None or live["metadata"]["uid"] != metadata["uid"]:
            return None
        pods = self._view.pods_of(metadata["uid"])
        new = replica_status.status(live, pods, now, failure)
        if "generation" in metadata:  # what was looked at, if somebody changed it meanwhile
            new["observedGeneration"] = metadata["generation"]
        if new != live.get("status"):
            await self._writer.update(_KIND.kind, {**live, "status": new}, part="status")
        return replica_status.next_available(pods, live["spec"].get("minReadySeconds") or 0, now)
