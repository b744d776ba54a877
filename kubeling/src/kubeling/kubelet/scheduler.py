"""Bind unscheduled pods to the node of this kubelet, because the instance has no scheduler and only one node.

The node takes as many pods as its capacity says. The others wait, and the namespace with the fewest pods on
the node gets the next place. If the cluster also has a real scheduler, the second of the two gets a conflict
and ignores it. Pods with another schedulerName are not bound.
"""

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from typing import Any

from kubeling.api import STRATEGIC_PATCH, Api, ApiError
from kubeling.clock import Clock, rfc3339
from kubeling.event_recorder import NORMAL, WARNING, EventRecorder, object_reference
from kubeling.kubelet.pending_pods import NodeCapacity, PendingPods, Pod
from kubeling.tasks import cancel_all

_log = logging.getLogger(__name__)

SCHEDULER = "default-scheduler"
TOO_MANY_PODS = "0/1 nodes are available: 1 Too many pods."
OUT_OF_PODS, NODE_PORTS = "OutOfpods", "NodePorts"
PORTS_IN_USE = (
    "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
)
# A namespace of thousands of pods must not delay every other client of the API server.
_MAX_REQUESTS = 8
_RETRY_SECONDS = 1.0


def needs_binding(pod: Pod) -> bool:
    """Return whether a pod waits for the default scheduler."""
    spec = pod["spec"]
    scheduler = spec.get("schedulerName") or SCHEDULER
    return (
        not spec.get("nodeName")
        and scheduler == SCHEDULER
        and not spec.get("schedulingGates")
        and "deletionTimestamp" not in pod["metadata"]
    )


def unschedulable_reason(pod: Pod, labels: Mapping[str, str]) -> str:
    """Return the message of kube-scheduler if the pod does not fit the node; else an empty string."""
    selector = pod["spec"].get("nodeSelector") or {}
    if all(labels.get(key) == value for key, value in selector.items()):
        return ""
    return "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."


def is_reported(pod: Pod, why: str) -> bool:
    """Return whether the pod's condition PodScheduled has this message already."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(c["type"] == "PodScheduled" and c.get("message") == why for c in conditions)


class Scheduler:
    """Binds pods to the node, and rejects pods that name the node themselves and exceed its capacity."""

    def __init__(
        self,
        client: Api,
        recorder: EventRecorder,
        node: str,
        labels: Mapping[str, str],
        capacity: NodeCapacity,
        clock: Clock,
    ) -> None:
        self._client, self._recorder, self._node = client, recorder, node
        self._labels, self._capacity, self._clock = labels, capacity, clock
        self._pending, self._unreported = PendingPods(), PendingPods()
        self._unfit, self._rejected = PendingPods(), PendingPods()
        self._terminating: set[str] = set()
        self._binding: dict[str, Pod] = {}
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, pod: Pod) -> None:
        """Add or update a pod that is not bound to a node."""
        uid = pod["metadata"]["uid"]
        if uid in self._binding:
            self._binding[uid] = pod
        elif not needs_binding(pod):
            self.remove(uid)
        elif why := unschedulable_reason(pod, self._labels):
            if not is_reported(pod, why):
                self._unfit.put(pod)
        else:
            self._pending.put(pod)
            if not is_reported(pod, TOO_MANY_PODS):
                self._unreported.put(pod)
        self._changed.set()

    def remove(self, uid: str) -> None:
        """Stop tracking a pod that is bound or deleted."""
        for queue in (self._pending, self._unreported, self._unfit, self._rejected):
            queue.remove(uid)
        self._binding.pop(uid, None)

    def reject(self, pod: Pod) -> None:
        """Mark a pod that exceeds the capacity of its node as failed, or finish its deletion."""
        self._rejected.put(pod)
        self._changed.set()

    def release(self, uid: str) -> None:
        """Release the node capacity of an ended or deleted pod, and bind the next pod."""
        if self._capacity.release(uid):
            self._changed.set()

    def on_namespace(self, kind: str, namespace: Mapping[str, Any]) -> None:
        """Handle a watch event of a namespace: pods of one that is being deleted are not bound."""
        meta = namespace.get("metadata") or {}
        if kind != "DELETED" and "deletionTimestamp" in meta:
            self._terminating.add(meta["name"])
        elif kind != "SYNCED":
            self._terminating.discard(meta["name"])
            self._changed.set()

    def is_terminating(self, namespace: str) -> bool:
        return namespace in self._terminating

    async def run(self) -> None:
        """Bind, report and reject pods until cancelled."""
        slots = asyncio.Semaphore(_MAX_REQUESTS)
        try:
            while True:
                await slots.acquire()
                while (work := self._next()) is None:
                    self._changed.clear()
                    await self._changed.wait()
                task = asyncio.create_task(self._try(work))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                task.add_done_callback(lambda _: slots.release())
        finally:
            await cancel_all(self._tasks)

    def _next(self) -> Coroutine[Any, Any, None] | None:
        """Return the next request to send: bindings first, each kind fairly between namespaces."""
        if not self._capacity.is_full:
            pod = self._pending.pop(self._capacity.used, self._terminating)
            if pod is not None:
                uid = pod["metadata"]["uid"]
                self._unreported.remove(uid)
                self._capacity.reserve(pod)
                self._binding[uid] = pod
                return self._bind(pod)
        elif pod := self._unreported.pop({}, self._terminating):
            return self._report_unschedulable(pod, TOO_MANY_PODS)
        if pod := self._unfit.pop({}):
            return self._report_unschedulable(pod, unschedulable_reason(pod, self._labels))
        if pod := self._rejected.pop({}):
            return self._reject(pod)
        return None

    async def _try(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except ApiError as exc:
            if exc.status != 404:  # deleted
                facts = {"status": exc.status, "reason": exc.reason}
                _log.warning("pod_schedule_report_failed", extra=facts)
        except Exception:  # noqa: BLE001 one invalid pod must not stop all others
            _log.exception("pod_schedule_failed")

    async def _bind(self, pod: Pod) -> None:
        meta = pod["metadata"]
        uid = meta["uid"]
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta["name"], "namespace": meta["namespace"], "uid": uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self._node},
        }
        try:
            await self._client.create(f"{_path(pod)}/binding", body)
        except ApiError as exc:
            self._capacity.cancel(uid)
            if exc.status in (404, 409):  # deleted, or already bound by another scheduler
                self._binding.pop(uid, None)
                return
            facts = {"pod": meta["name"], "status": exc.status, "reason": exc.reason}
            _log.warning("pod_bind_failed", extra=facts)
            await asyncio.sleep(_RETRY_SECONDS)
            if newest := self._binding.pop(uid, None):
                self.add(newest)
            return
        finally:
            self._changed.set()
        message = f"Successfully assigned {meta['namespace']}/{meta['name']} to {self._node}"
        self._record(pod, NORMAL, "Scheduled", message)

    async def _report_unschedulable(self, pod: Pod, why: str) -> None:
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": why,
            "lastTransitionTime": rfc3339(self._clock()),
        }
        body = {"status": {"conditions": [condition]}}
        await self._client.patch(f"{_path(pod)}/status", body, STRATEGIC_PATCH)
        self._record(pod, WARNING, "FailedScheduling", why)

    async def _reject(self, pod: Pod) -> None:
        if "deletionTimestamp" in pod["metadata"]:
            options = {
                "gracePeriodSeconds": 0,
                "preconditions": {"uid": pod["metadata"]["uid"]},
            }
            await self._client.delete(_path(pod), options)
            return
        reason, why = (
            OUT_OF_PODS,
            (
                "Node didn't have enough resource: pods, requested: 1,"
                f" used: {self._capacity.count}, capacity: {self._capacity.max_pods}"
            ),
        )
        if self._capacity.used_ports(pod):
            reason, why = NODE_PORTS, PORTS_IN_USE
        status = {"phase": "Failed", "reason": reason, "message": f"Pod was rejected: {why}"}
        body = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}
        await self._client.patch(f"{_path(pod)}/status", body)
        self._recorder.record(object_reference(pod), WARNING, reason, why)

    def _record(self, pod: Pod, type_: str, reason: str, message: str) -> None:
        self._recorder.record(object_reference(pod), type_, reason, message, component=SCHEDULER)


def _path(pod: Pod) -> str:
    meta = pod["metadata"]
    return f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
