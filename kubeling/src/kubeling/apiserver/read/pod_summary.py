"""The summary of a pod in `kubectl get pods`: ready containers, status and restarts.

Source: k8s.io/kubernetes v1.34 pkg/printers/internalversion, printPod.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSummary:
    """The summary of a pod; `restarted` is the time of the last restart, empty if there was none."""

    ready: int
    total: int
    reason: str
    restarts: int
    restarted: str


def summarize(pod: Object) -> PodSummary:
    """Summarize a pod."""
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    sidecars = _sidecars(spec)
    reason = status.get("reason") or status.get("phase") or "Unknown"
    if _condition(status, "PodScheduled").get("reason") == "SchedulingGated":
        reason = "SchedulingGated"
    starting, started_sidecars = _initializing(spec, status, sidecars)
    counted = status.get("initContainerStatuses") or []
    ready = started_sidecars
    if starting is not None:
        reason = starting
    if starting is None or _condition(status, "Initialized").get("status") == "True":
        running, reason = _running(status, reason)
        ready += running
        main = status.get("containerStatuses") or []
        counted = [*main, *(each for each in counted if each.get("name") in sidecars)]
    return PodSummary(
        ready=ready,
        total=len(spec.get("containers") or ()) + len(sidecars),
        reason=_terminating(pod, status) or reason,
        restarts=sum(each.get("restartCount", 0) for each in counted),
        restarted=max((_finished(each) for each in counted), default=""),
    )


def _sidecars(spec: Object) -> set[str]:
    init = spec.get("initContainers") or ()
    return {each["name"] for each in init if each.get("restartPolicy") == "Always"}


def _condition(status: Object, kind: str) -> Object:
    conditions = status.get("conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), {})


def _finished(container: Object) -> str:
    terminated = (container.get("lastState") or {}).get("terminated") or {}
    return terminated.get("finishedAt") or ""


def _terminating(pod: Object, status: Object) -> str:
    if not (pod.get("metadata") or {}).get("deletionTimestamp"):
        return ""
    if status.get("reason") == "NodeLost":
        return "Unknown"
    return "" if status.get("phase") in ("Failed", "Succeeded") else "Terminating"


def _initializing(spec: Object, status: Object, sidecars: set[str]) -> tuple[str | None, int]:
    """Return the reason of the current init container (None after the last), and the ready sidecars."""
    ready = 0
    for at, each in enumerate(status.get("initContainerStatuses") or ()):
        state = each.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting") or {}
        if terminated and terminated.get("exitCode", 0) == 0:
            continue
        if each.get("name") in sidecars and each.get("started"):
            ready += bool(each.get("ready"))
            continue
        if terminated:
            return "Init:" + _termination_reason(terminated), ready
        if waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}", ready
        return f"Init:{at}/{len(spec.get('initContainers') or ())}", ready
    return None, ready


def _termination_reason(state: Object) -> str:
    if state.get("reason"):
        return str(state["reason"])
    return f"Signal:{state['signal']}" if state.get("signal") else f"ExitCode:{state['exitCode']}"


def _running(status: Object, reason: str) -> tuple[int, str]:
    """Count the ready containers; the first waiting or terminated container gives the reason."""
    ready = 0
    for each in reversed(status.get("containerStatuses") or ()):
        state = each.get("state") or {}
        if (state.get("waiting") or {}).get("reason"):
            reason = state["waiting"]["reason"]
        elif state.get("terminated"):
            reason = _termination_reason(state["terminated"])
        elif each.get("ready") and state.get("running") is not None:
            ready += 1
    if reason == "Completed" and ready:
        is_ready = _condition(status, "Ready").get("status") == "True"
        reason = "Running" if is_ready else "NotReady"
    return ready, reason
