"""Tells the API server a pod's status, and at its end takes the pod away; in the background, in order."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from podpass.kubernetes.client import BackOff, KubeError
from podpass.kubernetes.kubelet.context import Host

_log = logging.getLogger(__name__)

_LAST_WAIT_SECONDS = 5.0
_REFUSED = (400, 403, 413, 422)


class Reporter:
    """One pod's line to the API server: only the newest status counts."""

    def __init__(self, host: Host, pod: Mapping[str, Any], gone: Callable[[], None]) -> None:
        meta = pod["metadata"]
        self._client, self._turns, self._gone = host.client, host.turns, gone
        self._name, self._namespace, self._uid = meta["name"], meta["namespace"], meta["uid"]
        self._status: dict[str, Any] | None = None
        self._finish = False
        self._news = asyncio.Event()

    def report(self, status: dict[str, Any]) -> None:
        self._status = status
        self._news.set()

    def finish(self) -> None:
        """Take the pod away once its last status is told."""
        self._finish = True
        self._news.set()

    async def run(self) -> None:
        """Send until the pod is gone, or cancelled."""
        back_off = BackOff(last=_LAST_WAIT_SECONDS)
        while True:
            await self._news.wait()
            try:
                async with self._turns:
                    done = await self._send()
                if done:
                    return
            except KubeError as exc:
                if exc.status in (404, 409):
                    # Deleted, or another pod took its name: nobody waits for this one's status.
                    self._gone()
                    return
                self._complain(exc)
                if exc.status in _REFUSED:
                    self._status = None  # it would be refused for ever
                if self._finish or self._status is not None:
                    self._news.set()
                await back_off.wait()
            else:
                back_off.reset()

    async def _send(self) -> bool:
        self._news.clear()
        path = f"/api/v1/namespaces/{self._namespace}/pods/{self._name}"
        status, self._status = self._status, None
        if status is not None:
            try:
                # The uid makes the API server refuse a status meant for an older pod of this name.
                body = {"metadata": {"uid": self._uid}, "status": status}
                await self._client.patch(f"{path}/status", body)
            except KubeError:
                self._status = self._status or status
                raise
        if self._finish:
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self._uid}}
            await self._client.delete(path, options)
        return self._finish

    def _complain(self, exc: KubeError) -> None:
        facts = {"pod": self._name, "namespace": self._namespace, "status": exc.status}
        _log.warning("pod_status_not_told", extra={**facts, "reason": exc.reason})
