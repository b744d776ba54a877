"""The fields of a pod that controllers need, small enough to hold ten thousand pods in memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Object = Mapping[str, Any]

TRACKING = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
_COST = "controller.kubernetes.io/pod-deletion-cost"
_ENDED = ("Failed", "Succeeded")


@dataclass(frozen=True, slots=True, kw_only=True)
class PodInfo:
    """The fields of one pod.

    Shapes:  `controller` is the uid of its controller, or empty; `index` its completion index in an
             indexed Job, or empty.
    Units:   `ready_since` and `ended_at` in seconds since the epoch, zero if the pod was never ready or has
             not ended.
    """

    namespace: str
    name: str
    uid: str
    controller: str
    labels: Mapping[str, str]
    created: str
    phase: str
    node: str
    ip: str
    ready: bool
    ready_since: float
    ended_at: float
    deleting: bool
    tracked: bool
    restarts: int
    cost: int
    index: str

    @property
    def ended(self) -> bool:
        return self.phase in _ENDED

    @property
    def active(self) -> bool:
        """Return whether the pod counts for its owner: it has not ended and is not being deleted."""
        return not self.ended and not self.deleting

    def available(self, now: float, seconds: float) -> bool:
        """Return whether the pod has been ready for this many seconds."""
        return self.ready and self.ready_since + seconds <= now


def read(pod: Object) -> PodInfo:
    """Build the info of a pod object."""
    metadata, status = pod["metadata"], pod.get("status") or {}
    ready = _condition(status, "Ready")
    annotations = metadata.get("annotations") or {}
    return PodInfo(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        controller=controller(metadata).get("uid", ""),
        labels=metadata.get("labels") or {},
        created=metadata.get("creationTimestamp") or "",
        phase=status.get("phase") or "",
        node=(pod.get("spec") or {}).get("nodeName") or "",
        ip=status.get("podIP") or "",
        ready=ready.get("status") == "True",
        ready_since=seconds(ready.get("lastTransitionTime")),
        ended_at=_ended_at(status),
        deleting="deletionTimestamp" in metadata,
        tracked=TRACKING in (metadata.get("finalizers") or ()),
        restarts=_restarts(status),
        cost=_number(annotations.get(_COST)),
        index=annotations.get(INDEX, ""),
    )


def controller(metadata: Object) -> Object:
    """Return the owner reference of the controller, or an empty object."""
    owners = metadata.get("ownerReferences") or ()
    return next((each for each in owners if each.get("controller")), {})


def seconds(moment: str | None) -> float:
    """Parse a timestamp of the API; return zero for None."""
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0


def _condition(status: Object, kind: str) -> Object:
    conditions = status.get("conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), {})


def _containers(status: Object) -> list[Object]:
    return [
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    ]


def _restarts(status: Object) -> int:
    return sum(each.get("restartCount") or 0 for each in _containers(status))


def _ended_at(status: Object) -> float:
    if status.get("phase") not in _ENDED:
        return 0.0
    states = ((each.get("state") or {}).get("terminated") or {} for each in _containers(status))
    return max((seconds(each.get("finishedAt")) for each in states), default=0.0)


def _number(text: Any) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return 0
