"""Bind unscheduled pods to the node of this kubelet, because the instance has no scheduler and only one node.

If the cluster also has a real scheduler, the second of the two gets a conflict and ignores it. Pods with
another schedulerName are not bound.
"""

from collections.abc import Mapping
from typing import Any

from podpass.clock import Clock, rfc3339
from podpass.kubernetes.client import STRATEGIC_PATCH, KubeClient, KubeError
from podpass.kubernetes.client.event_recorder import (
    NORMAL,
    WARNING,
    EventRecorder,
    object_reference,
)

Pod = Mapping[str, Any]

SCHEDULER = "default-scheduler"


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


class Scheduler:
    """Binds pods to the node."""

    def __init__(
        self,
        client: KubeClient,
        recorder: EventRecorder,
        node: str,
        labels: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self._client, self._recorder, self._node = client, recorder, node
        self._labels, self._clock = labels, clock

    async def bind(self, pod: Pod) -> None:
        """Bind a pod, or report that it is unschedulable.

        Errors:  KubeError if a retry may succeed.
        """
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        if why := unschedulable_reason(pod, self._labels):
            await self._report_unschedulable(pod, path, why)
            return
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self._node},
        }
        try:
            await self._client.create(f"{path}/binding", body)
        except KubeError as exc:
            if exc.status in (404, 409):
                return  # deleted, or already bound by another scheduler
            raise
        name = f"{meta['namespace']}/{meta['name']}"
        message = f"Successfully assigned {name} to {self._node}"
        self._recorder.record(
            object_reference(pod), NORMAL, "Scheduled", message, component=SCHEDULER
        )

    async def _report_unschedulable(self, pod: Pod, path: str, why: str) -> None:
        for condition in (pod.get("status") or {}).get("conditions") or []:
            if condition["type"] == "PodScheduled" and condition.get("message") == why:
                return
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": why,
            "lastTransitionTime": rfc3339(self._clock()),
        }
        body = {"status": {"conditions": [condition]}}
        await self._client.patch(f"{path}/status", body, STRATEGIC_PATCH)
        self._recorder.record(
            object_reference(pod), WARNING, "FailedScheduling", why, component=SCHEDULER
        )
