"""The controllers at work: what has changed is put in a queue for those it may concern, and they look."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from podpass.errors import Error
from podpass.kubernetes.apiserver.kinds import named
from podpass.kubernetes.apiserver.registry.deletion import Deletions
from podpass.kubernetes.apiserver.registry.store import Resources
from podpass.kubernetes.apiserver.status import StatusError
from podpass.kubernetes.apiserver.storage.storage import Moved, Taken
from podpass.kubernetes.controllers.client import Writer
from podpass.kubernetes.controllers.deployments import Deployments
from podpass.kubernetes.controllers.disruption import Budgets
from podpass.kubernetes.controllers.endpoint_slices import Endpoints
from podpass.kubernetes.controllers.event_ttl import Forgetting
from podpass.kubernetes.controllers.garbage_collector import Garbage
from podpass.kubernetes.controllers.jobs import Jobs
from podpass.kubernetes.controllers.lister import RESOURCES, Change, View
from podpass.kubernetes.controllers.namespaces import ACCOUNT, ROOT_CA, Namespaces
from podpass.kubernetes.controllers.nodes import Nodes
from podpass.kubernetes.controllers.replicasets import ReplicaSets
from podpass.kubernetes.controllers.workqueue import Again, Key, Queue

_log = logging.getLogger(__name__)

Look = Callable[[str, str], Awaitable[float | None]]

_WORKERS = 8
_WAIT_SECONDS = 30.0
_GARBAGE, _FREE, _FORGET = "garbage/", "free", "forget"
# A look at an owner counts its pods: the more there are, the less often it is worth it.
_PODS_A_SECOND = 10_000
_LONGEST_PAUSE = 0.5


class Controllers:
    """All controllers of a cluster."""

    def __init__(self, resources: Resources, deletions: Deletions, ca_file: Path) -> None:
        self._store = resources.store
        self._view = view = View(self._store, self._tell)

        def writer(controller: str) -> Writer:
            return Writer(resources, deletions, controller)

        self._namespaces = Namespaces(writer("namespace-controller"), ca_file.read_text())
        self._garbage = Garbage(view, writer("generic-garbage-collector"))
        self._jobs = Jobs(view, writer("job-controller"))
        self._looks: Mapping[str, Look] = {
            "Deployment": Deployments(view, writer("deployment-controller")).look,
            "Job": self._jobs.look,
            "Namespace": self._namespaces.look,
            "Node": Nodes(writer("node-controller")).look,
            "PodDisruptionBudget": Budgets(view, writer("disruption-controller")).look,
            "ReplicaSet": ReplicaSets(view, writer("replicaset-controller")).look,
            "Service": Endpoints(view, writer("endpointslice-controller")).look,
            _FREE: self._jobs.free,
            _FORGET: Forgetting(writer("node-controller")).look,
        }
        self._queue: Queue | None = None

    def prepare(self) -> None:
        """Complete every namespace, before anybody asks."""
        kind = named("Namespace")
        for entry in self._store.entries(kind):
            if not entry.object()["metadata"].get("deletionTimestamp"):
                self._namespaces.complete(entry.name)

    async def run(self) -> None:
        """Work until cancelled."""
        self._queue = queue = Queue(asyncio.get_running_loop().time)
        queue.add((_FORGET, "", ""))
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_WORKERS):
                tasks.create_task(self._work(queue))
            while True:
                try:
                    self._view.catch_up()
                except Exception:  # noqa: BLE001 one odd object must not stop all controllers
                    _log.exception("controllers_lost_track")
                await self._store.history.wait(RESOURCES, _WAIT_SECONDS)

    async def _work(self, queue: Queue) -> None:
        while True:
            key = await queue.take()
            try:
                await self._look(queue, key)
            finally:
                queue.done(key)
            await asyncio.sleep(0)  # a look that writes nothing has not paused yet

    async def _look(self, queue: Queue, key: Key) -> None:
        self._view.catch_up()
        try:
            again = await self._one(key)
        except (Moved, Taken, Again):
            queue.failed(key)
        except StatusError as exc:
            if exc.status != 409:
                facts = {"controller": key[0], "object": f"{key[1]}/{key[2]}"}
                _log.warning("controller_refused", extra={**facts, "cause": exc.message})
            queue.failed(key)
        except Exception as exc:  # noqa: BLE001 one odd object must not stop all controllers
            level = logging.WARNING if isinstance(exc, Error) else logging.ERROR
            _log.log(level, "controller_failed", exc_info=exc, extra={"controller": key[0]})
            queue.failed(key)
        else:
            queue.succeeded(key)
            if again is not None:
                queue.add(key, again)

    async def _one(self, key: Key) -> float | None:
        if key[0].startswith(_GARBAGE):
            await self._garbage.look(key[0].removeprefix(_GARBAGE), key[1], key[2])
            return None
        return await self._looks[key[0]](key[1], key[2])

    def _tell(self, change: Change) -> None:
        """Have everything looked at that a change may concern."""
        if self._queue is None:
            return
        queue, (kind, namespace, name) = self._queue, change.place
        if kind in self._looks:
            queue.add(change.place, self._pause())
        for place in filter(None, map(self._view.place, change.controllers)):
            if place[0] in self._looks:
                queue.add(place, self._pause())
        if kind == "Pod":
            self._tell_of_pod(queue, change)
        if kind in ("ConfigMap", "ServiceAccount") and name in (ACCOUNT, ROOT_CA):
            queue.add(("Namespace", "", namespace))
        if namespace and change.gone:
            queue.add(("Namespace", "", namespace), self._pause())
        if change.rebound:
            self._tell_garbage(queue, change)

    def _pause(self) -> float:
        return min(len(self._view) / _PODS_A_SECOND, _LONGEST_PAUSE)

    def _tell_of_pod(self, queue: Queue, change: Change) -> None:
        _, namespace, name = change.place
        for counts in ("PodDisruptionBudget", "Service"):
            for entry in self._store.entries(named(counts), namespace):
                queue.add((counts, namespace, entry.name), self._pause())
        pod = self._view.pod(namespace, name)
        if pod is None or pod.ended:  # a deployment that recreates its pods waits for that
            for place in filter(None, map(self._view.above, change.controllers)):
                if place[0] in self._looks:
                    queue.add(place, self._pause())
        if pod is None:
            return
        if pod.tracked and (pod.deleting or not pod.controller):
            queue.add((_FREE, namespace, name))
        if not pod.controller and change.rebound:  # somebody may take it in
            for kind in ("ReplicaSet", "Job"):
                for entry in self._store.entries(named(kind), namespace):
                    queue.add((kind, namespace, entry.name), self._pause())

    def _tell_garbage(self, queue: Queue, change: Change) -> None:
        kind, namespace, name = change.place
        if change.gone:
            for place in self._view.dependants(change.uid):
                queue.add((_GARBAGE + place[0], place[1], place[2]))
        else:
            queue.add((_GARBAGE + kind, namespace, name))
        for place in filter(None, map(self._view.place, change.owners)):
            queue.add((_GARBAGE + place[0], place[1], place[2]), self._pause())
