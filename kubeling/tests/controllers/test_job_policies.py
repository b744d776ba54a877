"""podFailurePolicy, backoffLimitPerIndex and successPolicy of Jobs, through the API."""

from typing import Any

from tests.controllers.workloads import (
    JOBS,
    MERGE,
    PODS,
    condition,
    create,
    get,
    job,
    pods,
    set_pod_status,
    until,
)

JOB = f"{JOBS}/j"
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
PER_INDEX: Any = {"completionMode": "Indexed", "backoffLimitPerIndex": 1}


def rules(*given: Any) -> Any:
    return {"podFailurePolicy": {"rules": list(given)}}


def on_exit_code(action: str, *values: int, operator: str = "In") -> Any:
    return {"action": action, "onExitCodes": {"operator": operator, "values": list(values)}}


async def fail(live: Any, pod: Any, code: int = 1, at: str = "2026-01-01T00:00:00Z") -> None:
    ended = {"terminated": {"exitCode": code, "finishedAt": at}}
    status = {"name": "c", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
    await set_pod_status(
        live, pod, "Failed", containerStatuses=[{**status, "state": ended, "lastState": {}}]
    )


async def outcome(live: Any, kind: str) -> tuple[str, Any]:
    """Return the reason of the condition with which a Job ends, and the Job."""
    found = await until(live, JOB, lambda job: condition(job, kind))
    return condition(found, kind)["reason"], found


def index_of(pod: Any) -> int:
    return int(pod["metadata"]["annotations"][INDEX])


async def active(live: Any, count: int) -> dict[int, Any]:
    """Return the pods that have not ended by their index."""

    def pending(body: Any) -> list[Any]:
        return [each for each in body["items"] if each["status"]["phase"] == "Pending"]

    path = f"{PODS}?labelSelector=job-name=j"
    found = await until(live, path, lambda body: len(pending(body)) == count)
    return {index_of(each): each for each in pending(found)}


async def test_exit_code_that_fails_the_job_ends_it_before_its_backoff_limit(live: Any) -> None:
    body = job("j", completions=2, parallelism=2, **rules(on_exit_code("FailJob", 42)))
    await create(live, JOBS, body)
    first, second = await pods(live, "job-name=j", 2)
    await fail(live, first, 42)
    reason, _ = await outcome(live, "FailureTarget")
    assert reason == "PodFailurePolicy"
    await until(live, f"{PODS}/{second['metadata']['name']}", lambda p: not p)
    reason, found = await outcome(live, "Failed")
    assert reason == "PodFailurePolicy"
    message = condition(found, "Failed")["message"]
    assert "failed with exit code 42 matching FailJob rule at index 0" in message


async def test_failure_of_an_evicted_pod_can_be_ignored(live: Any) -> None:
    disrupted = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    body = job("j", backoffLimit=0, **rules(disrupted))
    body["spec"]["template"]["spec"]["nodeName"] = "node"
    await create(live, JOBS, body)
    [first] = await pods(live, "job-name=j", 1)
    path = f"{PODS}/{first['metadata']['name']}"
    evicted = await live.call(
        "POST", f"{path}/eviction", {"metadata": {"name": path.split("/")[-1]}}
    )
    assert evicted.status == 201, evicted.text
    done = await live.call(
        "PATCH", f"{path}/status", {"status": {"phase": "Failed"}}, content_type=MERGE
    )
    assert done.status == 200
    [second] = await pods(live, "job-name=j", 1)
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    await until(live, path, lambda pod: "finalizers" not in pod["metadata"])
    found = await get(live, JOB)
    assert "failed" not in found["status"]
    assert not found["status"].get("conditions")
    # A failure without the condition counts.
    await fail(live, second)
    assert (await outcome(live, "Failed"))[0] == "BackoffLimitExceeded"


async def test_index_fails_after_its_own_backoff_limit_and_the_others_complete(live: Any) -> None:
    await create(live, JOBS, job("j", completions=2, parallelism=2, **PER_INDEX))
    by_index = await active(live, 2)
    assert by_index[0]["metadata"]["annotations"][FAILURES] == "0"
    await fail(live, by_index[0])
    by_index = await active(live, 2)
    assert by_index[0]["metadata"]["annotations"][FAILURES] == "1"
    await set_pod_status(live, by_index[1], "Succeeded")
    await fail(live, by_index[0])
    reason, found = await outcome(live, "Failed")
    assert reason == "FailedIndexes"
    status = found["status"]
    assert (status["failedIndexes"], status["completedIndexes"]) == ("0", "1")
    assert (status["failed"], status["succeeded"]) == (2, 1)


async def test_job_fails_with_more_failed_indexes_than_allowed(live: Any) -> None:
    limits: Any = {**PER_INDEX, "backoffLimitPerIndex": 0, "maxFailedIndexes": 1}
    await create(live, JOBS, job("j", completions=4, parallelism=4, **limits))
    by_index = await active(live, 4)
    await fail(live, by_index[0])
    await until(live, JOB, lambda job: job["status"].get("failedIndexes") == "0")
    await fail(live, by_index[2])
    reason, found = await outcome(live, "Failed")
    assert (reason, found["status"]["failedIndexes"]) == ("MaxFailedIndexesExceeded", "0,2")


async def test_exit_code_that_fails_an_index_skips_its_retries(live: Any) -> None:
    policy = rules(on_exit_code("FailIndex", 42))
    await create(live, JOBS, job("j", completions=2, parallelism=2, **PER_INDEX, **policy))
    by_index = await active(live, 2)
    await fail(live, by_index[1], 42)
    await until(live, JOB, lambda job: job["status"].get("failedIndexes") == "1")
    assert list(await active(live, 1)) == [0]


async def test_success_policy_completes_the_job_and_ends_the_other_pods(live: Any) -> None:
    policy = {
        "rules": [{"succeededIndexes": "0-1"}, {"succeededIndexes": "1-2", "succeededCount": 1}]
    }
    body = job("j", completions=3, parallelism=3, completionMode="Indexed", successPolicy=policy)
    await create(live, JOBS, body)
    by_index = await active(live, 3)
    await set_pod_status(live, by_index[2], "Succeeded")
    reason, found = await outcome(live, "Complete")
    assert reason == "SuccessPolicy"
    assert condition(found, "Complete")["message"] == "Matched rules at index 1"
    assert condition(found, "SuccessCriteriaMet")["reason"] == "SuccessPolicy"
    assert found["status"]["completedIndexes"] == "2"
