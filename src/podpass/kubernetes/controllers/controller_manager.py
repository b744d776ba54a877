"""Run all controllers: put the keys of changed objects into a work queue and reconcile them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from podpass.errors import Error
from podpass.kubernetes.apiserver.customresources.served_kinds import DEFINITION
from podpass.kubernetes.apiserver.kinds import kind_by_name
from podpass.kubernetes.apiserver.registry.deletion import DeletionHandler
from podpass.kubernetes.apiserver.registry.store import Registry
from podpass.kubernetes.apiserver.status import StatusError
from podpass.kubernetes.apiserver.storage.storage import AlreadyExists, RevisionConflict
from podpass.kubernetes.client.event_recorder import EventLimits, EventRecorder, RateLimit
from podpass.kubernetes.controllers.client import ControllerClient
from podpass.kubernetes.controllers.custom_resource_definitions import (
    CustomResourceDefinitionController,
)
from podpass.kubernetes.controllers.deployments import DeploymentController
from podpass.kubernetes.controllers.disruption import DisruptionController
from podpass.kubernetes.controllers.endpoint_slices import EndpointSliceController
from podpass.kubernetes.controllers.event_ttl import EventTTLController
from podpass.kubernetes.controllers.garbage_collector import GarbageCollector
from podpass.kubernetes.controllers.jobs import JobController
from podpass.kubernetes.controllers.lister import Change, Lister
from podpass.kubernetes.controllers.namespaces import ACCOUNT, ROOT_CA, NamespaceController
from podpass.kubernetes.controllers.nodes import NodeController
from podpass.kubernetes.controllers.replicasets import ReplicaSetController
from podpass.kubernetes.controllers.workqueue import Key, RequeueError, WorkQueue

_log = logging.getLogger(__name__)

Reconcile = Callable[[str, str], Awaitable[float | None]]

# The limits of client-go: ten similar events, then a combined one; 25 events per object, then one in 5
# minutes.
EVENT_LIMITS = EventLimits(
    max_series=4096, max_similar=10, per_bucket=RateLimit(burst=25, seconds_each=300.0)
)
_WORKERS = 8
_WAIT_SECONDS = 30.0
_GARBAGE, _TRACKED_POD, _EVENT_TTL = "garbage/", "tracked-pod", "event-ttl"
# Reconciling an owner counts its pods, so the delay grows with the number of pods.
_PODS_PER_SECOND = 10_000
_MAX_DELAY_SECONDS = 0.5


class ControllerManager:
    """Runs all controllers of a cluster."""

    def __init__(self, resources: Registry, deletions: DeletionHandler, ca_file: Path) -> None:
        self._store = resources.store
        self._lister = lister = Lister(self._store, resources.kinds, self._enqueue)

        def client(controller: str) -> ControllerClient:
            return ControllerClient(resources, deletions, controller)

        def recorder(controller: str) -> EventRecorder:
            made = EventRecorder(
                client(controller), controller, clock=resources.clock, limits=EVENT_LIMITS
            )
            self._recorders.append(made)
            return made

        def replicas(kind: str, controller: str) -> Reconcile:
            return ReplicaSetController(
                kind_by_name(kind), lister, client(controller), recorder(controller)
            ).reconcile

        self._recorders: list[EventRecorder] = []
        self._namespaces = NamespaceController(client("namespace-controller"), ca_file.read_text())
        self._garbage = GarbageCollector(lister, client("generic-garbage-collector"))
        self._jobs = JobController(lister, client("job-controller"), recorder("job-controller"))
        self._definitions = CustomResourceDefinitionController(
            client("customresourcedefinition-controller")
        )
        self._reconcilers: Mapping[str, Reconcile] = {
            "CustomResourceDefinition": self._definitions.reconcile,
            "Deployment": DeploymentController(
                lister, client("deployment-controller"), recorder("deployment-controller")
            ).reconcile,
            "Job": self._jobs.reconcile,
            "Namespace": self._namespaces.reconcile,
            "Node": NodeController(client("node-controller")).reconcile,
            "PodDisruptionBudget": DisruptionController(
                lister, client("disruption-controller")
            ).reconcile,
            "ReplicaSet": replicas("ReplicaSet", "replicaset-controller"),
            "ReplicationController": replicas("ReplicationController", "replication-controller"),
            "Service": EndpointSliceController(
                lister, client("endpointslice-controller")
            ).reconcile,
            _TRACKED_POD: self._jobs.release_orphan,
            _EVENT_TTL: EventTTLController(client("node-controller")).reconcile,
        }
        self._queue: WorkQueue | None = None

    def prepare(self) -> None:
        """Create the default objects of every namespace before the first request."""
        kind = kind_by_name("Namespace")
        for entry in self._store.list_stored(kind):
            if not entry.object()["metadata"].get("deletionTimestamp"):
                self._namespaces.complete(entry.name)

    def use_ca(self, ca: str) -> None:
        """Publish another CA bundle in the ConfigMap of every namespace."""
        self._namespaces.use_ca(ca)
        self.prepare()

    async def run(self) -> None:
        """Reconcile until cancelled."""
        self._queue = queue = WorkQueue(asyncio.get_running_loop().time)
        queue.add((_EVENT_TTL, "", ""))
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_WORKERS):
                tasks.create_task(self._work(queue))
            for recorder in self._recorders:
                tasks.create_task(recorder.run())
            while True:
                try:
                    self._lister.sync()
                except Exception:  # noqa: BLE001 one invalid object must not stop all controllers
                    _log.exception("controller_cache_sync_failed")
                await self._store.watch_cache.wait(self._lister.resources, _WAIT_SECONDS)

    async def _work(self, queue: WorkQueue) -> None:
        while True:
            key = await queue.get()
            try:
                await self._reconcile(queue, key)
            finally:
                queue.done(key)
            await asyncio.sleep(0)  # a reconcile that writes nothing never yields

    async def _reconcile(self, queue: WorkQueue, key: Key) -> None:
        self._lister.sync()
        try:
            again = await self._dispatch(key)
        except (RevisionConflict, AlreadyExists, RequeueError):
            queue.add_rate_limited(key)
        except StatusError as exc:
            if exc.status != 409:
                facts = {"controller": key[0], "object": f"{key[1]}/{key[2]}"}
                _log.warning("controller_refused", extra={**facts, "cause": exc.message})
            queue.add_rate_limited(key)
        except Exception as exc:  # noqa: BLE001 one invalid object must not stop all controllers
            level = logging.WARNING if isinstance(exc, Error) else logging.ERROR
            _log.log(level, "controller_failed", exc_info=exc, extra={"controller": key[0]})
            queue.add_rate_limited(key)
        else:
            queue.forget(key)
            if again is not None:
                queue.add(key, again)

    async def _dispatch(self, key: Key) -> float | None:
        if key[0].startswith(_GARBAGE):
            await self._garbage.reconcile(key[0].removeprefix(_GARBAGE), key[1], key[2])
            return None
        return await self._reconcilers[key[0]](key[1], key[2])

    def _enqueue(self, change: Change) -> None:
        """Enqueue every key that a change may concern."""
        if self._queue is None:
            return
        queue, (kind, namespace, name) = self._queue, change.key
        if kind in self._reconcilers:
            queue.add(change.key, self._delay())
        for key in filter(None, map(self._lister.key_of, change.controllers)):
            if key[0] in self._reconcilers:
                queue.add(key, self._delay())
        if kind == "Pod":
            self._enqueue_for_pod(queue, change)
        if kind in ("ConfigMap", "ServiceAccount") and name in (ACCOUNT, ROOT_CA):
            queue.add(("Namespace", "", namespace))
        if kind == DEFINITION.key and change.deleted:  # another definition may take its names
            for entry in self._store.list_stored(DEFINITION):
                queue.add((kind, "", entry.name))
        if change.deleted and (definition := self._lister.definition_of(kind)):
            queue.add((DEFINITION.key, "", definition), self._delay())
        if namespace and change.deleted:
            queue.add(("Namespace", "", namespace), self._delay())
        if change.affects_garbage_collection:
            self._enqueue_for_garbage_collector(queue, change)

    def _delay(self) -> float:
        return min(len(self._lister) / _PODS_PER_SECOND, _MAX_DELAY_SECONDS)

    def _enqueue_for_pod(self, queue: WorkQueue, change: Change) -> None:
        _, namespace, name = change.key
        for counts in ("PodDisruptionBudget", "Service"):
            for entry in self._store.list_stored(kind_by_name(counts), namespace):
                queue.add((counts, namespace, entry.name), self._delay())
        pod = self._lister.pod(namespace, name)
        if pod is None or pod.ended:  # a Deployment with strategy Recreate waits for this
            for key in filter(None, map(self._lister.controller_of, change.controllers)):
                if key[0] in self._reconcilers:
                    queue.add(key, self._delay())
        if pod is None:
            return
        if pod.tracked and (pod.deleting or not pod.controller):
            queue.add((_TRACKED_POD, namespace, name))
        if not pod.controller and change.affects_garbage_collection:  # an owner may adopt it
            for kind in ("ReplicaSet", "ReplicationController", "Job"):
                for entry in self._store.list_stored(kind_by_name(kind), namespace):
                    queue.add((kind, namespace, entry.name), self._delay())

    def _enqueue_for_garbage_collector(self, queue: WorkQueue, change: Change) -> None:
        kind, namespace, name = change.key
        if change.deleted:
            for key in self._lister.dependents(change.uid):
                queue.add((_GARBAGE + key[0], key[1], key[2]))
        else:
            queue.add((_GARBAGE + kind, namespace, name))
        for key in filter(None, map(self._lister.key_of, change.owners)):
            queue.add((_GARBAGE + key[0], key[1], key[2]), self._delay())
