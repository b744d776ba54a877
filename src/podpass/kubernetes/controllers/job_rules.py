"""When a job is done, has failed, or wants more pods. Pure.

Source: k8s.io/kubernetes v1.34 pkg/controller/job.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from podpass.clock import rfc3339
from podpass.kubernetes.apiserver.storage.storage import Object
from podpass.kubernetes.controllers.pod_info import INDEX, TRACKING, PodFact, seconds
from podpass.kubernetes.controllers.replica_status import pod_of

COMPLETE, FAILED, SUSPENDED = "Complete", "Failed", "Suspended"
SUCCEEDS, FAILS = "SuccessCriteriaMet", "FailureTarget"
_FIRST_BACKOFF, _LONGEST_BACKOFF = 10.0, 600.0
_UNCOUNTED = "uncountedTerminatedPods"


def holds(status: Mapping[str, Any], kind: str) -> Object | None:
    """Give a condition if it is true."""
    for each in status.get("conditions") or ():
        if each["type"] == kind and each["status"] == "True":
            found: Object = each
            return found
    return None


def is_finished(job: Object) -> bool:
    status = job.get("status") or {}
    return bool(holds(status, COMPLETE) or holds(status, FAILED))


def finished_at(job: Object) -> float:
    """Say when a job ended.

    Units:   seconds since the epoch.
    """
    status = job.get("status") or {}
    ended = holds(status, COMPLETE) or holds(status, FAILED) or {}
    return seconds(status.get("completionTime") or ended.get("lastTransitionTime"))


def set_condition(
    status: Object, kind: str, reason: str, message: str, now: float, *, true: bool = True
) -> None:
    others = [each for each in status.get("conditions") or () if each["type"] != kind]
    moment = rfc3339(now)
    condition = {
        "type": kind,
        "status": "True" if true else "False",
        "lastProbeTime": moment,
        "lastTransitionTime": moment,
        "reason": reason,
        "message": message,
    }
    status["conditions"] = [*others, condition]


def count(job: Object, status: Object, pods: Sequence[PodFact]) -> None:
    """Count in place each pod that ended exactly once, whatever becomes of the pod.

    A pod's uid is written down first; when its finalizer is gone too, it becomes a number. If the
    program ends anywhere in between, the next look goes on from there.
    """
    waiting = status.get(_UNCOUNTED) or {}
    tracked = {pod.uid: pod for pod in pods if pod.tracked}
    indexes = read_indexes(status.get("completedIndexes", ""))
    left: dict[str, list[str]] = {}
    for part in ("succeeded", "failed"):
        noted = waiting.get(part) or []
        done = [uid for uid in noted if uid not in tracked]
        if done:
            status[part] = (status.get(part) or 0) + len(done)
        left[part] = [uid for uid in noted if uid in tracked]
    known = {uid for noted in left.values() for uid in noted}
    for pod in tracked.values():
        if pod.uid in known:
            continue
        if pod.phase == "Succeeded":
            if is_indexed(job):
                if not pod.index.isdigit() or int(pod.index) in indexes:
                    continue
                indexes.add(int(pod.index))
            left["succeeded"].append(pod.uid)
        elif pod.phase == "Failed" or pod.deleting:
            left["failed"].append(pod.uid)
    status[_UNCOUNTED] = {part: uids for part, uids in left.items() if uids}
    if indexes:
        status["completedIndexes"] = write_indexes(indexes)


def uncounted(status: Mapping[str, Any]) -> set[str]:
    """Give the uids that are written down and not yet numbers."""
    waiting = status.get(_UNCOUNTED) or {}
    return {uid for uids in waiting.values() for uid in uids}


def outcome_counts(status: Mapping[str, Any]) -> tuple[int, int]:
    """Give how many pods succeeded and failed so far."""
    waiting = status.get(_UNCOUNTED) or {}
    succeeded, failed = (
        (status.get(part) or 0) + len(waiting.get(part) or ()) for part in ("succeeded", "failed")
    )
    return succeeded, failed


def is_indexed(job: Object) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def read_indexes(text: str) -> set[int]:
    """Read `0,2-4`."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def write_indexes(indexes: Iterable[int]) -> str:
    """Write numbers as `0,2-4`: two in a row stay apart by a comma, as the API has it."""
    runs: list[list[int]] = []
    for each in sorted(indexes):
        if runs and runs[-1][-1] == each - 1:
            runs[-1].append(each)
        else:
            runs.append([each])
    written = []
    for run in runs:
        sign = "-" if len(run) > 2 else ","
        written.append(str(run[0]) if len(run) == 1 else f"{run[0]}{sign}{run[-1]}")
    return ",".join(written)


def failure(job: Object, status: Object, pods: Sequence[PodFact], now: float) -> tuple[str, str]:
    """Say why a job has failed, as reason and message; nothing if it has not."""
    spec = job["spec"]
    limit, failed = spec["backoffLimit"], outcome_counts(status)[1]
    restarts = sum(pod.restarts for pod in pods if pod.active)
    again = spec["template"]["spec"].get("restartPolicy") == "OnFailure"
    if failed > limit or (again and restarts and restarts >= limit):
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    if (wait := until_deadline(job, status, now)) is not None and wait <= 0:
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    return "", ""


def until_deadline(job: Object, status: Mapping[str, Any], now: float) -> float | None:
    """Say in how many seconds a job may not run any longer; None if it has no deadline."""
    limit, start = job["spec"].get("activeDeadlineSeconds"), status.get("startTime")
    if limit is None or not start or job["spec"].get("suspend"):
        return None
    return seconds(start) + float(limit) - now


def is_done(job: Object, status: Mapping[str, Any], active: int) -> bool:
    """Tell whether enough pods have succeeded."""
    wanted, succeeded = job["spec"].get("completions"), outcome_counts(status)[0]
    if wanted is None:  # the pods share the work, and one that succeeds says that none is left
        return succeeded > 0 and active == 0
    return succeeded >= int(wanted)


def wanted_active(job: Object, status: Mapping[str, Any], active: int) -> int:
    """Say how many pods shall run now."""
    spec, succeeded = job["spec"], outcome_counts(status)[0]
    if spec.get("suspend"):
        return 0
    if spec.get("completions") is None:
        return active if succeeded else int(spec["parallelism"])
    return int(min(spec["parallelism"], max(spec["completions"] - succeeded, 0)))


def backoff(pods: Sequence[PodFact], now: float) -> float:
    """Say for how many seconds no new pod is made, after pods that failed in a row."""
    last_success = max((pod.ended_at for pod in pods if pod.phase == "Succeeded"), default=0.0)
    failures = [p.ended_at for p in pods if p.phase == "Failed" and p.ended_at > last_success]
    if not failures:
        return 0.0
    wait = float(min(_FIRST_BACKOFF * 2 ** min(len(failures) - 1, 10), _LONGEST_BACKOFF))
    return max(max(failures) + wait - now, 0.0)


def free_indexes(
    job: Object, status: Mapping[str, Any], active: Sequence[PodFact], number: int
) -> list[int]:
    """Give the lowest places of an indexed job that are neither done nor under way."""
    taken = {int(pod.index) for pod in active if pod.index.isdigit()}
    taken |= read_indexes(status.get("completedIndexes", ""))
    every = range(job["spec"].get("completions") or 0)
    return [each for each in every if each not in taken][:number]


def pod(job: Object, reference: Object, index: int | None) -> Object:
    """Make a pod of a job, held by a finalizer until it is counted."""
    made = pod_of(job["spec"]["template"], job, reference)
    metadata = made["metadata"]
    metadata["finalizers"] = [*(metadata.get("finalizers") or ()), TRACKING]
    if index is None:
        return made
    name = job["metadata"]["name"]
    metadata["generateName"] = f"{name}-{index}-"
    metadata["annotations"] = {**(metadata.get("annotations") or {}), INDEX: str(index)}
    metadata["labels"] = {**(metadata.get("labels") or {}), INDEX: str(index)}
    spec = made["spec"] = dict(made["spec"])
    spec.setdefault("hostname", f"{name}-{index}")
    for part in ("initContainers", "containers"):
        if spec.get(part):
            spec[part] = [_with_index(each) for each in spec[part]]
    return made


def _with_index(container: Object) -> Object:
    env = container.get("env") or []
    if any(each.get("name") == "JOB_COMPLETION_INDEX" for each in env):
        return container
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
    return {**container, "env": [*env, {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}]}
