"""Build the status of a pod from its spec and the records of its containers, as the kubelet does. Pure.

Source: API reference, PodStatus. A condition keeps its lastTransitionTime until its status changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubeling.clock import rfc3339
from kubeling.kubelet import lifecycle
from kubeling.kubelet.container_state import (
    ContainerRecord,
    ContainerRecords,
    Running,
    State,
    Terminated,
    Waiting,
)
from kubeling.kubelet.lifecycle import PodPlan

# An ephemeral container, which `kubectl debug` adds, joins the namespaces of another container, but here
# containers are plain processes. The API accepts it, and the kubelet does not run it. The status and an event
# report this, so that `kubectl debug` does not wait without a message.
EPHEMERAL_REASON = "EphemeralContainersNotRun"
_EPHEMERAL_MESSAGE = (
    "ephemeral containers are not run here: pods are processes of this machine; inspect them with the tools "
    "of this machine, or debug a copy: kubectl debug POD --copy-to=NAME"
)

Pod = Mapping[str, Any]


def build_ephemeral_statuses(pod: Pod) -> list[dict[str, Any]]:
    """Build the statuses of the ephemeral containers of a pod: waiting, with the reason."""
    return [
        {
            "name": each["name"],
            "state": {"waiting": {"reason": EPHEMERAL_REASON, "message": _EPHEMERAL_MESSAGE}},
            "lastState": {},
            "ready": False,
            "restartCount": 0,
            "image": each.get("image") or "",
            "imageID": "",
        }
        for each in _ephemeral_containers(pod)
    ]


def unreported_containers(pod: Pod) -> list[str]:
    """Return the names of the ephemeral containers that are not in the status yet."""
    status = pod.get("status") or {}
    reported = {each["name"] for each in status.get("ephemeralContainerStatuses") or []}
    return [each["name"] for each in _ephemeral_containers(pod) if each["name"] not in reported]


def ephemeral_event_message(name: str) -> str:
    return f"Container {name} is not started: {_EPHEMERAL_MESSAGE}"


def _ephemeral_containers(pod: Pod) -> list[Mapping[str, Any]]:
    return pod["spec"].get("ephemeralContainers") or []


SCHEME = "kubeling://"
DEADLINE_REASON = "DeadlineExceeded"
DEADLINE_MESSAGE = "Pod was active on the node longer than the specified deadline"

_INITIALIZING = {"reason": "PodInitializing"}
_COMPLETED = "PodCompleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusInput:
    """The inputs of a pod status, apart from the pod.

    `mounted` is true if the volumes are set up; `finished` is true if no container will run again.
    """

    plan: PodPlan
    records: ContainerRecords
    backing_off: frozenset[str]
    address: str
    pod_address: str
    now: float
    mounted: bool
    finished: bool
    deadline_exceeded: bool = False


def build_status(pod: Mapping[str, Any], view: StatusInput) -> dict[str, Any]:
    """Build the status that replaces the status of the pod."""
    spec, before = pod["spec"], pod.get("status") or {}
    phase = lifecycle.pod_phase(
        view.plan, view.records, finished=view.finished, failed=view.deadline_exceeded
    )
    status: dict[str, Any] = {
        "phase": phase,
        "conditions": _build_conditions(pod, view, phase),
        "hostIP": view.address,
        "hostIPs": [{"ip": view.address}],
        "startTime": before.get("startTime") or rfc3339(view.now),
        "containerStatuses": _container_statuses(pod, spec["containers"], view),
    }
    if view.mounted:
        status |= {"podIP": view.pod_address, "podIPs": [{"ip": view.pod_address}]}
    if spec.get("initContainers"):
        status["initContainerStatuses"] = _container_statuses(pod, spec["initContainers"], view)
    if ephemeral_statuses := build_ephemeral_statuses(pod):
        status["ephemeralContainerStatuses"] = ephemeral_statuses
    if view.deadline_exceeded:
        status |= {"reason": DEADLINE_REASON, "message": DEADLINE_MESSAGE}
    return status


def merge_status(observed: Mapping[str, Any], reported: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the reported status into the observed one; conditions of other writers do not change."""
    own = [c for c in reported.get("conditions") or [] if c["type"] in _OWN]
    others = [c for c in observed.get("conditions") or [] if not own or c["type"] not in _OWN]
    return {**observed, **reported, "conditions": others + own}


def is_overwritten(reported: Mapping[str, Any], observed: Mapping[str, Any]) -> bool:
    """Return whether another writer changed a condition that the kubelet reports."""
    own = {c["type"]: c["status"] for c in reported.get("conditions") or [] if c["type"] in _OWN}
    return any(
        own.get(each["type"], each.get("status")) != each.get("status")
        for each in observed.get("conditions") or []
    )


def _container_statuses(
    pod: Mapping[str, Any], containers: Sequence[Mapping[str, Any]], view: StatusInput
) -> list[dict[str, Any]]:
    return [_container_status(pod, container, view) for container in containers]


def _container_status(
    pod: Mapping[str, Any], container: Mapping[str, Any], view: StatusInput
) -> dict[str, Any]:
    name = container["name"]
    record = view.records[name]
    backing_off = name in view.backing_off and isinstance(record.state, Terminated)
    state = _build_state(record.state)
    if backing_off:
        message = back_off_message(pod, name, record)
        state = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
    if _waits_for_initialization(view, name):
        state = {"waiting": _INITIALIZING}
    last = record.previous if backing_off else record.last
    current = record.state if isinstance(record.state, Running | Terminated) else record.last
    return {
        "name": name,
        "state": state,
        "lastState": _build_state(last) if last else {},
        "ready": record.ready,
        "started": record.started,
        "restartCount": record.restarts,
        "image": container.get("image") or "",
        "imageID": "",
        **({"containerID": SCHEME + current.container_id} if current else {}),
    }


def _waits_for_initialization(view: StatusInput, name: str) -> bool:
    """Return whether a container waits for init containers; with them no container is only being created."""
    if not view.plan.inits:
        return False
    is_later_main = name in view.plan.mains and not lifecycle.is_initialized(
        view.plan, view.records
    )
    return is_later_main or view.records[name].state == Waiting()


def _build_state(state: State) -> dict[str, Any]:
    if isinstance(state, Running):
        return {"running": {"startedAt": rfc3339(state.started_at)}}
    if isinstance(state, Terminated):
        terminated: dict[str, Any] = {
            "exitCode": state.code,
            "reason": state.reason,
            "startedAt": rfc3339(state.started_at) if state.started_at else None,
            "finishedAt": rfc3339(state.finished_at) if state.finished_at else None,
            "containerID": SCHEME + state.container_id if state.container_id else None,
            "message": state.message or None,
        }
        return {
            "terminated": {key: value for key, value in terminated.items() if value is not None}
        }
    waiting = {"reason": state.reason}
    if state.message:
        waiting["message"] = state.message
    return {"waiting": waiting}


def back_off_message(pod: Mapping[str, Any], name: str, record: ContainerRecord) -> str:
    meta = pod["metadata"]
    where = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
    return (
        f"back-off {format_duration(record.delay)} restarting failed container={name} pod={where}"
    )


def format_duration(seconds: float) -> str:
    """Format a duration as Go does: `40s`, `2m40s`."""
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"


_OWN = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
_ConditionValue = tuple[bool, dict[str, str]]


def _build_conditions(
    pod: Mapping[str, Any], view: StatusInput, phase: str
) -> list[dict[str, Any]]:
    before = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or []}
    containers, ready = _readiness(pod, view, before, phase)
    values: dict[str, _ConditionValue] = {
        "PodReadyToStartContainers": (view.mounted and not view.finished, {}),
        "Initialized": _initialization(view, phase),
        "Ready": ready,
        "ContainersReady": containers,
        "PodScheduled": (True, {}),
    }
    # Other conditions belong to other writers and do not change.
    others = [condition for kind, condition in before.items() if kind not in values]
    return others + [
        _build_condition(kind, value, before.get(kind), view.now) for kind, value in values.items()
    ]


def _readiness(
    pod: Mapping[str, Any], view: StatusInput, before: Mapping[str, Any], phase: str
) -> tuple[_ConditionValue, _ConditionValue]:
    """Return whether the containers are ready, and whether the pod is, which may have readiness gates."""
    if phase in ("Succeeded", "Failed"):
        ended = (False, {"reason": _COMPLETED if phase == "Succeeded" else "PodFailed"})
        return ended, ended
    plan = view.plan
    probed = [*(n for n in plan.inits if n in plan.sidecars), *plan.mains]
    unready = [name for name in probed if not view.records[name].ready]
    containers = _true_if_none(
        unready, "ContainersNotReady", "containers with unready status: [{}]"
    )
    gates = [
        gate["conditionType"]
        for gate in pod["spec"].get("readinessGates") or []
        if before.get(gate["conditionType"], {}).get("status") != "True"
    ]
    gated = _true_if_none(
        gates, "ReadinessGatesNotReady", "readiness gates that are not True: [{}]"
    )
    return containers, gated if containers[0] else containers


def _initialization(view: StatusInput, phase: str) -> _ConditionValue:
    if phase == "Succeeded":
        return True, {"reason": _COMPLETED}
    if lifecycle.is_initialized(view.plan, view.records):
        return True, {}
    return _true_if_none(
        lifecycle.unfinished_inits(view.plan, view.records),
        "ContainersNotInitialized",
        "containers with incomplete status: [{}]",
    )


def _true_if_none(names: Sequence[str], reason: str, message: str) -> _ConditionValue:
    if not names:
        return True, {}
    return False, {"reason": reason, "message": message.format(" ".join(names))}


def _build_condition(
    kind: str, value: _ConditionValue, before: Mapping[str, Any] | None, now: float
) -> dict[str, Any]:
    holds, cause = value
    status = "True" if holds else "False"
    changed = rfc3339(now)
    if before and before.get("status") == status:
        changed = before.get("lastTransitionTime") or changed
    return {"type": kind, "status": status, "lastTransitionTime": changed, **cause}
