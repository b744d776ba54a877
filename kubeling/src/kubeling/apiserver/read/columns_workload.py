"""Table columns of workloads and related kinds.

Source: k8s.io/kubernetes v1.34 pkg/printers/internalversion.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kubeling.apiserver.read.column import (
    AGE,
    NAME,
    NONE,
    Cell,
    Column,
    Object,
    duration,
    elapsed,
    field_cell,
    format_labels,
)
from kubeling.apiserver.selectors import format_selector

_UNSET = "<unset>"
_MAX_LISTED = 3
_OUTCOMES = ("Complete", "Failed")
_PENDING_OUTCOMES = ("Suspended", "FailureTarget", "SuccessCriteriaMet")


def _spec(obj: Object) -> Mapping[str, Any]:
    return obj.get("spec") or {}


def _status(obj: Object) -> Mapping[str, Any]:
    return obj.get("status") or {}


def _number(part: str, name: str) -> Cell:
    return lambda obj, _now: (obj.get(part) or {}).get(name) or 0


def _ready_of(wanted: str) -> Cell:
    """Return a cell with the ready replicas of the desired replicas."""

    def cell(obj: Object, _now: float) -> str:
        return f"{_status(obj).get('readyReplicas') or 0}/{_spec(obj).get(wanted) or 0}"

    return cell


def _containers(obj: Object) -> Sequence[Mapping[str, Any]]:
    template = (_spec(obj).get("jobTemplate") or {}).get("spec") or _spec(obj)
    pod: Mapping[str, Any] = (template.get("template") or {}).get("spec") or {}
    return pod.get("containers") or ()


def _container_values(part: str) -> Cell:
    return lambda obj, _now: ",".join(str(each.get(part) or "") for each in _containers(obj))


def _selector(*, everything: str) -> Cell:
    return lambda obj, _now: format_selector(_spec(obj).get("selector")) or everything


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
    return next((each for each in _PENDING_OUTCOMES if each in true), "Running")


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
    return elapsed(last, now) if last else NONE


def _flag(name: str) -> Cell:
    return lambda obj, _now: str(bool(_spec(obj).get(name)))


def _budget_value(name: str) -> Cell:
    """Return a cell with a number or percentage of a budget, which has one of the two fields."""
    return lambda obj, _now: str(_spec(obj).get(name, "N/A"))


def _join_first(items: Sequence[str]) -> str:
    shown = ",".join(items[:_MAX_LISTED])
    more = len(items) - _MAX_LISTED
    return f"{shown} + {more} more..." if more > 0 else shown or _UNSET


def _slice_ports(part: Object, _now: float) -> str:
    ports = part.get("ports") or ()
    return _join_first([str(each.get("port") or each.get("name") or "*") for each in ports])


def _slice_addresses(part: Object, _now: float) -> str:
    return _join_first(
        [address for each in part.get("endpoints") or () for address in each.get("addresses") or ()]
    )


def _controller(obj: Object, _now: float) -> str:
    for owner in obj["metadata"].get("ownerReferences") or ():
        if owner.get("controller"):
            group = owner["apiVersion"].rpartition("/")[0]
            kind = owner["kind"].lower() + (f".{group}" if group else "")
            return f"{kind}/{owner['name']}"
    return NONE


def _token_audiences(driver: Object, _: float) -> str:
    requests = _spec(driver).get("tokenRequests")
    if requests is None:
        return _UNSET
    return ",".join(each.get("audience") or "" for each in requests)


def _switch_column(name: str, field: str, meaning: str) -> Column:
    return Column(name, lambda obj, _: bool(_spec(obj).get(field)), meaning, type="boolean")


def _count_column(name: str, cell: Cell, meaning: str) -> Column:
    return Column(name, cell, meaning, type="integer")


_CONTAINERS = (
    Column("Containers", _container_values("name"), "names of the containers", 1),
    Column("Images", _container_values("image"), "images of the containers", 1),
)
_SELECTED = "labels of the pods"
_WIDE = (*_CONTAINERS, Column("Selector", _selector(everything=""), _SELECTED, 1))
_WIDE_JOB = (*_CONTAINERS, Column("Selector", _selector(everything=NONE), _SELECTED, 1))
_REPLICAS = (
    NAME,
    _count_column("Desired", _number("spec", "replicas"), "desired pods"),
    _count_column("Current", _number("status", "replicas"), "existing pods"),
    _count_column("Ready", _number("status", "readyReplicas"), "ready pods"),
    AGE,
)

WORKLOADS: dict[str, tuple[Column, ...]] = {
    "ControllerRevision": (
        NAME,
        Column("Controller", _controller, "controller of the revision"),
        Column("Revision", field_cell("revision", default=0), "revision number"),
        AGE,
    ),
    "CronJob": (
        NAME,
        Column("Schedule", field_cell("spec", "schedule"), "schedule of the jobs"),
        Column(
            "Timezone", field_cell("spec", "timeZone", default=NONE), "time zone of the schedule"
        ),
        Column("Suspend", _flag("suspend"), "whether the schedule is suspended", type="boolean"),
        _count_column(
            "Active", lambda job, _: len(_status(job).get("active") or ()), "running jobs"
        ),
        Column("Last Schedule", _last_schedule, "time since the last job started"),
        AGE,
        *_WIDE_JOB,
    ),
    "CSIDriver": (
        NAME,
        _switch_column("AttachRequired", "attachRequired", "whether volumes are attached to nodes"),
        _switch_column("PodInfoOnMount", "podInfoOnMount", "whether the driver gets the pod"),
        _switch_column(
            "StorageCapacity", "storageCapacity", "whether the driver reports its capacity"
        ),
        Column("TokenRequests", _token_audiences, "audiences of the tokens that the driver gets"),
        _switch_column(
            "RequiresRepublish", "requiresRepublish", "whether volumes are mounted again"
        ),
        Column(
            "Modes",
            lambda obj, _: ",".join(_spec(obj).get("volumeLifecycleModes") or ()) or NONE,
            "kinds of volumes",
        ),
        AGE,
    ),
    "DaemonSet": (
        NAME,
        _count_column(
            "Desired", _number("status", "desiredNumberScheduled"), "nodes that should run a pod"
        ),
        _count_column(
            "Current", _number("status", "currentNumberScheduled"), "nodes that run a pod"
        ),
        _count_column("Ready", _number("status", "numberReady"), "ready pods"),
        _count_column(
            "Up-to-date", _number("status", "updatedNumberScheduled"), "pods of the newest template"
        ),
        _count_column("Available", _number("status", "numberAvailable"), "available pods"),
        Column(
            "Node Selector",
            lambda obj, _: format_labels(
                ((_spec(obj).get("template") or {}).get("spec") or {}).get("nodeSelector")
            ),
            "labels of the nodes",
        ),
        AGE,
        *_WIDE,
    ),
    "Deployment": (
        NAME,
        Column("Ready", _ready_of("replicas"), "ready pods of the desired pods"),
        Column("Up-to-date", _number("status", "updatedReplicas"), "pods of the newest template"),
        Column("Available", _number("status", "availableReplicas"), "available pods"),
        AGE,
        *_WIDE,
    ),
    "EndpointSlice": (
        NAME,
        Column("AddressType", field_cell("addressType"), "type of the addresses"),
        Column("Ports", _slice_ports, "ports of each address"),
        Column("Endpoints", _slice_addresses, "addresses of the endpoints"),
        AGE,
    ),
    "Job": (
        NAME,
        Column("Status", _job_status, "status of the job"),
        Column("Completions", _job_completions, "succeeded pods of the desired completions"),
        Column("Duration", _job_duration, "duration of the job until its completion, or until now"),
        AGE,
        *_WIDE_JOB,
    ),
    "NetworkPolicy": (
        NAME,
        Column(
            "Pod-Selector",
            lambda obj, _: format_selector(_spec(obj).get("podSelector")) or NONE,
            "labels of the selected pods",
        ),
        AGE,
    ),
    "PodDisruptionBudget": (
        NAME,
        Column("Min Available", _budget_value("minAvailable"), "pods that must stay available"),
        Column("Max Unavailable", _budget_value("maxUnavailable"), "pods that may be unavailable"),
        _count_column(
            "Allowed Disruptions",
            _number("status", "disruptionsAllowed"),
            "pods that may be disrupted now",
        ),
        AGE,
    ),
    "PriorityClass": (
        NAME,
        _count_column("Value", field_cell("value", default=0), "priority of the pods"),
        Column(
            "Global-Default",
            lambda obj, _: bool(obj.get("globalDefault")),
            "whether pods without a class get this class",
            type="boolean",
        ),
        AGE,
        Column(
            "PreemptionPolicy", field_cell("preemptionPolicy"), "whether the pods preempt others"
        ),
    ),
    "ReplicaSet": (*_REPLICAS, *_WIDE),
    "ReplicationController": (
        *_REPLICAS,
        *_CONTAINERS,
        Column("Selector", lambda obj, _: format_labels(_spec(obj).get("selector")), _SELECTED, 1),
    ),
    "StatefulSet": (
        NAME,
        Column("Ready", _ready_of("replicas"), "ready pods of the desired pods"),
        AGE,
        *_CONTAINERS,
    ),
}
