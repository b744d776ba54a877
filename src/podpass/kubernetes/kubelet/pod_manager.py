"""Follows the cluster's pods: binds those nobody has bound, and gives each of this node's a worker."""

import asyncio
import logging
import shutil
from collections.abc import Mapping
from typing import Any

from podpass.kubernetes.client import KubeError
from podpass.kubernetes.kubelet.context import Host
from podpass.kubernetes.kubelet.pod_worker import PodWorker
from podpass.kubernetes.kubelet.scheduler import Scheduler, is_ours_to_bind

_log = logging.getLogger(__name__)

Pod = Mapping[str, Any]

_RETRY_SECONDS = 1.0


class Pods:
    """All pods of this node, each with its worker."""

    def __init__(self, host: Host, scheduler: Scheduler) -> None:
        self._host, self._scheduler = host, scheduler
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._binding: dict[str, asyncio.Task[None]] = {}
        self._names: dict[tuple[str, str], str] = {}

    def find(self, namespace: str, name: str) -> PodWorker | None:
        """Find the worker of a pod by its name."""
        return self._workers.get(self._names.get((namespace, name), ""))

    async def follow(self) -> None:
        """Keep up with the cluster until cancelled."""
        async for kind, pod in self._host.client.watch("/api/v1/pods"):
            try:
                self._take(kind, pod)
            except Exception:  # noqa: BLE001 one odd pod must not stop all others
                _log.exception("pod_not_taken", extra={"pod": pod.get("metadata", {}).get("name")})

    def _take(self, kind: str, pod: Pod) -> None:
        if kind == "SYNCED":
            self._sweep_folders()
        elif kind == "DELETED":
            self._forget(pod)
        else:
            self._meet(pod)

    async def stop(self, seconds: float) -> None:
        """End every container, giving each so many seconds, and all workers."""
        await asyncio.gather(*(worker.shut_down(seconds) for worker in self._workers.values()))
        tasks = [*self._tasks.values(), *self._binding.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _meet(self, pod: Pod) -> None:
        uid = pod["metadata"]["uid"]
        if is_ours_to_bind(pod):
            if uid not in self._binding:
                self._binding[uid] = asyncio.create_task(self._bind(pod))
                self._binding[uid].add_done_callback(lambda _: self._binding.pop(uid, None))
        elif pod["spec"].get("nodeName") != self._host.node.name:
            return
        elif worker := self._workers.get(uid):
            worker.update(pod)
        else:
            self._engage(uid, pod)

    def _engage(self, uid: str, pod: Pod) -> None:
        meta = pod["metadata"]
        worker = self._workers[uid] = PodWorker(self._host, pod)
        self._names[meta["namespace"], meta["name"]] = uid
        task = self._tasks[uid] = asyncio.create_task(worker.run(), name=f"pod {meta['name']}")
        task.add_done_callback(lambda done: self._part(uid, done))

    def _part(self, uid: str, done: asyncio.Task[None]) -> None:
        if not done.cancelled() and (error := done.exception()):
            _log.error("pod_worker_failed", exc_info=error)
        self._workers.pop(uid, None)
        self._tasks.pop(uid, None)
        for key in [key for key, value in self._names.items() if value == uid]:
            del self._names[key]

    async def _bind(self, pod: Pod) -> None:
        while True:
            try:
                async with self._host.turns:
                    await self._scheduler.bind(pod)
            except KubeError as exc:
                facts = {"pod": pod["metadata"]["name"], "status": exc.status, "reason": exc.reason}
                _log.warning("pod_not_bound", extra=facts)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    def _forget(self, pod: Pod) -> None:
        if worker := self._workers.get(pod["metadata"]["uid"]):
            worker.gone()

    def _sweep_folders(self) -> None:
        """Remove what pods left that were deleted while nobody watched."""
        for folder in self._host.folder.iterdir():
            if folder.is_dir() and folder.name not in self._workers:
                shutil.rmtree(folder, ignore_errors=True)
