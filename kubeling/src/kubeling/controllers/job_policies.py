"""The policies of a Job: podFailurePolicy, backoffLimitPerIndex and successPolicy. Pure.

Source: k8s.io/kubernetes v1.34 pkg/controller/job.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kubeling.apiserver.storage.storage import Object
from kubeling.controllers.pod_info import PodInfo

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
