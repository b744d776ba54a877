"""Events about pods and the node, as `kubectl describe` shows them; equal ones are counted, not repeated."""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from podpass.clock import Clock, rfc3339
from podpass.kubernetes.client import BackOff, KubeClient, KubeError

_log = logging.getLogger(__name__)

NORMAL, WARNING = "Normal", "Warning"
KUBELET, SCHEDULER = "kubelet", "default-scheduler"

_REMEMBERED = 1024
_MAX_QUEUE = 1000
_MAX_MESSAGE = 1024
_TRIES = 5
_DRAIN_SECONDS = 1.0

Reference = Mapping[str, Any]
_Key = tuple[str, ...]


@dataclass(slots=True)
class _Known:
    path: str
    count: int


def reference(item: Mapping[str, Any], container: str = "", *, init: bool = False) -> Reference:
    """Point at an object, or at one container of a pod."""
    meta = item["metadata"]
    found = {
        "kind": item.get("kind") or "Pod",
        "apiVersion": item.get("apiVersion") or "v1",
        "name": meta["name"],
        "namespace": meta.get("namespace"),
        "uid": meta.get("uid"),
        "resourceVersion": meta.get("resourceVersion"),
    }
    if container:
        field = "initContainers" if init else "containers"
        found["fieldPath"] = f"spec.{field}{{{container}}}"
    return {key: value for key, value in found.items() if value}


class Recorder:
    """Sends events in the background; they never hold up what they tell of."""

    def __init__(self, client: KubeClient, node: str, clock: Clock) -> None:
        self._client, self._node, self._clock = client, node, clock
        self._queue: asyncio.Queue[tuple[_Key, dict[str, Any]]] = asyncio.Queue(_MAX_QUEUE)
        self._known: OrderedDict[_Key, _Known] = OrderedDict()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._send_all(), name="events")

    async def stop(self) -> None:
        """Send what is queued, for a moment only, and end."""
        if self._task is None:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._queue.join(), _DRAIN_SECONDS)
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def record(
        self, kind: str, about: Reference, reason: str, message: str, component: str = KUBELET
    ) -> None:
        """Queue an event; a full queue drops it, as events are best effort."""
        message = message[:_MAX_MESSAGE]
        key = (
            str(about.get("uid")),
            str(about.get("fieldPath", "")),
            kind,
            reason,
            message,
        )
        with contextlib.suppress(asyncio.QueueFull):
            self._queue.put_nowait((key, self._event(kind, about, reason, message, component)))

    def _event(
        self, kind: str, about: Reference, reason: str, message: str, component: str
    ) -> dict[str, Any]:
        now = rfc3339(self._clock())
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{about['name']}.{time.time_ns():x}",
                "namespace": about.get("namespace") or "default",
            },
            "involvedObject": dict(about),
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": component, "host": self._node},
            "reportingComponent": component,
            "reportingInstance": self._node,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }

    async def _send_all(self) -> None:
        while True:
            key, event = await self._queue.get()
            try:
                await self._send(key, event)
            finally:
                self._queue.task_done()

    async def _send(self, key: _Key, event: dict[str, Any]) -> None:
        back_off = BackOff()
        for _ in range(_TRIES):
            try:
                await self._count_or_create(key, event)
            except KubeError as exc:
                if exc.status < 500:
                    # The namespace goes away, or we may not; either way nobody can do anything here.
                    _log.debug("event_refused", extra={"reason": event["reason"]})
                    return
                await back_off.wait()
            else:
                return

    async def _count_or_create(self, key: _Key, event: dict[str, Any]) -> None:
        if known := self._known.get(key):
            change = {"count": known.count + 1, "lastTimestamp": event["lastTimestamp"]}
            try:
                await self._client.patch(known.path, change)
            except KubeError as exc:
                if exc.status != 404:
                    raise
                del self._known[key]  # events live an hour in a real cluster
            else:
                known.count += 1
                return
        folder = f"/api/v1/namespaces/{event['metadata']['namespace']}/events"
        await self._client.create(folder, event)
        self._known[key] = _Known(f"{folder}/{event['metadata']['name']}", 1)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
