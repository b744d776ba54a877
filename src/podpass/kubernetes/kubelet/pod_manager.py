"""Watch the pods of the cluster: bind unscheduled pods, and run a worker for each pod of this node."""

import asyncio
import logging
import shutil
from collections.abc import Mapping
from typing import Any

from podpass.kubernetes.client import KubeError
from podpass.kubernetes.kubelet.context import KubeletContext
from podpass.kubernetes.kubelet.pod_worker import PodWorker
from podpass.kubernetes.kubelet.scheduler import Scheduler, needs_binding

_log = logging.getLogger(__name__)

Pod = Mapping[str, Any]

_RETRY_SECONDS = 1.0


class PodManager:
    """All pods of this node, each with a worker."""

    def __init__(self, context: KubeletContext, scheduler: Scheduler) -> None:
        self._context, self._scheduler = context, scheduler
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._bind_tasks: dict[str, asyncio.Task[None]] = {}
        self._names: dict[tuple[str, str], str] = {}

    def find(self, namespace: str, name: str) -> PodWorker | None:
        """Return the worker of a pod by its name."""
        return self._workers.get(self._names.get((namespace, name), ""))

    async def run(self) -> None:
        """Handle the watch events of all pods until cancelled."""
        async for kind, pod in self._context.client.watch("/api/v1/pods"):
            try:
                self._handle_event(kind, pod)
            except Exception:  # noqa: BLE001 one invalid pod must not stop all others
                _log.exception(
                    "pod_event_failed", extra={"pod": pod.get("metadata", {}).get("name")}
                )

    def _handle_event(self, kind: str, pod: Pod) -> None:
        if kind == "SYNCED":
            self._remove_orphaned_folders()
        elif kind == "DELETED":
            if worker := self._workers.get(pod["metadata"]["uid"]):
                worker.on_deleted()
        else:
            self._sync_pod(pod)

    async def stop(self, seconds: float) -> None:
        """Stop every container with this grace period, then all workers."""
        await asyncio.gather(*(worker.stop(seconds) for worker in self._workers.values()))
        tasks = [*self._tasks.values(), *self._bind_tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _sync_pod(self, pod: Pod) -> None:
        uid = pod["metadata"]["uid"]
        if needs_binding(pod):
            if uid not in self._bind_tasks:
                self._bind_tasks[uid] = asyncio.create_task(self._bind(pod))
                self._bind_tasks[uid].add_done_callback(lambda _: self._bind_tasks.pop(uid, None))
        elif pod["spec"].get("nodeName") != self._context.node.name:
            return
        elif worker := self._workers.get(uid):
            worker.update(pod)
        else:
            self._start_worker(uid, pod)

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
        self._tasks.pop(uid, None)
        for key in [key for key, value in self._names.items() if value == uid]:
            del self._names[key]

    async def _bind(self, pod: Pod) -> None:
        """Bind a pod; retry until the API server accepts or the pod cannot be bound."""
        while True:
            try:
                async with self._context.concurrency:
                    await self._scheduler.bind(pod)
            except KubeError as exc:
                facts = {"pod": pod["metadata"]["name"], "status": exc.status, "reason": exc.reason}
                _log.warning("pod_bind_failed", extra=facts)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    def _remove_orphaned_folders(self) -> None:
        """Remove the folders of pods that were deleted while the kubelet did not run."""
        for folder in self._context.folder.iterdir():
            if folder.is_dir() and folder.name not in self._workers:
                shutil.rmtree(folder, ignore_errors=True)
