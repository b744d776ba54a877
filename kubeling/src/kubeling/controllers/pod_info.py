"""The fields of a pod that controllers need, small enough to hold ten thousand pods in memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Object = Mapping[str, Any]

TRACKING = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
INDEX_FAILURES = "batch.kubernetes.io/job-index-failure-count"
_COST = "controller.kubernetes.io/pod-deletion-cost"
_ENDED = ("Failed", "Succeeded")


@dataclass(frozen=True, slots=True, kw_only=True)
class PodInfo:
    """The fields of one pod.

    `controller` is the uid of its controller, or empty; `index` is its completion index in an indexed Job, or
    empty. `exit_codes` and `conditions` are read from failed pods only. `ready_since` and `ended_at` are in
    seconds since the epoch, zero if the pod was never ready or has not ended.
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
    index_failures: int
    exit_codes: tuple[tuple[str, int], ...]
    conditions: tuple[tuple[str, str], ...]
    hostname: str = ""
    subdomain: str = ""

    @property
    def identity(self) -> dict[str, Any]:
        """Return the metadata that identifies the pod, as in its object."""
        return {"metadata": {"namespace": self.namespace, "name": self.name, "uid": self.uid}}

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
    conditions = status.get("conditions") or ()
    ready: Object = next((each for each in conditions if each.get("type") == "Ready"), {})
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
        restarts=sum(each.get("restartCount") or 0 for each in _containers(status)),
        cost=_number(annotations.get(_COST)),
        index=annotations.get(INDEX, ""),
        index_failures=_number(annotations.get(INDEX_FAILURES)),
        exit_codes=_exit_codes(status),
        conditions=_conditions(status),
        hostname=(pod.get("spec") or {}).get("hostname") or "",
        subdomain=(pod.get("spec") or {}).get("subdomain") or "",
    )


def controller(metadata: Object) -> Object:
    """Return the owner reference of the controller, or an empty object."""
    owners = metadata.get("ownerReferences") or ()
    return next((each for each in owners if each.get("controller")), {})


def seconds(moment: str | None) -> float:
    """Parse a timestamp of the API; return zero for None."""
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0


def _conditions(status: Object) -> tuple[tuple[str, str], ...]:
    if status.get("phase") != "Failed":
        return ()
    return tuple((each["type"], each["status"]) for each in status.get("conditions") or ())


def _exit_codes(status: Object) -> tuple[tuple[str, int], ...]:
    if status.get("phase") != "Failed":
        return ()
    states = (
        (each.get("name", ""), (each.get("state") or {}).get("terminated"))
        for field in ("containerStatuses", "initContainerStatuses")
        for each in status.get(field) or ()
    )
    return tuple((name, ended.get("exitCode") or 0) for name, ended in states if ended)


def _containers(status: Object) -> list[Object]:
    return [
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
    ]


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
