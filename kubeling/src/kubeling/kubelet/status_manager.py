"""Send the status of a pod to the API server in the background, and delete the pod after its last status."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from kubeling.api import ApiError, BackOff
from kubeling.kubelet.context import KubeletContext

_log = logging.getLogger(__name__)

_MAX_WAIT_SECONDS = 5.0
_PERMANENT_ERRORS = (400, 403, 413, 422)


class StatusManager:
    """Sends the status of one pod; an older status that was not sent yet is replaced by a newer one."""

    def __init__(
        self, context: KubeletContext, pod: Mapping[str, Any], on_deleted: Callable[[], None]
    ) -> None:
        meta = pod["metadata"]
        self._client, self._concurrency = context.client, context.concurrency
        self._on_deleted = on_deleted
        self._name, self._namespace, self._uid = meta["name"], meta["namespace"], meta["uid"]
        self._status: dict[str, Any] | None = None
        self._delete_requested = False
        self._changed = asyncio.Event()

    def set_status(self, status: dict[str, Any]) -> None:
        """Queue a status."""
        self._status = status
        self._changed.set()

    def delete_pod(self) -> None:
        """Delete the pod object after its last status is sent."""
        self._delete_requested = True
        self._changed.set()

    async def run(self) -> None:
        """Send statuses until the pod object is deleted, or until cancelled."""
        back_off = BackOff(last=_MAX_WAIT_SECONDS)
        while True:
            await self._changed.wait()
            try:
                async with self._concurrency:
                    done = await self._send()
                if done:
                    return
            except ApiError as exc:
                if exc.status in (404, 409):
                    # The pod was deleted, or another pod has its name now.
                    self._on_deleted()
                    return
                facts = {"pod": self._name, "namespace": self._namespace, "status": exc.status}
                _log.warning("pod_status_update_failed", extra={**facts, "reason": exc.reason})
                if exc.status in _PERMANENT_ERRORS:
                    self._status = None  # the API server would refuse it again
                if self._delete_requested or self._status is not None:
                    self._changed.set()
                await back_off.wait()
            else:
                back_off.reset()

    async def _send(self) -> bool:
        """Send the newest status, then delete the pod if requested; return whether it was deleted."""
        self._changed.clear()
        path = f"/api/v1/namespaces/{self._namespace}/pods/{self._name}"
        status, self._status = self._status, None
        if status is not None:
            try:
                # With the uid, the API server refuses a status for an older pod of this name.
                body = {"metadata": {"uid": self._uid}, "status": status}
                await self._client.patch(f"{path}/status", body)
            except ApiError:
                self._status = self._status or status
                raise
        if self._status is not None:
            return False  # a newer status, perhaps the last one, was queued while this one was sent
        if self._delete_requested:
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self._uid}}
            await self._client.delete(path, options)
        return self._delete_requested
