"""Create and delete pods of a controller in slow-start batches, as in kube-controller-manager."""

import asyncio
from collections.abc import Callable, Sequence

from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.status import CauseType, StatusError
from kubeling.apiserver.storage.storage import Object
from kubeling.controllers.client import ControllerClient, event_reference
from kubeling.controllers.pod_info import PodInfo
from kubeling.event_recorder import NORMAL, WARNING, EventRecorder

BURST_REPLICAS = 500
# Writes of one batch that run at once; more would delay every other request.
_PARALLEL_WRITES = 8


class PodControl:
    """Creates and deletes pods and records an event for each."""

    def __init__(self, client: ControllerClient, recorder: EventRecorder) -> None:
        self._client, self._recorder = client, recorder

    async def create(
        self, kind: Kind, owner: Object, count: int, pod: Callable[[int], Object]
    ) -> str:
        """Create pods in batches that double in size; return the first failure message, or an empty string.

        A failure ends the batches. The next reconcile creates the missing pods.
        """
        done, size = 0, 1
        count = min(count, BURST_REPLICAS)
        while done < count:
            batch = range(done, min(done + size, count))
            failures = await self._create(kind, owner, batch, pod)
            if failures:
                return next((each for each in failures if each), "")
            done, size = batch.stop, size * 2
        return ""

    async def _create(
        self, kind: Kind, owner: Object, batch: range, pod: Callable[[int], Object]
    ) -> list[str]:
        waiting, failures = iter(batch), list[str]()

        async def work() -> None:
            for at in waiting:
                failure = await self._create_pod(kind, owner, pod(at))
                if failure is not None:
                    failures.append(failure)

        await asyncio.gather(*(work() for _ in range(min(_PARALLEL_WRITES, len(batch)))))
        return failures

    async def _create_pod(self, kind: Kind, owner: Object, pod: Object) -> str | None:
        """Create one pod; return None, a failure message, or an empty string if the namespace terminates."""
        try:
            made = await self._client.create("Pod", pod)
        except StatusError as exc:
            if any(cause.reason == CauseType.NAMESPACE_TERMINATING for cause in exc.causes):
                return ""
            message = f"Error creating: {exc.message}"
            self._recorder.record(event_reference(kind, owner), WARNING, "FailedCreate", message)
            return exc.message
        message = f"Created pod: {made['metadata']['name']}"
        self._recorder.record(event_reference(kind, owner), NORMAL, "SuccessfulCreate", message)
        return None

    async def delete(self, kind: Kind, owner: Object, pods: Sequence[PodInfo]) -> None:
        """Delete pods. Raises StatusError, for the first pod that cannot be deleted."""
        for pod in pods[:BURST_REPLICAS]:
            try:
                await self._client.delete("Pod", pod.namespace, pod.name, pod.uid)
            except StatusError as exc:
                message = f"Error deleting: {exc.message}"
                self._recorder.record(
                    event_reference(kind, owner), WARNING, "FailedDelete", message
                )
                raise
            message = f"Deleted pod: {pod.name}"
            self._recorder.record(event_reference(kind, owner), NORMAL, "SuccessfulDelete", message)
