"""Run all controllers: put the keys of changed objects into a work queue and reconcile them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

from kubeling.apiserver.customresources.served_kinds import DEFINITION
from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.registry.deletion import DeletionHandler
from kubeling.apiserver.registry.store import Registry
from kubeling.apiserver.status import StatusError
from kubeling.apiserver.storage.storage import AlreadyExists, RevisionConflict
from kubeling.controllers import small_controllers
from kubeling.controllers.client import ControllerClient
from kubeling.controllers.cron_jobs import CronJobController
from kubeling.controllers.daemon_sets import DaemonSetController
from kubeling.controllers.deployments import DeploymentController
from kubeling.controllers.endpoint_slices import EndpointSliceController
from kubeling.controllers.garbage_collector import GarbageCollector
from kubeling.controllers.jobs import JobController
from kubeling.controllers.lister import Change, Lister
from kubeling.controllers.namespaces import ACCOUNT, ROOT_CA, NamespaceController
from kubeling.controllers.replicasets import ReplicaSetController
from kubeling.controllers.small_controllers import (
    CustomResourceDefinitionController,
    DisruptionController,
)
from kubeling.controllers.stateful_sets import StatefulSetController
from kubeling.controllers.workqueue import Key, RequeueError, WorkQueue
from kubeling.errors import Error
from kubeling.event_recorder import EventLimits, EventRecorder, RateLimit

_log = logging.getLogger(__name__)

Reconcile = Callable[[str, str], Awaitable[float | None]]

# The limits of client-go: ten similar events, then a combined one; 25 events per object, then one in 5
# minutes.
EVENT_LIMITS = EventLimits(
    max_series=4096, max_similar=10, per_object=RateLimit(burst=25, seconds_each=300.0)
)
_WORKERS = 8
_WAIT_SECONDS = 30.0
_GARBAGE, _TRACKED_POD, _EVENT_TTL = "garbage/", "tracked-pod", "event-ttl"
# Reconciling an owner counts its pods, so the delay grows with the number of pods.
_PODS_PER_SECOND = 10_000
_MAX_DELAY_SECONDS = 0.5
# The controllers of the API server itself.
_OF_API_SERVER = frozenset(("APIService", "CustomResourceDefinition", _EVENT_TTL))


class ControllerManager:
    """Runs all controllers of a cluster; without `full`, only those of the API server itself."""

    def __init__(
        self, resources: Registry, deletions: DeletionHandler, ca_file: Path, *, full: bool = True
    ) -> None:
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

        def writing(
            reconcile: Callable[..., Awaitable[float | None]], controller: str
        ) -> Reconcile:
            return partial(reconcile, client(controller))

        def tools(controller: str) -> tuple[Lister, ControllerClient, EventRecorder]:
            return lister, client(controller), recorder(controller)

        def replicas(kind: str, controller: str) -> Reconcile:
            return ReplicaSetController(kind_by_name(kind), *tools(controller)).reconcile

        self._is_full = full
        self._recorders: list[EventRecorder] = []
        self._namespaces = NamespaceController(client("namespace-controller"), ca_file.read_text())
        self._garbage = GarbageCollector(lister, client("generic-garbage-collector"))
        jobs = JobController(*tools("job-controller"))
        definitions = CustomResourceDefinitionController(
            client("customresourcedefinition-controller")
        )
        disruption = DisruptionController(lister, client("disruption-controller"))
        slices = EndpointSliceController(lister, client("endpointslice-controller"))
        self._reconcilers: Mapping[str, Reconcile] = {
            "APIService": writing(small_controllers.check_api_service, "apiservice-controller"),
            "CronJob": CronJobController(*tools("cronjob-controller")).reconcile,
            "CustomResourceDefinition": definitions.reconcile,
            "DaemonSet": DaemonSetController(*tools("daemon-set-controller")).reconcile,
            "Deployment": DeploymentController(*tools("deployment-controller")).reconcile,
            "Job": jobs.reconcile,
            "Namespace": self._namespaces.reconcile,
            "Node": writing(small_controllers.taint_node, "node-controller"),
            "PersistentVolumeClaim": writing(
                small_controllers.bind_claim, "persistent-volume-binder"
            ),
            "PodDisruptionBudget": disruption.reconcile,
            "ReplicaSet": replicas("ReplicaSet", "replicaset-controller"),
            "ReplicationController": replicas("ReplicationController", "replication-controller"),
            "ResourceQuota": writing(small_controllers.count_quota, "resourcequota-controller"),
            "Service": slices.reconcile,
            "StatefulSet": StatefulSetController(*tools("statefulset-controller")).reconcile,
            _TRACKED_POD: jobs.release_orphan,
            _EVENT_TTL: writing(small_controllers.delete_old_events, "node-controller"),
        }
        self._queue: WorkQueue | None = None

    def prepare(self) -> None:
        """Create the default objects of every namespace before the first request."""
        if not self._is_full:
            return
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
        if not self._is_full and key[0] not in _OF_API_SERVER:
            return None
        if key[0].startswith(_GARBAGE):
            await self._garbage.reconcile(key[0].removeprefix(_GARBAGE), key[1], key[2])
            return None
        return await self._reconcilers[key[0]](key[1], key[2])

    def _enqueue(self, change: Change) -> None:
        """Enqueue every key that a change may concern."""
        if self._queue is None:
            return
        queue, (kind, namespace, _) = self._queue, change.key
        if kind in self._reconcilers:
            queue.add(change.key, self._delay())
        for key in filter(None, map(self._lister.key_of, change.controllers)):
            if key[0] in self._reconcilers:
                queue.add(key, self._delay())
        if kind == "Pod":
            self._enqueue_for_pod(queue, change)
        if kind == "Node":
            self._enqueue_all(queue, "DaemonSet")
        if namespace:
            self._enqueue_for_namespace(queue, change)
        if kind == DEFINITION.key and change.deleted:  # another definition may take its names
            for entry in self._store.list_stored(DEFINITION):
                queue.add((kind, "", entry.name))
        if change.deleted and (definition := self._lister.definition_of(kind)):
            queue.add((DEFINITION.key, "", definition), self._delay())
        if change.affects_garbage_collection:
            self._enqueue_for_garbage_collector(queue, change)

    def _enqueue_for_namespace(self, queue: WorkQueue, change: Change) -> None:
        kind, namespace, name = change.key
        self._enqueue_all(queue, "ResourceQuota", namespace)
        if kind in ("ConfigMap", "ServiceAccount") and name in (ACCOUNT, ROOT_CA):
            queue.add(("Namespace", "", namespace))
        if change.deleted:
            queue.add(("Namespace", "", namespace), self._delay())

    def _enqueue_all(self, queue: WorkQueue, kind: str, namespace: str = "") -> None:
        for entry in self._store.list_stored(kind_by_name(kind), namespace):
            queue.add((kind, entry.namespace, entry.name), self._delay())

    def _delay(self) -> float:
        return min(len(self._lister) / _PODS_PER_SECOND, _MAX_DELAY_SECONDS)

    def _enqueue_for_pod(self, queue: WorkQueue, change: Change) -> None:
        _, namespace, name = change.key
        for counts in ("PodDisruptionBudget", "Service"):
            self._enqueue_all(queue, counts, namespace)
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
            for kind in ("DaemonSet", "ReplicaSet", "ReplicationController", "Job", "StatefulSet"):
                self._enqueue_all(queue, kind, namespace)

    def _enqueue_for_garbage_collector(self, queue: WorkQueue, change: Change) -> None:
        kind, namespace, name = change.key
        if change.deleted:
            for key in self._lister.dependents(change.uid):
                queue.add((_GARBAGE + key[0], key[1], key[2]))
        else:
            queue.add((_GARBAGE + kind, namespace, name))
        for key in filter(None, map(self._lister.key_of, change.owners)):
            queue.add((_GARBAGE + key[0], key[1], key[2]), self._delay())
