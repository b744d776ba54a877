"""Restart controllers one after another, and wait for each rollout, as `kubectl rollout restart` does."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from podpass.clock import Clock
from podpass.diagnose.drift.plan import ControllerRef, find_obstacle, is_selected, read_rollout
from podpass.kubernetes.client import KubeClient, KubeError
from podpass.kubernetes.client.client import STRATEGIC_PATCH
from podpass.kubernetes.objects import RESTARTABLE
from podpass.kubernetes.paths import path_of

RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
_POLL_SECONDS = 1.0
_NOT_RESTARTABLE = (
    "only Deployments, StatefulSets and DaemonSets replace their pods; create it again"
)

Report = Callable[[str], None]
Sleep = Callable[[float], Awaitable[None]]


class RestartResult(StrEnum):
    """The result for one controller; after `failed`, the following ones are `not_tried`."""

    RESTARTED = "restarted"
    WOULD_RESTART = "would_restart"
    SKIPPED = "skipped"
    FAILED = "failed"
    NOT_TRIED = "not_tried"


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """What happened to a controller, and why."""

    controller: ControllerRef
    result: RestartResult
    reason: str = ""


@dataclass(kw_only=True)
class Restarter:
    """Restarts controllers of one cluster.

    Units: `timeout` is the seconds to wait for each rollout.
    """

    client: KubeClient
    report: Report
    timeout: float
    clock: Clock
    dry_run: bool = False
    sleep: Sleep = asyncio.sleep

    async def restart_all(self, controllers: Sequence[ControllerRef]) -> list[Restart]:
        """Restart the controllers in order; stop at the first whose new pods do not become ready."""
        done: list[Restart] = []
        is_stopped = False
        for each in controllers:
            if is_stopped:
                found = Restart(controller=each, result=RestartResult.NOT_TRIED)
            else:
                found = await self._restart(each)
                is_stopped = found.result is RestartResult.FAILED
            done.append(found)
        return done

    async def _restart(self, controller: ControllerRef) -> Restart:
        def ended(result: RestartResult, reason: str = "") -> Restart:
            return Restart(controller=controller, result=result, reason=reason)

        if controller.kind not in RESTARTABLE:
            return ended(RestartResult.SKIPPED, _NOT_RESTARTABLE)
        try:
            if obstacle := await self._find_obstacle(controller):
                return ended(RestartResult.SKIPPED, obstacle)
            if self.dry_run:
                return ended(RestartResult.WOULD_RESTART)
            self.report(f"restarting {controller}")
            at = datetime.fromtimestamp(self.clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            change = {"spec": {"template": {"metadata": {"annotations": {RESTARTED_AT: at}}}}}
            await self.client.patch(_path(controller), change, STRATEGIC_PATCH)
            failure = await self._wait(controller)
        except KubeError as exc:
            return ended(RestartResult.FAILED, exc.message)
        return ended(RestartResult.FAILED if failure else RestartResult.RESTARTED, failure)

    async def _find_obstacle(self, controller: ControllerRef) -> str | None:
        """Return why a controller is not restarted. Raises KubeError."""
        found = await self.client.get(_path(controller))
        template = (found.get("spec") or {}).get("template") or {}
        labels = (template.get("metadata") or {}).get("labels") or {}
        path = path_of("PodDisruptionBudget", namespace=controller.namespace)
        budgets = [each for each in (await self.client.list(path))[0] if is_selected(each, labels)]
        status = found.get("status") or {}
        pods = int(status.get("replicas") or status.get("desiredNumberScheduled") or 0)
        return find_obstacle(controller.kind, found, budgets, pods)

    async def _wait(self, controller: ControllerRef) -> str:
        """Wait for a rollout; return why it failed, empty on success. Raises KubeError."""
        deadline, said = self.clock() + self.timeout, ""
        while True:
            state = read_rollout(controller.kind, await self.client.get(_path(controller)))
            if state.is_done:
                self.report(f"{controller}: all pods are new and ready")
                return ""
            if state.failure:
                return state.failure
            if state.progress != said:
                said = state.progress
                self.report(f"{controller}: {said}")
            if self.clock() >= deadline:
                return f"after {self.timeout:.0f} seconds {state.progress}"
            await self.sleep(_POLL_SECONDS)


def _path(controller: ControllerRef) -> str:
    return path_of(controller.kind, controller.name, namespace=controller.namespace)
