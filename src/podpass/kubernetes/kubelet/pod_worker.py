"""One pod from its volumes to its end: does what `lifecycle` decides, and reports what became of it."""

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from podpass.kubernetes.kubelet import ephemeral, lifecycle, status
from podpass.kubernetes.kubelet.containers import Containers
from podpass.kubernetes.kubelet.context import Host
from podpass.kubernetes.kubelet.event_recorder import WARNING, reference
from podpass.kubernetes.kubelet.lifecycle import Decision
from podpass.kubernetes.kubelet.pod_directories import pod_folder
from podpass.kubernetes.kubelet.status_manager import Reporter
from podpass.kubernetes.kubelet.volume_manager import Volumes
from podpass.kubernetes.kubelet.volume_sources import VolumeError

_log = logging.getLogger(__name__)

Pod = Mapping[str, Any]

_TERMINAL = ("Succeeded", "Failed")
_LONGEST_SLEEP = 30.0  # the wall clock may jump: a laptop that slept
_RETRY_SECONDS = 2.0
_SOONEST_REFRESH = 5.0


class PodWorker:
    """Looks after one pod; `run` ends when the pod is gone."""

    def __init__(self, host: Host, pod: Pod) -> None:
        self._host, self._pod = host, pod
        self._folder = pod_folder(host, pod)
        self._plan = lifecycle.read_plan(pod["spec"])
        self._wake = asyncio.Event()
        self.containers = Containers(host, pod, self._plan, self._wake.set)
        self._volumes = Volumes(host.client, pod, self._folder / "volumes", host.node, host.clock)
        self._reporter = Reporter(host, pod, self.gone)
        self._reported: dict[str, Any] = {}
        self._mounted = self._late = self._gone = self._leaving = self._over = False
        self._compared: str | None = None
        self._mount_tries = 0
        self._retry_at = self._refresh_at = 0.0

    # ------------------------------------------------------------------------------- told by others

    def update(self, pod: Pod) -> None:
        """Take a newer version of the pod."""
        if any(
            self._pod["metadata"].get(name) != pod["metadata"].get(name)
            for name in ("labels", "annotations")
        ):
            self._refresh_at = 0.0
        self._pod = self.containers.pod = pod
        self._wake.set()

    def gone(self) -> None:
        """Learn that the pod is not in the cluster any more: what runs is ended at once."""
        self._gone = True
        self._wake.set()

    async def shut_down(self, seconds: float) -> None:
        """End all containers because the runtime ends; the pod itself lives on in the cluster."""
        self._leaving = True
        await self.containers.stop_all(seconds)

    # -------------------------------------------------------------------------------------- the loop

    async def run(self) -> None:
        """Look after the pod until it is gone."""
        reporting = asyncio.create_task(self._reporter.run())
        try:
            while not self._gone:
                self._wake.clear()
                wake_at = await self._careful_step()
                await self._sleep_until(wake_at)
            await self.containers.stop_all(0)
            shutil.rmtree(self._folder, ignore_errors=True)
        finally:
            reporting.cancel()
            await asyncio.gather(reporting, return_exceptions=True)

    async def _careful_step(self) -> float | None:
        try:
            return await self._step()
        except Exception:  # noqa: BLE001 reported with its traceback, and tried again
            # A fault of ours in one pod must not stop the others, nor this one for good.
            _log.exception("pod_step_failed", extra=self._facts())
            return self._host.clock() + _RETRY_SECONDS

    async def _step(self) -> float | None:
        now = self._host.clock()
        if self._leaving:
            return None
        if (self._pod.get("status") or {}).get(
            "phase"
        ) in _TERMINAL and not self.containers.running:
            self._finish_if_deleted()
            return None
        stopping = self._is_stopping(now)
        if not self._mounted and not stopping and not await self._mount(now):
            self._report(Decision())
            return self._retry_at
        decision = lifecycle.decide(
            self._plan, self.containers.records, now, self._host.rule, stopping=stopping
        )
        self._over = decision.over
        for name in decision.stop:
            self.containers.stop(name, self.containers.grace())
        for name in decision.start:
            await self.containers.start(name, self._volumes.paths)
        self._report(decision)
        if decision.over:
            self._finish_if_deleted()
        if decision.start:
            return now
        return min(self._times(decision, now), default=None)

    def _times(self, decision: Decision, now: float) -> list[float]:
        """List the times at which something may have to be done."""
        times = [] if decision.wake_at is None else [decision.wake_at]
        deadline = self._deadline()
        if deadline is not None and deadline > now:
            times.append(deadline)
        if self._mounted and not decision.over:
            times.append(self._refresh_at)
        return times

    async def _sleep_until(self, at: float | None) -> None:
        """Sleep, but not past a refresh of the volumes, which is done here."""
        now = self._host.clock()
        seconds = _LONGEST_SLEEP if at is None else min(max(0.0, at - now), _LONGEST_SLEEP)
        with contextlib.suppress(TimeoutError):
            # Not `wait_for`: on Python 3.11 it forgets that it was cancelled when woken in the same turn.
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        # Also while a container waits out its back-off: it must not start again on an expired token.
        if self._mounted and not self._over and self._host.clock() >= self._refresh_at:
            await self._refresh()

    async def _refresh(self) -> None:
        await self._volumes.refresh(self._pod)
        self._plan_refresh()

    def _plan_refresh(self) -> None:
        now = self._host.clock()
        due = [now + self._host.refresh_seconds]
        if self._volumes.renew_at is not None:
            due.append(self._volumes.renew_at)
        # A renewal that failed is due already; it must not be asked for in a tight loop.
        self._refresh_at = max(min(due), now + min(_SOONEST_REFRESH, self._host.refresh_seconds))

    def _is_stopping(self, now: float) -> bool:
        deadline = self._deadline()
        if deadline is not None and now >= deadline and not self._late:
            self._late = True
            self._event(WARNING, status.DEADLINE_REASON, status.DEADLINE_MESSAGE)
        return self._late or "deletionTimestamp" in self._pod["metadata"]

    def _deadline(self) -> float | None:
        """Give when the pod has run for too long (epoch seconds)."""
        seconds = self._pod["spec"].get("activeDeadlineSeconds")
        since = (self._pod.get("status") or {}).get("startTime") or self._reported.get("startTime")
        if seconds is None or since is None:
            return None
        return datetime.fromisoformat(since).timestamp() + float(seconds)

    def _finish_if_deleted(self) -> None:
        if "deletionTimestamp" in self._pod["metadata"]:
            self._reporter.finish()

    # --------------------------------------------------------------------------------------- volumes

    async def _mount(self, now: float) -> bool:
        if now < self._retry_at:
            return False
        try:
            async with self._host.turns:
                await self._volumes.set_up(self._pod)
        except VolumeError as exc:
            self._event(WARNING, "FailedMount", exc.message)
            self._retry_at = now + min(0.5 * 2**self._mount_tries, 30.0)
            self._mount_tries = min(self._mount_tries + 1, 10)
            return False
        self._mounted = True
        self._plan_refresh()
        return True

    # ------------------------------------------------------------------------------------- what is told

    def _report(self, decision: Decision) -> None:
        view = status.View(
            plan=self._plan,
            records=self.containers.records,
            backing_off=decision.backing_off,
            address=self._host.node.address,
            now=self._host.clock(),
            mounted=self._mounted,
            over=decision.over,
            late=self._late,
        )
        before = status.merged(self._pod.get("status") or {}, self._reported)
        pod = {**self._pod, "status": before}
        for name in ephemeral.unanswered(pod):
            self._event(WARNING, ephemeral.REASON, ephemeral.event_message(name))
        made = status.build(pod, view)
        if made != self._reported or self._is_contradicted():
            self._reported = made
            self._reporter.report(made)

    def _is_contradicted(self) -> bool:
        """Tell whether the cluster's newest pod is not as we told; once for each version of it.

        The node controller takes readiness from the pods of a node that it did not hear of, and gives it back
        to none.
        """
        version = self._pod["metadata"].get("resourceVersion")
        if version == self._compared:
            return False
        self._compared = version
        return status.is_contradicted(self._reported, self._pod.get("status") or {})

    def _event(self, kind: str, reason: str, message: str) -> None:
        self._host.events.record(kind, reference(self._pod), reason, message)

    def _facts(self) -> dict[str, str]:
        meta = self._pod["metadata"]
        return {"pod": meta["name"], "namespace": meta["namespace"]}
