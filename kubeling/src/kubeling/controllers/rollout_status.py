"""Status of a Deployment: counts and the conditions Available, Progressing, ReplicaFailure. Pure.

Source: k8s.io/kubernetes v1.34 pkg/controller/deployment: progress.go, sync.go.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kubeling.apiserver.storage.storage import Object
from kubeling.clock import rfc3339
from kubeling.controllers import rollout
from kubeling.controllers.pod_info import seconds
from kubeling.controllers.replica_status import FAILURE

AVAILABLE, PROGRESSING = "Available", "Progressing"
DONE, TIMED_OUT = "NewReplicaSetAvailable", "ProgressDeadlineExceeded"
PAUSED, RESUMED = "DeploymentPaused", "DeploymentResumed"
_COUNTS = {
    "replicas": "replicas",
    "readyReplicas": "readyReplicas",
    "availableReplicas": "availableReplicas",
}


def condition(status: Mapping[str, Any], kind: str) -> Object | None:
    return next((each for each in status.get("conditions") or () if each["type"] == kind), None)


def set_condition(
    status: Object, kind: str, holds: str, reason: str, message: str, now: float
) -> None:
    """Set a condition in the given status; do not change an equal condition."""
    old = condition(status, kind)
    if old and (old["status"], old.get("reason")) == (holds, reason):
        return
    moment = rfc3339(now)
    since = old["lastTransitionTime"] if old and old["status"] == holds else moment
    new = {
        "type": kind,
        "status": holds,
        "lastUpdateTime": moment,
        "lastTransitionTime": since,
        "reason": reason,
        "message": message,
    }
    status["conditions"] = [*_without(status, kind), new]


def _without(status: Mapping[str, Any], kind: str) -> list[Object]:
    return [each for each in status.get("conditions") or () if each["type"] != kind]


def calculate_status(
    deployment: Object, new: Object | None, sets: Sequence[Object], now: float
) -> Object:
    """Return the status with the counts of the ReplicaSets and the condition Available."""
    old = deployment.get("status") or {}
    status: Object = {"observedGeneration": deployment["metadata"].get("generation") or 0}
    found = {name: _sum(sets, part) for name, part in _COUNTS.items()}
    found["updatedReplicas"] = _sum([new] if new else [], "replicas")
    found["unavailableReplicas"] = max(rollout.total(sets) - found["availableReplicas"], 0)
    status |= {name: count for name, count in found.items() if count}
    for part in ("collisionCount", "conditions"):
        if old.get(part):
            status[part] = old[part]
    least = deployment["spec"]["replicas"] - rollout.bounds(deployment)[1]
    if found["availableReplicas"] >= least:
        why = "Deployment has minimum availability."
        set_condition(status, AVAILABLE, "True", "MinimumReplicasAvailable", why, now)
    else:
        why = "Deployment does not have minimum availability."
        set_condition(status, AVAILABLE, "False", "MinimumReplicasUnavailable", why, now)
    return status


def _sum(sets: Sequence[Object], part: str) -> int:
    return sum((each.get("status") or {}).get(part) or 0 for each in sets)


def update_progress(
    deployment: Object, status: Object, new: Object | None, sets: Sequence[Object], now: float
) -> None:
    """Set the condition Progressing: in progress, complete, or past its deadline."""
    known = condition(status, PROGRESSING)
    name = f'ReplicaSet "{new["metadata"]["name"]}"' if new else "Deployment"
    if deployment["spec"].get("progressDeadlineSeconds") is None:
        status["conditions"] = _without(status, PROGRESSING)
    elif not _was_complete(status, known):
        if rollout.is_complete(deployment, status):
            why = f"{name} has successfully progressed."
            set_condition(status, PROGRESSING, "True", DONE, why, now)
        elif _has_progressed(deployment.get("status") or {}, status):
            _set_progress(status, known, f"{name} is progressing.", now)
        elif is_timed_out(deployment, status, now):
            why = f"{name} has timed out progressing."
            set_condition(status, PROGRESSING, "False", TIMED_OUT, why, now)
    _copy_failure(status, sets)


def _was_complete(status: Object, known: Object | None) -> bool:
    same = (status.get("replicas") or 0) == (status.get("updatedReplicas") or 0)
    return bool(same and known and known.get("reason") == DONE)


def _has_progressed(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    def left(status: Mapping[str, Any]) -> int:
        return (status.get("replicas") or 0) - (status.get("updatedReplicas") or 0)

    grown = ("updatedReplicas", "readyReplicas", "availableReplicas")
    more = any((new.get(name) or 0) > (old.get(name) or 0) for name in grown)
    return more or left(new) < left(old)


def _set_progress(status: Object, known: Object | None, message: str, now: float) -> None:
    """Record progress; `lastUpdateTime` restarts the progress deadline."""
    moment = rfc3339(now)
    since = known["lastTransitionTime"] if known and known["status"] == "True" else moment
    new = {
        "type": PROGRESSING,
        "status": "True",
        "lastUpdateTime": moment,
        "lastTransitionTime": since,
        "reason": "ReplicaSetUpdated",
        "message": message,
    }
    status["conditions"] = [*_without(status, PROGRESSING), new]


def is_timed_out(deployment: Object, status: Mapping[str, Any], now: float) -> bool:
    """Return whether the progress deadline has passed."""
    known = condition(status, PROGRESSING)
    if known is None or known.get("reason") == DONE:
        return False
    if known.get("reason") == TIMED_OUT:
        return True
    deadline = deployment["spec"].get("progressDeadlineSeconds")
    return deadline is not None and seconds(known.get("lastUpdateTime")) + deadline < now


def seconds_until_timeout(
    deployment: Object, status: Mapping[str, Any], now: float
) -> float | None:
    """Return the seconds until the progress deadline; None if no progress is expected."""
    known, deadline = (
        condition(status, PROGRESSING),
        deployment["spec"].get("progressDeadlineSeconds"),
    )
    if known is None or deadline is None or rollout.is_complete(deployment, status):
        return None
    if known.get("reason") in (DONE, TIMED_OUT, PAUSED):
        return None
    return max(seconds(known.get("lastUpdateTime")) + float(deadline) - now, 0.0) + 1


def _copy_failure(status: Object, sets: Sequence[Object]) -> None:
    """Copy the condition ReplicaFailure from a ReplicaSet, because users inspect the Deployment first."""
    failures = [found for each in sets if (found := condition(each.get("status") or {}, FAILURE))]
    others = _without(status, FAILURE)
    if not failures:
        if len(others) != len(status.get("conditions") or ()):
            status["conditions"] = others
        return
    failure = failures[-1]
    known = condition(status, FAILURE)
    if known and known.get("message") == failure.get("message"):
        return
    copied = {**failure, "lastUpdateTime": failure["lastTransitionTime"]}
    status["conditions"] = [*others, copied]
