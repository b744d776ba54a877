"""Watch the pods of the cluster: pass unscheduled pods to the scheduler, and run workers for own pods."""

import asyncio
import logging
import shutil
from collections.abc import Sequence

from kubeling.kubelet.context import KubeletContext
from kubeling.kubelet.pending_pods import NodeCapacity, Pod
from kubeling.kubelet.pod_worker import TERMINAL_PHASES, PodWorker
from kubeling.kubelet.scheduler import NODE_PORTS, OUT_OF_PODS, Scheduler
from kubeling.tasks import cancel_all

_log = logging.getLogger(__name__)


class PodManager:
    """All pods of this node, each with a worker."""

    def __init__(
        self, context: KubeletContext, scheduler: Scheduler, capacity: NodeCapacity
    ) -> None:
        self._context, self._scheduler, self._capacity = context, scheduler, capacity
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._names: dict[tuple[str, str], str] = {}

    def find(self, namespace: str, name: str) -> PodWorker | None:
        """Return the worker of a pod by its name."""
        return self._workers.get(self._names.get((namespace, name), ""))

    def workers(self) -> Sequence[PodWorker]:
        """Return the workers of all pods."""
        return [*self._workers.values()]

    def stopped_containers(self) -> list[str]:
        """Return the containers that a signal has stopped, with pod and process."""
        return [
            f"{namespace}/{name}: {container} (process {pid})"
            for namespace, name in sorted(self._names)
            if (worker := self.find(namespace, name))
            for container, pid in worker.containers.stopped().items()
        ]

    def update_hosts(self) -> None:
        """Write /etc/hosts of every pod again."""
        for worker in self._workers.values():
            worker.update_hosts()

    async def run(self) -> None:
        """Handle the watch events of all pods until cancelled."""
        async for kind, pod in self._context.client.watch("/api/v1/pods"):
            try:
                if kind == "SYNCED":
                    self._remove_orphaned_folders()
                elif kind == "DELETED":
                    uid = pod["metadata"]["uid"]
                    self._scheduler.remove(uid)
                    self._scheduler.release(uid)
                    if worker := self._workers.get(uid):
                        worker.on_deleted()
                else:
                    self._sync_pod(pod)
            except Exception:  # noqa: BLE001 one invalid pod must not stop all others
                _log.exception(
                    "pod_event_failed", extra={"pod": pod.get("metadata", {}).get("name")}
                )

    async def watch_namespaces(self) -> None:
        """Report terminating namespaces to the scheduler, until cancelled."""
        watch = self._context.client.watch("/api/v1/namespaces", metadata_only=True)
        async for kind, namespace in watch:
            self._scheduler.on_namespace(kind, namespace)

    async def stop(self, seconds: float) -> None:
        """Stop every container with this grace period, then all workers."""
        await asyncio.gather(*(worker.stop(seconds) for worker in self._workers.values()))
        await cancel_all(self._tasks.values())

    def _sync_pod(self, pod: Pod) -> None:
        uid, node = pod["metadata"]["uid"], pod["spec"].get("nodeName")
        if not node:
            self._scheduler.add(pod)
            return
        self._scheduler.remove(uid)
        if node != self._context.node.name:
            self._scheduler.release(uid)
        elif self._is_admitted(pod):
            if worker := self._workers.get(uid):
                worker.update(pod)
            elif not self._is_pointless(pod):
                self._start_worker(uid, pod)

    def _is_admitted(self, pod: Pod) -> bool:
        """Return whether the node has a place for a pod that is bound to it; reject the pod if not."""
        status = pod.get("status") or {}
        if status.get("phase") in TERMINAL_PHASES:
            self._scheduler.release(pod["metadata"]["uid"])
            rejected = status.get("reason") in (NODE_PORTS, OUT_OF_PODS)
            if rejected and "deletionTimestamp" in pod["metadata"]:
                self._scheduler.reject(pod)
            return not rejected
        if self._capacity.admit(pod):
            return True
        self._scheduler.reject(pod)
        return False

    def _is_pointless(self, pod: Pod) -> bool:
        """Return whether a pod has not started and will be deleted soon, because its namespace is."""
        meta = pod["metadata"]
        if "deletionTimestamp" in meta or (pod.get("status") or {}).get("startTime"):
            return False
        return self._scheduler.is_terminating(meta["namespace"])

    def _start_worker(self, uid: str, pod: Pod) -> None:
        meta = pod["metadata"]
        worker = self._workers[uid] = PodWorker(self._context, pod)
        self._names[meta["namespace"], meta["name"]] = uid
        task = self._tasks[uid] = asyncio.create_task(worker.run(), name=f"pod {meta['name']}")
        task.add_done_callback(lambda done: self._on_worker_done(uid, done))

    def _on_worker_done(self, uid: str, done: asyncio.Task[None]) -> None:
        if not done.cancelled() and (error := done.exception()):
            _log.error("pod_worker_failed", exc_info=error)
        self._workers.pop(uid, None)
        self._context.addresses.release(uid)
        self._tasks.pop(uid, None)
        for key in [key for key, value in self._names.items() if value == uid]:
            del self._names[key]

    def _remove_orphaned_folders(self) -> None:
        """Remove the folders of pods that were deleted while the kubelet did not run."""
        for folder in self._context.folder.iterdir():
            if folder.is_dir() and folder.name not in self._workers:
                shutil.rmtree(folder, ignore_errors=True)
