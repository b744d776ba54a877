"""Makes and deletes many pods at a time: carefully at first, for if one is refused the others will be too."""

import asyncio
from collections.abc import Callable, Sequence

from podpass.kubernetes.apiserver.status import StatusError, Why
from podpass.kubernetes.apiserver.storage.storage import Object
from podpass.kubernetes.controllers.client import Writer
from podpass.kubernetes.controllers.event_recorder import NORMAL, WARNING, Notes
from podpass.kubernetes.controllers.pod_info import PodFact

MOST_AT_ONCE = 500
# So many writes follow each other without a pause; more would keep every other request waiting.
_ABREAST = 8


class Maker:
    """Makes and deletes the pods of one controller's objects."""

    def __init__(self, writer: Writer, notes: Notes) -> None:
        self._writer, self._notes = writer, notes

    async def create(
        self, kind: str, owner: Object, count: int, pod: Callable[[int], Object]
    ) -> str:
        """Make pods in batches that double; give why one could not be made, or nothing.

        The first failure is the last batch: what is missing is made when the owner is looked at again.
        """
        done, size = 0, 1
        count = min(count, MOST_AT_ONCE)
        while done < count:
            batch = range(done, min(done + size, count))
            failures = await self._create(kind, owner, batch, pod)
            if failures:
                return next((each for each in failures if each), "")
            done, size = batch.stop, size * 2
        return ""

    async def _create(
        self, kind: str, owner: Object, batch: range, pod: Callable[[int], Object]
    ) -> list[str]:
        waiting, failures = iter(batch), list[str]()

        async def work() -> None:
            for at in waiting:
                failure = await self._one(kind, owner, pod(at))
                if failure is not None:
                    failures.append(failure)

        await asyncio.gather(*(work() for _ in range(min(_ABREAST, len(batch)))))
        return failures

    async def _one(self, kind: str, owner: Object, pod: Object) -> str | None:
        """Make one pod; nothing if it was made, empty text if its namespace is ending."""
        try:
            made = await self._writer.create("Pod", pod)
        except StatusError as exc:
            if any(cause.reason == Why.NAMESPACE_TERMINATING for cause in exc.causes):
                return ""
            told = f"Error creating: {exc.message}"
            await self._notes.record(kind, owner, WARNING, "FailedCreate", told)
            return exc.message
        told = f"Created pod: {made['metadata']['name']}"
        await self._notes.record(kind, owner, NORMAL, "SuccessfulCreate", told)
        return None

    async def delete(self, kind: str, owner: Object, pods: Sequence[PodFact]) -> None:
        """Delete pods.

        Errors:  StatusError, of the first that cannot be deleted.
        """
        for pod in pods[:MOST_AT_ONCE]:
            try:
                await self._writer.delete("Pod", pod.namespace, pod.name, pod.uid)
            except StatusError as exc:
                told = f"Error deleting: {exc.message}"
                await self._notes.record(kind, owner, WARNING, "FailedDelete", told)
                raise
            told = f"Deleted pod: {pod.name}"
            await self._notes.record(kind, owner, NORMAL, "SuccessfulDelete", told)
