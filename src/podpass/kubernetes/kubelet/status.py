"""A pod's status from its spec and its containers' records; pure, in the kubelet's words.

Source: API reference, PodStatus; conditions keep their time of change as long as they do not change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from podpass.clock import rfc3339
from podpass.kubernetes.kubelet import ephemeral, lifecycle
from podpass.kubernetes.kubelet.container_state import (
    Ended,
    Record,
    Records,
    Running,
    State,
)
from podpass.kubernetes.kubelet.lifecycle import Plan

SCHEME = "podpass://"
DEADLINE_REASON = "DeadlineExceeded"
DEADLINE_MESSAGE = "Pod was active on the node longer than the specified deadline"

_INITIALIZING = {"reason": "PodInitializing"}
_COMPLETED = "PodCompleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All a status is made from, besides the pod itself.

    Shapes:  `mounted` once volumes are there; `late` when the pod is past its deadline.
    """

    plan: Plan
    records: Records
    backing_off: frozenset[str]
    address: str
    now: float
    mounted: bool
    over: bool
    late: bool = False


def build(pod: Mapping[str, Any], view: View) -> dict[str, Any]:
    """Write the status that replaces the pod's."""
    spec, before = pod["spec"], pod.get("status") or {}
    phase = lifecycle.phase(view.plan, view.records, over=view.over, failed=view.late)
    status: dict[str, Any] = {
        "phase": phase,
        "conditions": _conditions(pod, view, phase),
        "hostIP": view.address,
        "hostIPs": [{"ip": view.address}],
        "startTime": before.get("startTime") or rfc3339(view.now),
        "containerStatuses": _statuses(pod, spec["containers"], view),
    }
    if view.mounted:
        status |= {"podIP": view.address, "podIPs": [{"ip": view.address}]}
    if spec.get("initContainers"):
        status["initContainerStatuses"] = _statuses(pod, spec["initContainers"], view)
    if told := ephemeral.statuses(pod):
        status["ephemeralContainerStatuses"] = told
    if view.late:
        status |= {"reason": DEADLINE_REASON, "message": DEADLINE_MESSAGE}
    return status


def merged(seen: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """Lay what we told last over what we saw last, which may be older; others' conditions stay."""
    own = [c for c in told.get("conditions") or [] if c["type"] in _OWN]
    others = [c for c in seen.get("conditions") or [] if not own or c["type"] not in _OWN]
    return {**seen, **told, "conditions": others + own}


def is_contradicted(told: Mapping[str, Any], seen: Mapping[str, Any]) -> bool:
    """Tell whether somebody wrote another of our own conditions over what we told."""
    own = {c["type"]: c["status"] for c in told.get("conditions") or [] if c["type"] in _OWN}
    return any(
        own.get(each["type"], each.get("status")) != each.get("status")
        for each in seen.get("conditions") or []
    )


def _statuses(
    pod: Mapping[str, Any], containers: Sequence[Mapping[str, Any]], view: View
) -> list[dict[str, Any]]:
    return [_status(pod, container, view) for container in containers]


def _status(pod: Mapping[str, Any], container: Mapping[str, Any], view: View) -> dict[str, Any]:
    name = container["name"]
    record = view.records[name]
    backing_off = name in view.backing_off and isinstance(record.state, Ended)
    state = _back_off(pod, name, record) if backing_off else _state(record.state)
    if name in view.plan.mains and not lifecycle.initialized(view.plan, view.records):
        state = {"waiting": _INITIALIZING}
    last = record.previous if backing_off else record.last
    current = record.state if isinstance(record.state, Running | Ended) else record.last
    return {
        "name": name,
        "state": state,
        "lastState": _state(last) if last else {},
        "ready": record.ready,
        "started": record.started,
        "restartCount": record.restarts,
        "image": container.get("image") or "",
        "imageID": "",
        **({"containerID": SCHEME + current.container_id} if current else {}),
    }


def _state(state: State) -> dict[str, Any]:
    if isinstance(state, Running):
        return {"running": {"startedAt": rfc3339(state.started_at)}}
    if isinstance(state, Ended):
        ended: dict[str, Any] = {
            "exitCode": state.code,
            "reason": state.reason,
            "startedAt": rfc3339(state.started_at) if state.started_at else None,
            "finishedAt": rfc3339(state.finished_at) if state.finished_at else None,
            "containerID": SCHEME + state.container_id if state.container_id else None,
            "message": state.message or None,
        }
        return {"terminated": {key: value for key, value in ended.items() if value is not None}}
    waiting = {"reason": state.reason}
    if state.message:
        waiting["message"] = state.message
    return {"waiting": waiting}


def _back_off(pod: Mapping[str, Any], name: str, record: Record) -> dict[str, Any]:
    return {
        "waiting": {"reason": "CrashLoopBackOff", "message": back_off_message(pod, name, record)}
    }


def back_off_message(pod: Mapping[str, Any], name: str, record: Record) -> str:
    meta = pod["metadata"]
    where = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
    return f"back-off {span(record.delay)} restarting failed container={name} pod={where}"


def span(seconds: float) -> str:
    """Write a duration as Go does: `40s`, `2m40s`."""
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"


_OWN = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
_Truth = tuple[bool, dict[str, str]]


def _conditions(pod: Mapping[str, Any], view: View, phase: str) -> list[dict[str, Any]]:
    before = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or []}
    containers, ready = _readiness(pod, view, before, phase)
    truths: dict[str, _Truth] = {
        "PodReadyToStartContainers": (view.mounted and not view.over, {}),
        "Initialized": _initialization(view, phase),
        "Ready": ready,
        "ContainersReady": containers,
        "PodScheduled": (True, {}),
    }
    # Other conditions belong to somebody else and stay.
    kept = [condition for kind, condition in before.items() if kind not in truths]
    return kept + [
        _condition(kind, truth, before.get(kind), view.now) for kind, truth in truths.items()
    ]


def _readiness(
    pod: Mapping[str, Any], view: View, before: Mapping[str, Any], phase: str
) -> tuple[_Truth, _Truth]:
    """Say whether the containers are ready, and whether the pod is, which may have further gates."""
    if phase in ("Succeeded", "Failed"):
        over = (False, {"reason": _COMPLETED if phase == "Succeeded" else "PodFailed"})
        return over, over
    plan = view.plan
    probed = [*(n for n in plan.inits if n in plan.sidecars), *plan.mains]
    unready = [name for name in probed if not view.records[name].ready]
    containers = _unless(unready, "ContainersNotReady", "containers with unready status: [{}]")
    gates = [
        gate["conditionType"]
        for gate in pod["spec"].get("readinessGates") or []
        if before.get(gate["conditionType"], {}).get("status") != "True"
    ]
    closed = _unless(gates, "ReadinessGatesNotReady", "readiness gates that are not True: [{}]")
    return containers, closed if containers[0] else containers


def _initialization(view: View, phase: str) -> _Truth:
    if phase == "Succeeded":
        return True, {"reason": _COMPLETED}
    if lifecycle.initialized(view.plan, view.records):
        return True, {}
    return _unless(
        lifecycle.unfinished_inits(view.plan, view.records),
        "ContainersNotInitialized",
        "containers with incomplete status: [{}]",
    )


def _unless(names: Sequence[str], reason: str, message: str) -> _Truth:
    if not names:
        return True, {}
    return False, {"reason": reason, "message": message.format(" ".join(names))}


def _condition(
    kind: str, truth: _Truth, before: Mapping[str, Any] | None, now: float
) -> dict[str, Any]:
    holds, cause = truth
    status = "True" if holds else "False"
    changed = rfc3339(now)
    if before and before.get("status") == status:
        changed = before.get("lastTransitionTime") or changed
    return {"type": kind, "status": status, "lastTransitionTime": changed, **cause}
