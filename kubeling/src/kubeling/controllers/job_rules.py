"""Decide when a Job is complete, has failed, or needs pods, also by its policies. Pure.

Source: k8s.io/kubernetes v1.34 pkg/controller/job.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kubeling.apiserver.storage.storage import Object
from kubeling.clock import rfc3339
from kubeling.controllers.pod_info import INDEX, INDEX_FAILURES, TRACKING, PodInfo, seconds
from kubeling.controllers.replicasets import pod_from_template

FAIL_JOB, FAIL_INDEX, IGNORE = "FailJob", "FailIndex", "Ignore"


def read_indexes(text: str) -> set[int]:
    """Parse `0,2-4` into a set."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def action(job: Object, pod: PodInfo) -> tuple[str, str]:
    """Return the action of the first rule that matches a failed pod, and the reason; else empty strings."""
    rules = (job["spec"].get("podFailurePolicy") or {}).get("rules") or ()
    if pod.phase != "Failed":
        return "", ""
    for at, rule in enumerate(rules):
        what = _matching(rule, pod)
        if what:
            return rule["action"], f"{what} matching {rule['action']} rule at index {at}"
    return "", ""


def _matching(rule: Mapping[str, Any], pod: PodInfo) -> str:
    place = f"{pod.namespace}/{pod.name}"
    if wanted := rule.get("onExitCodes"):
        for name, code in pod.exit_codes:
            listed = code in wanted["values"]
            fits = listed if wanted["operator"] == "In" else not listed
            if code and fits and wanted.get("containerName") in (None, name):
                return f"Container {name} for pod {place} failed with exit code {code}"
        return ""
    patterns = {(each["type"], each["status"]) for each in rule.get("onPodConditions") or ()}
    found = next((each for each in pod.conditions if each in patterns), None)
    return f"Pod {place} has condition {found[0]}" if found else ""


def limits_indexes(job: Object) -> bool:
    """Return whether each index of a Job has a backoff limit of its own."""
    return job["spec"].get("backoffLimitPerIndex") is not None


def failed_indexes(job: Object, status: Mapping[str, Any], pods: Sequence[PodInfo]) -> set[int]:
    """Return the indexes that have failed, with those of pods that are not yet counted."""
    found = read_indexes(status.get("failedIndexes") or "")
    limit = job["spec"]["backoffLimitPerIndex"]
    for pod in pods:
        if pod.tracked and pod.phase == "Failed" and pod.index.isdigit():
            decided = action(job, pod)[0]
            counts = decided != IGNORE and pod.index_failures >= limit
            if decided == FAIL_INDEX or counts:
                found.add(int(pod.index))
    return found


def is_replaced(pod: PodInfo, pods: Sequence[PodInfo], failed: set[int]) -> bool:
    """Return whether the failures of an index no longer depend on this failed pod.

    Until then the pod keeps its finalizer: the next pod of the index gets its number of failures from it.
    """
    return not pod.index.isdigit() or (
        int(pod.index) in failed
        or any(
            other.uid != pod.uid
            and other.index == pod.index
            and (other.created, other.index_failures) >= (pod.created, pod.index_failures)
            and (other.active or other.index_failures > pod.index_failures)
            for other in pods
        )
    )


def last_failed(pods: Sequence[PodInfo], index: int) -> PodInfo | None:
    """Return the failed pod of an index with the most failures."""
    found = (pod for pod in pods if pod.phase == "Failed" and pod.index == str(index))
    return max(found, key=lambda pod: (pod.index_failures, pod.ended_at), default=None)


def index_failures(job: Object, pods: Sequence[PodInfo], index: int) -> int:
    """Return the number of counted failures of an index."""
    last = last_failed(pods, index)
    if last is None:
        return 0
    return last.index_failures + (action(job, last)[0] != IGNORE)


def failure(job: Object, pods: Sequence[PodInfo]) -> tuple[str, str]:
    """Return reason and message if a pod failed in a way that fails the Job."""
    for pod in pods:
        decided, why = action(job, pod)
        if decided == FAIL_JOB:
            return "PodFailurePolicy", why
    return "", ""


def indexes_failure(job: Object, status: Mapping[str, Any]) -> tuple[str, str]:
    """Return reason and message if too many indexes have failed, or none is left."""
    spec = job["spec"]
    failed = len(read_indexes(status.get("failedIndexes") or ""))
    done = len(read_indexes(status.get("completedIndexes") or ""))
    if spec.get("maxFailedIndexes") is not None and failed > spec["maxFailedIndexes"]:
        why = "Job has exceeded the specified maximal number of failed indexes"
        return "MaxFailedIndexesExceeded", why
    if failed and failed + done >= spec["completions"]:
        return "FailedIndexes", "Job has failed indexes"
    return "", ""


def success(job: Object, status: Mapping[str, Any]) -> str:
    """Return a message if the completed indexes meet a rule of the success policy; else an empty string."""
    done = read_indexes(status.get("completedIndexes") or "")
    for at, rule in enumerate((job["spec"].get("successPolicy") or {}).get("rules") or ()):
        text, count = rule.get("succeededIndexes"), rule.get("succeededCount")
        wanted = read_indexes(text) if text else None
        met = done if wanted is None else done & wanted
        if (wanted is not None and met == wanted) or (count is not None and len(met) >= count):
            return f"Matched rules at index {at}"
    return ""


COMPLETE, FAILED, SUSPENDED = "Complete", "Failed", "Suspended"
SUCCEEDS, FAILS = "SuccessCriteriaMet", "FailureTarget"
_FIRST_BACKOFF, _LONGEST_BACKOFF = 10.0, 600.0
_UNCOUNTED = "uncountedTerminatedPods"


def true_condition(status: Mapping[str, Any], kind: str) -> Object | None:
    """Return the condition of this type if its status is True."""
    for each in status.get("conditions") or ():
        if each["type"] == kind and each["status"] == "True":
            found: Object = each
            return found
    return None


def is_finished(job: Object) -> bool:
    status = job.get("status") or {}
    return bool(true_condition(status, COMPLETE) or true_condition(status, FAILED))


def finished_at(job: Object) -> float:
    """Return the time at which a Job finished, in seconds since the epoch."""
    status = job.get("status") or {}
    ended = true_condition(status, COMPLETE) or true_condition(status, FAILED) or {}
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


def count_pods(job: Object, status: Object, pods: Sequence[PodInfo]) -> set[str]:
    """Count each ended pod exactly once, in the given status; return the uids of pods that are not counted.

    The uid of a pod is stored first; when its finalizer is removed, the uid becomes part of a count.
    After a crash in between, the next reconcile continues from the stored uids.
    """
    ignored = set[str]()
    kept = _kept_for_their_index(job, status, pods)
    waiting = status.get(_UNCOUNTED) or {}
    tracked = {pod.uid: pod for pod in pods if pod.tracked}
    indexes = read_indexes(status.get("completedIndexes", ""))
    left: dict[str, list[str]] = {}
    for part in ("succeeded", "failed"):
        stored = waiting.get(part) or []
        done = [uid for uid in stored if uid not in tracked]
        if done:
            status[part] = (status.get(part) or 0) + len(done)
        left[part] = [uid for uid in stored if uid in tracked]
    known = {uid for stored in left.values() for uid in stored}
    for pod in tracked.values():
        if pod.uid in known:
            continue
        if pod.phase == "Succeeded":
            if is_indexed(job):
                if not pod.index.isdigit() or int(pod.index) in indexes:
                    continue
                indexes.add(int(pod.index))
            left["succeeded"].append(pod.uid)
        # A deleted pod may count only when it has ended; a pod without a node never starts.
        elif pod.phase == "Failed" or (pod.deleting and not (waits_for_failed(job) and pod.node)):
            if action(job, pod)[0] == IGNORE:
                ignored.add(pod.uid)
            elif pod.uid not in kept:
                left["failed"].append(pod.uid)
    status[_UNCOUNTED] = {part: uids for part, uids in left.items() if uids}
    if indexes:
        status["completedIndexes"] = write_indexes(indexes)
    return ignored - kept


def _kept_for_their_index(job: Object, status: Object, pods: Sequence[PodInfo]) -> set[str]:
    """Set the failed indexes in a status; return the failed pods that wait for a successor."""
    if not limits_indexes(job):
        return set()
    failed = failed_indexes(job, status, pods)
    status["failedIndexes"] = write_indexes(failed)
    if any(true_condition(status, kind) for kind in (FAILS, SUCCEEDS)):
        return set()
    return {pod.uid for pod in pods if pod.phase == "Failed" and not is_replaced(pod, pods, failed)}


def waits_for_failed(job: Object) -> bool:
    """Return whether a Job replaces a terminating pod only after the pod has ended."""
    return bool(job["spec"].get("podReplacementPolicy") == "Failed")


def uncounted_uids(status: Mapping[str, Any]) -> set[str]:
    """Return the stored uids that are not yet part of a count."""
    waiting = status.get(_UNCOUNTED) or {}
    return {uid for uids in waiting.values() for uid in uids}


def outcome_counts(status: Mapping[str, Any]) -> tuple[int, int]:
    """Return the numbers of succeeded and failed pods."""
    waiting = status.get(_UNCOUNTED) or {}
    succeeded, failed = (
        (status.get(part) or 0) + len(waiting.get(part) or ()) for part in ("succeeded", "failed")
    )
    return succeeded, failed


def is_indexed(job: Object) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def write_indexes(indexes: Iterable[int]) -> str:
    """Format numbers as `0,2-4`; a run of two is written with a comma, as in the API."""
    runs: list[list[int]] = []
    for each in sorted(indexes):
        if runs and runs[-1][-1] == each - 1:
            runs[-1].append(each)
        else:
            runs.append([each])
    written = []
    for run in runs:
        separator = "-" if len(run) > 2 else ","
        written.append(str(run[0]) if len(run) == 1 else f"{run[0]}{separator}{run[-1]}")
    return ",".join(written)


def failure_reason(
    job: Object, status: Object, pods: Sequence[PodInfo], now: float
) -> tuple[str, str]:
    """Return reason and message of a failed Job; return empty strings for others."""
    spec = job["spec"]
    if (decided := failure(job, pods))[0]:
        return decided
    limit, failed = spec["backoffLimit"], outcome_counts(status)[1]
    restarts = sum(pod.restarts for pod in pods if pod.active)
    retries = spec["template"]["spec"].get("restartPolicy") == "OnFailure"
    if failed > limit or (retries and restarts and restarts >= limit):
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    if (wait := until_deadline(job, status, now)) is not None and wait <= 0:
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    return indexes_failure(job, status)


def until_deadline(job: Object, status: Mapping[str, Any], now: float) -> float | None:
    """Return the seconds until the deadline of a Job; None if it has none."""
    limit, start = job["spec"].get("activeDeadlineSeconds"), status.get("startTime")
    if limit is None or not start or job["spec"].get("suspend"):
        return None
    return seconds(start) + float(limit) - now


def is_done(job: Object, status: Mapping[str, Any], active: int) -> bool:
    """Return whether enough pods have succeeded."""
    wanted, succeeded = job["spec"].get("completions"), outcome_counts(status)[0]
    if wanted is None:  # a work queue Job: the first success means that no work is left
        return succeeded > 0 and active == 0
    return succeeded >= int(wanted)


def desired_active(job: Object, status: Mapping[str, Any], active: int) -> int:
    """Return the number of pods that should be active."""
    spec, succeeded = job["spec"], outcome_counts(status)[0]
    if spec.get("suspend"):
        return 0
    if spec.get("completions") is None:
        return active if succeeded else int(spec["parallelism"])
    failed = len(read_indexes(status.get("failedIndexes") or ""))
    return int(min(spec["parallelism"], max(spec["completions"] - succeeded - failed, 0)))


def backoff(pods: Sequence[PodInfo], now: float) -> float:
    """Return the backoff in seconds before the next pod, after consecutive failures."""
    last_success = max((pod.ended_at for pod in pods if pod.phase == "Succeeded"), default=0.0)
    failures = [p.ended_at for p in pods if p.phase == "Failed" and p.ended_at > last_success]
    if not failures:
        return 0.0
    wait = float(min(_FIRST_BACKOFF * 2 ** min(len(failures) - 1, 10), _LONGEST_BACKOFF))
    return max(max(failures) + wait - now, 0.0)


def index_backoff(pods: Sequence[PodInfo], index: int, now: float) -> float:
    """Return the backoff in seconds before the next pod of an index with a backoff limit of its own."""
    last = last_failed(pods, index)
    if last is None:
        return 0.0
    wait = float(min(_FIRST_BACKOFF * 2 ** min(last.index_failures, 10), _LONGEST_BACKOFF))
    return max(last.ended_at + wait - now, 0.0)


def free_indexes(
    job: Object, status: Mapping[str, Any], pods: Sequence[PodInfo], number: int
) -> list[int]:
    """Return the lowest completion indexes that are neither completed nor failed nor active."""
    waits = waits_for_failed(job)
    used = {
        int(pod.index)
        for pod in pods
        if pod.index.isdigit() and (pod.active or (waits and pod.deleting and not pod.ended))
    }
    for name in ("completedIndexes", "failedIndexes"):
        used |= read_indexes(status.get(name) or "")
    every = range(job["spec"].get("completions") or 0)
    return [each for each in every if each not in used][:number]


def new_pod(
    job: Object, reference: Object, index: int | None, pods: Sequence[PodInfo] = ()
) -> Object:
    """Build a pod of a Job, with the tracking finalizer that is removed when the pod is counted.

    `pods` are those of the Job; they have the number of failures of the index.
    """
    made = pod_from_template(job["spec"]["template"], job, reference)
    metadata = made["metadata"]
    metadata["finalizers"] = [*(metadata.get("finalizers") or ()), TRACKING]
    if index is None:
        return made
    name = job["metadata"]["name"]
    metadata["generateName"] = f"{name}-{index}-"
    metadata["annotations"] = {**(metadata.get("annotations") or {}), INDEX: str(index)}
    if limits_indexes(job):
        metadata["annotations"][INDEX_FAILURES] = str(index_failures(job, pods, index))
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
