"""Binds pods that nobody has bound: there is no scheduler in the loop, and only one node to choose.

A real scheduler, where there is one, is quicker or slower; whoever comes second gets a conflict and is right
to let it be. Pods that name another scheduler are left alone.
"""

import logging
from collections.abc import Mapping
from typing import Any

from podpass.clock import Clock, rfc3339
from podpass.kubernetes.client import STRATEGIC_PATCH, KubeClient, KubeError
from podpass.kubernetes.kubelet.event_recorder import (
    NORMAL,
    SCHEDULER,
    WARNING,
    Recorder,
    reference,
)

_log = logging.getLogger(__name__)

Pod = Mapping[str, Any]


def is_ours_to_bind(pod: Pod) -> bool:
    """Whether a pod waits for the default scheduler."""
    spec = pod["spec"]
    wanted = spec.get("schedulerName") or SCHEDULER
    return (
        not spec.get("nodeName")
        and wanted == SCHEDULER
        and not spec.get("schedulingGates")
        and "deletionTimestamp" not in pod["metadata"]
    )


def misfit(pod: Pod, labels: Mapping[str, str]) -> str:
    """Say why a pod does not fit the node, in the scheduler's words; nothing if it does."""
    selector = pod["spec"].get("nodeSelector") or {}
    if all(labels.get(key) == value for key, value in selector.items()):
        return ""
    return "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."


class Scheduler:
    """Binds pods to the one node."""

    def __init__(
        self,
        client: KubeClient,
        events: Recorder,
        node: str,
        labels: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self._client, self._events, self._node = client, events, node
        self._labels, self._clock = labels, clock

    async def bind(self, pod: Pod) -> None:
        """Bind a pod, or say why it has to wait.

        Errors:  KubeError, when it is worth trying again.
        """
        meta = pod["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}"
        if why := misfit(pod, self._labels):
            await self._refuse(pod, path, why)
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
                return  # gone, or bound by somebody else meanwhile
            raise
        where = f"{meta['namespace']}/{meta['name']}"
        message = f"Successfully assigned {where} to {self._node}"
        self._events.record(NORMAL, reference(pod), "Scheduled", message, SCHEDULER)

    async def _refuse(self, pod: Pod, path: str, why: str) -> None:
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
        self._events.record(WARNING, reference(pod), "FailedScheduling", why, SCHEDULER)
