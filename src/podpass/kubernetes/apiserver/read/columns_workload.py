"""Columns of workloads and of what goes with them: one row a kind, each with what fills it.

Source: k8s.io/kubernetes v1.34 pkg/printers/internalversion.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from podpass.kubernetes.apiserver.read.column import (
    AGE,
    NAME,
    NONE,
    Cell,
    Column,
    Object,
    dig,
    duration,
    pairs,
    since,
)
from podpass.kubernetes.apiserver.selectors import written

_UNSET = "<unset>"
_SHOWN = 3
_OUTCOMES = ("Complete", "Failed")
_ON_THE_WAY = ("Suspended", "FailureTarget", "SuccessCriteriaMet")


def _spec(obj: Object) -> Mapping[str, Any]:
    return obj.get("spec") or {}


def _status(obj: Object) -> Mapping[str, Any]:
    return obj.get("status") or {}


def _number(part: str, name: str) -> Cell:
    return lambda obj, _now: (obj.get(part) or {}).get(name) or 0


def _ready_of(wanted: str) -> Cell:
    """Write how many replicas are ready of those that are wanted."""

    def cell(obj: Object, _now: float) -> str:
        return f"{_status(obj).get('readyReplicas') or 0}/{_spec(obj).get(wanted) or 0}"

    return cell


def _containers(obj: Object) -> Sequence[Mapping[str, Any]]:
    template = (_spec(obj).get("jobTemplate") or {}).get("spec") or _spec(obj)
    pod: Mapping[str, Any] = (template.get("template") or {}).get("spec") or {}
    return pod.get("containers") or ()


def _each_container(part: str) -> Cell:
    return lambda obj, _now: ",".join(str(each.get(part) or "") for each in _containers(obj))


def _selector(*, everything: str) -> Cell:
    return lambda obj, _now: written(_spec(obj).get("selector")) or everything


def _job_status(job: Object, _now: float) -> str:
    true = {
        each.get("type")
        for each in _status(job).get("conditions") or ()
        if each.get("status") == "True"
    }
    if outcome := next((each for each in _OUTCOMES if each in true), ""):
        return outcome
    if job["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return next((each for each in _ON_THE_WAY if each in true), "Running")


def _job_completions(job: Object, _now: float) -> str:
    done, wanted = _status(job).get("succeeded") or 0, _spec(job).get("completions")
    if wanted is not None:
        return f"{done}/{wanted}"
    parallelism = _spec(job).get("parallelism") or 0
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def _job_duration(job: Object, now: float) -> str:
    start, end = _status(job).get("startTime"), _status(job).get("completionTime")
    if not start:
        return ""
    until = datetime.fromisoformat(end).timestamp() if end else now
    return duration(until - datetime.fromisoformat(start).timestamp())


def _last_schedule(job: Object, now: float) -> str:
    last = _status(job).get("lastScheduleTime")
    return since(last, now) if last else NONE


def _flag(name: str) -> Cell:
    return lambda obj, _now: str(bool(_spec(obj).get(name)))


def _or_none(name: str) -> Cell:
    """Write a number or percentage of a budget, which has one of two."""
    return lambda obj, _now: str(_spec(obj).get(name, "N/A"))


def _listed(items: Sequence[str]) -> str:
    shown = ",".join(items[:_SHOWN])
    more = len(items) - _SHOWN
    return f"{shown} + {more} more..." if more > 0 else shown or _UNSET


def _slice_ports(part: Object, _now: float) -> str:
    ports = part.get("ports") or ()
    return _listed([str(each.get("port") or each.get("name") or "*") for each in ports])


def _slice_addresses(part: Object, _now: float) -> str:
    return _listed(
        [address for each in part.get("endpoints") or () for address in each.get("addresses") or ()]
    )


def _controller(obj: Object, _now: float) -> str:
    for owner in obj["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            group = owner["apiVersion"].rpartition("/")[0]
            kind = owner["kind"].lower() + (f".{group}" if group else "")
            return f"{kind}/{owner['name']}"
    return NONE


def _count_of(name: str, cell: Cell, meaning: str) -> Column:
    return Column(name, cell, meaning, type="integer")


_CONTAINERS = (
    Column("Containers", _each_container("name"), "names of the containers", 1),
    Column("Images", _each_container("image"), "images of the containers", 1),
)
_WIDE = (*_CONTAINERS, Column("Selector", _selector(everything=""), "labels of its pods", 1))
_WIDE_JOB = (*_CONTAINERS, Column("Selector", _selector(everything=NONE), "labels of its pods", 1))

WORKLOADS: dict[str, tuple[Column, ...]] = {
    "ControllerRevision": (
        NAME,
        Column("Controller", _controller, "who keeps it"),
        Column("Revision", dig("revision", default=0), "number of the revision"),
        AGE,
    ),
    "CronJob": (
        NAME,
        Column("Schedule", dig("spec", "schedule"), "when it runs"),
        Column("Timezone", dig("spec", "timeZone", default=NONE), "time zone of the schedule"),
        Column("Suspend", _flag("suspend"), "whether it is paused", type="boolean"),
        _count_of("Active", lambda job, _: len(_status(job).get("active") or ()), "jobs that run"),
        Column("Last Schedule", _last_schedule, "time since it last ran"),
        AGE,
        *_WIDE_JOB,
    ),
    "DaemonSet": (
        NAME,
        _count_of("Desired", _number("status", "desiredNumberScheduled"), "nodes that want it"),
        _count_of("Current", _number("status", "currentNumberScheduled"), "nodes that have it"),
        _count_of("Ready", _number("status", "numberReady"), "pods that are ready"),
        _count_of("Up-to-date", _number("status", "updatedNumberScheduled"), "pods of today"),
        _count_of("Available", _number("status", "numberAvailable"), "pods that can be used"),
        Column(
            "Node Selector",
            lambda obj, _: pairs(
                ((_spec(obj).get("template") or {}).get("spec") or {}).get("nodeSelector")
            ),
            "labels of the nodes it wants",
        ),
        AGE,
        *_WIDE,
    ),
    "Deployment": (
        NAME,
        Column("Ready", _ready_of("replicas"), "pods that are ready, of those wanted"),
        Column("Up-to-date", _number("status", "updatedReplicas"), "pods of the newest template"),
        Column("Available", _number("status", "availableReplicas"), "pods that can be used"),
        AGE,
        *_WIDE,
    ),
    "EndpointSlice": (
        NAME,
        Column("AddressType", dig("addressType"), "what its addresses are"),
        Column("Ports", _slice_ports, "ports of each address"),
        Column("Endpoints", _slice_addresses, "its addresses"),
        AGE,
    ),
    "Job": (
        NAME,
        Column("Status", _job_status, "what the job is at"),
        Column("Completions", _job_completions, "pods that succeeded, of those wanted"),
        Column("Duration", _job_duration, "time it took, or takes until now"),
        AGE,
        *_WIDE_JOB,
    ),
    "NetworkPolicy": (
        NAME,
        Column(
            "Pod-Selector",
            lambda obj, _: written(_spec(obj).get("podSelector")) or NONE,
            "labels of the pods it is for",
        ),
        AGE,
    ),
    "PodDisruptionBudget": (
        NAME,
        Column("Min Available", _or_none("minAvailable"), "pods that must stay"),
        Column("Max Unavailable", _or_none("maxUnavailable"), "pods that may go"),
        _count_of(
            "Allowed Disruptions", _number("status", "disruptionsAllowed"), "pods that may go now"
        ),
        AGE,
    ),
    "PriorityClass": (
        NAME,
        _count_of("Value", dig("value", default=0), "priority of its pods"),
        Column(
            "Global-Default",
            lambda obj, _: bool(obj.get("globalDefault")),
            "whether pods without a class have it",
            type="boolean",
        ),
        AGE,
        Column("PreemptionPolicy", dig("preemptionPolicy"), "whether its pods displace others"),
    ),
    "ReplicaSet": (
        NAME,
        _count_of("Desired", _number("spec", "replicas"), "pods that are wanted"),
        _count_of("Current", _number("status", "replicas"), "pods that are there"),
        _count_of("Ready", _number("status", "readyReplicas"), "pods that are ready"),
        AGE,
        *_WIDE,
    ),
    "StatefulSet": (
        NAME,
        Column("Ready", _ready_of("replicas"), "pods that are ready, of those wanted"),
        AGE,
        *_CONTAINERS,
    ),
}
