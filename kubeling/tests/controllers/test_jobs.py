"""Jobs through the API: counting, retries, failure, suspension and TTL."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.controllers.workloads import (
    JOBS,
    PODS,
    condition,
    create,
    events,
    get,
    job,
    merge,
    pods,
    set_pod_status,
    until,
)

JOB = f"{JOBS}/j"


def has_count(part: str, count: int) -> Callable[[Any], bool]:
    return lambda found: found["status"].get(part) == count


def is_true(found: Any, kind: str) -> bool:
    return bool(condition(found, kind)) and condition(found, kind)["status"] == "True"


async def test_a_job_is_complete_when_its_pods_have_succeeded(live: Any) -> None:
    await create(live, JOBS, job("j", completions=3, parallelism=2))
    for pod in await pods(live, "job-name=j", 2):
        assert pod["metadata"]["finalizers"] == ["batch.kubernetes.io/job-tracking"]
        await set_pod_status(live, pod, "Succeeded")
    await until(live, JOB, lambda found: found["status"].get("active") == 1)
    last = next(
        pod for pod in await pods(live, "job-name=j", 3) if pod["status"]["phase"] == "Pending"
    )
    await set_pod_status(live, last, "Succeeded")
    done = await until(live, JOB, lambda found: is_true(found, "Complete"))
    assert done["status"]["succeeded"] == 3
    assert {"startTime", "completionTime"} <= done["status"].keys()
    assert is_true(done, "SuccessCriteriaMet")
    assert any("Completed: Job completed" in each for each in await events(live, "j", 4))
    for pod in await pods(live, "job-name=j", 3):
        assert "finalizers" not in pod["metadata"]


async def test_job_still_counts_succeeded_pods_after_their_deletion(live: Any) -> None:
    """Fails if the counts come only from the pods that exist."""
    await create(live, JOBS, job("j", completions=2))
    for count in (1, 2):
        pod = (await pods(live, "job-name=j", 1))[0]
        await set_pod_status(live, pod, "Succeeded")
        await until(live, JOB, has_count("succeeded", count))
        path = f"{PODS}/{pod['metadata']['name']}"
        await live.call("DELETE", path)
        await until(live, path, lambda body: body is None)
    done = await until(live, JOB, lambda found: is_true(found, "Complete"))
    assert done["status"]["succeeded"] == 2


async def test_terminating_pod_is_not_replaced_by_a_job_that_replaces_failed_pods(
    live: Any,
) -> None:
    await create(live, JOBS, job("j", completions=1, podReplacementPolicy="Failed"))
    pod = (await pods(live, "job-name=j", 1))[0]
    path = f"{PODS}/{pod['metadata']['name']}"
    target = {
        "metadata": {"name": pod["metadata"]["name"]},
        "target": {"kind": "Node", "name": "n"},
    }
    await live.call("POST", f"{path}/binding", target)
    await live.call("DELETE", path)
    waiting = await until(live, JOB, has_count("terminating", 1))
    assert not {"active", "failed"} & waiting["status"].keys()
    every = f"{PODS}?labelSelector=job-name=j"
    assert len((await get(live, every))["items"]) == 1
    await set_pod_status(live, pod, "Failed")
    ended = await until(live, JOB, has_count("failed", 1))
    assert ended["status"]["terminating"] == 0


async def test_job_fails_after_its_backoff_limit(live: Any) -> None:
    await create(live, JOBS, job("j", backoffLimit=0))
    await set_pod_status(live, (await pods(live, "job-name=j", 1))[0], "Failed")
    failed = await until(live, JOB, lambda found: is_true(found, "Failed"))
    assert condition(failed, "Failed")["reason"] == "BackoffLimitExceeded"
    assert failed["status"]["failed"] == 1
    assert "completionTime" not in failed["status"]
    assert any("BackoffLimitExceeded" in each for each in await events(live, "j", 2))


async def test_pod_after_a_failure_has_a_backoff(serve: Any) -> None:
    now = [1_767_225_600.0]
    live = await serve(clock=lambda: now[0])
    await create(live, JOBS, job("j"))
    first = (await pods(live, "job-name=j", 1))[0]
    state = {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:00:00Z"}}
    await set_pod_status(live, first, "Failed", containerStatuses=[{"name": "c", "state": state}])
    await until(live, JOB, lambda found: found["status"].get("failed") == 1)
    await asyncio.sleep(0.2)
    assert len(await pods(live, "job-name=j")) == 1
    now[0] += 11
    await merge(live, JOB, {"metadata": {"labels": {"reconcile": "again"}}})
    await pods(live, "job-name=j", 2)


async def test_container_restarts_count_against_the_backoff_limit(live: Any) -> None:
    await create(live, JOBS, job("j", "OnFailure", backoffLimit=2))
    pod = (await pods(live, "job-name=j", 1))[0]
    await set_pod_status(live, pod, "Running", containerStatuses=[{"name": "c", "restartCount": 2}])
    failed = await until(live, JOB, lambda found: is_true(found, "Failed"))
    assert condition(failed, "Failed")["reason"] == "BackoffLimitExceeded"
    assert not await pods(live, "job-name=j")


async def test_job_past_its_deadline_fails(serve: Any) -> None:
    now = [1_767_225_600.0]
    live = await serve(clock=lambda: now[0])
    await create(live, JOBS, job("j", activeDeadlineSeconds=60))
    await until(live, JOB, lambda found: found["status"].get("active") == 1)
    now[0] += 61
    await merge(live, JOB, {"metadata": {"labels": {"reconcile": "again"}}})
    failed = await until(live, JOB, lambda found: is_true(found, "Failed"))
    assert condition(failed, "Failed")["reason"] == "DeadlineExceeded"
    await until(live, f"{PODS}?labelSelector=job-name=j", lambda body: not body["items"])


async def test_suspended_job_runs_no_pods(live: Any) -> None:
    await create(live, JOBS, job("j", suspend=True))
    await until(live, JOB, lambda found: is_true(found, "Suspended"))
    assert not await pods(live, "job-name=j")
    await merge(live, JOB, {"spec": {"suspend": False}})
    await pods(live, "job-name=j", 1)
    await merge(live, JOB, {"spec": {"suspend": True}})
    await pods(live, "job-name=j", 0)
    found = await until(live, JOB, lambda found: is_true(found, "Suspended"))
    assert "startTime" not in found["status"]
    assert "failed" not in found["status"] or found["status"]["failed"] <= 1


async def test_finished_job_is_deleted_after_its_ttl_with_its_pods(serve: Any) -> None:
    now = [1_767_225_600.0]
    live = await serve(clock=lambda: now[0])
    await create(live, JOBS, job("j", ttlSecondsAfterFinished=1))
    await set_pod_status(live, (await pods(live, "job-name=j", 1))[0], "Succeeded")
    await until(live, JOB, lambda found: is_true(found, "Complete"))
    now[0] += 2
    await until(live, JOB, lambda found: found is None)
    await until(live, f"{PODS}?labelSelector=job-name=j", lambda body: not body["items"])


async def test_each_index_of_an_indexed_job_completes_once(live: Any) -> None:
    body = job("j", completions=3, parallelism=3, completionMode="Indexed")
    await create(live, JOBS, body)
    found = await pods(live, "job-name=j", 3)
    key = "batch.kubernetes.io/job-completion-index"
    places = {pod["metadata"]["annotations"][key]: pod for pod in found}
    assert set(places) == {"0", "1", "2"}
    assert places["1"]["spec"]["hostname"] == "j-1"
    variable = places["1"]["spec"]["containers"][0]["env"][0]
    assert variable["name"] == "JOB_COMPLETION_INDEX"
    await set_pod_status(live, places["0"], "Succeeded")
    await set_pod_status(live, places["2"], "Succeeded")
    some = await until(live, JOB, lambda body: body["status"].get("succeeded") == 2)
    assert some["status"]["completedIndexes"] == "0,2"
    await set_pod_status(live, places["1"], "Succeeded")
    done = await until(live, JOB, lambda body: is_true(body, "Complete"))
    assert done["status"]["completedIndexes"] == "0-2"


async def test_work_queue_job_ends_after_the_first_success(live: Any) -> None:
    """The first success means that no work is left: no pod is created, and running pods may finish."""
    await create(live, JOBS, job("j", parallelism=2))
    first, second = await pods(live, "job-name=j", 2)
    await set_pod_status(live, first, "Succeeded")
    await until(live, JOB, lambda found: found["status"].get("succeeded") == 1)
    assert not is_true(await get(live, JOB), "Complete")
    await set_pod_status(live, second, "Succeeded")
    await until(live, JOB, lambda found: is_true(found, "Complete"))


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
async def test_deleting_a_job_with_a_policy_deletes_its_pods(live: Any, policy: str) -> None:
    await create(live, JOBS, job("j"))
    await pods(live, "job-name=j", 1)
    await live.call("DELETE", f"{JOB}?propagationPolicy={policy}")
    await until(live, f"{PODS}?labelSelector=job-name=j", lambda body: not body["items"])
    await until(live, JOB, lambda found: found is None)


async def test_deleting_a_job_without_propagation_policy_orphans_pods(live: Any) -> None:
    await create(live, JOBS, job("j"))
    name = (await pods(live, "job-name=j", 1))[0]["metadata"]["name"]
    await live.call("DELETE", JOB)
    left = await until(live, f"{PODS}/{name}", lambda pod: "finalizers" not in pod["metadata"])
    assert "ownerReferences" not in left["metadata"]


async def test_template_of_a_job_is_immutable(live: Any) -> None:
    made = await create(live, JOBS, job("j"))
    container = {"name": "c", "image": "other:1"}
    change = {"spec": {"template": {"spec": {"containers": [container]}}}}
    merge_patch = "application/merge-patch+json"
    refused = await live.call("PATCH", JOB, change, content_type=merge_patch)
    assert refused.status == 422
    assert [each["field"] for each in refused.body["details"]["causes"]] == ["spec.template"]
    labels = made["spec"]["template"]["metadata"]["labels"]
    again = job("again")
    again["spec"]["template"]["metadata"] = {"labels": labels}
    refused = await live.call("POST", JOBS, again)
    fields = {each["field"] for each in refused.body["details"]["causes"]}
    assert "spec.template.metadata.labels" in fields
