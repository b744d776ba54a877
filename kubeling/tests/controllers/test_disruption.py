"""PodDisruptionBudgets through the API: status counts and evictions."""

import asyncio
from typing import Any

import pytest

from tests.controllers.workloads import (
    BUDGETS,
    DEPLOYMENTS,
    PODS,
    REPLICATION_CONTROLLERS,
    create,
    deployment,
    get,
    is_rolled_out,
    merge,
    pods,
    replication_controller,
    serve_pods,
    set_pod_status,
    template,
    until,
)

PDB = f"{BUDGETS}/web"
DEP = f"{DEPLOYMENTS}/web"


def budget(name: str = "web", **spec: Any) -> Any:
    body = {"selector": {"matchLabels": {"app": "web"}}, **spec}
    return {"metadata": {"name": name}, "spec": body}


async def create_ready_pods(live: Any, replicas: int = 3) -> list[Any]:
    await create(live, DEPLOYMENTS, deployment("web", replicas))
    await serve_pods(live, "app=web", is_rolled_out, DEP)
    return await pods(live, "app=web", replicas)


async def evict(live: Any, pod: Any, **body: Any) -> Any:
    name = pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    return await live.call("POST", f"{PODS}/{name}/eviction", {**eviction, **body})


def counts(found: Any) -> tuple[int, ...]:
    names = ("expectedPods", "currentHealthy", "desiredHealthy", "disruptionsAllowed")
    return tuple(found["status"].get(name) for name in names)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"minAvailable": 2}, (3, 3, 2, 1)),
        ({"minAvailable": "50%"}, (3, 3, 2, 1)),
        ({"minAvailable": "100%"}, (3, 3, 3, 0)),
        ({"maxUnavailable": 1}, (3, 3, 2, 1)),
        ({"maxUnavailable": "50%"}, (3, 3, 1, 2)),
        ({"maxUnavailable": 5}, (3, 3, 0, 3)),
    ],
)
async def test_budget_status_counts_its_pods(
    live: Any, spec: Any, expected: tuple[int, ...]
) -> None:
    await create_ready_pods(live)
    await create(live, BUDGETS, budget(**spec))
    found = await until(live, PDB, lambda body: counts(body) == expected)
    allowed = found["status"]["conditions"][0]
    assert allowed["type"] == "DisruptionAllowed"
    assert allowed["status"] == ("True" if expected[3] else "False")
    assert found["status"]["observedGeneration"] == 1


async def test_budget_expects_the_replicas_of_a_replication_controller(live: Any) -> None:
    await create(live, REPLICATION_CONTROLLERS, replication_controller("web", 2))
    await pods(live, "app=web", 2)
    await create(live, BUDGETS, budget(maxUnavailable=1))
    await until(live, PDB, lambda body: counts(body) == (2, 0, 1, 0))


async def test_an_eviction_that_breaks_the_budget_is_refused(live: Any) -> None:
    first, second, _ = await create_ready_pods(live)
    await create(live, BUDGETS, budget(minAvailable=2))
    await until(live, PDB, lambda body: counts(body)[3] == 1)
    assert (await evict(live, first)).status == 201
    refused = await evict(live, second)
    assert (refused.status, refused.body["reason"]) == (429, "TooManyRequests")
    cause = refused.body["details"]["causes"][0]
    assert cause["reason"] == "DisruptionBudget"
    assert cause["message"].startswith("The disruption budget web needs 2 healthy pods and has ")
    await pods(live, "app=web", 3)
    await serve_pods(live, "app=web", is_rolled_out, DEP)
    await until(live, PDB, lambda body: counts(body) == (3, 3, 2, 1))
    assert (await evict(live, second)).status == 201


async def test_two_evictions_at_once_need_two_disruptions(live: Any) -> None:
    found = await create_ready_pods(live)
    await create(live, BUDGETS, budget(maxUnavailable=1))
    await until(live, PDB, lambda body: counts(body)[3] == 1)
    done = await asyncio.gather(*(evict(live, pod) for pod in found))
    assert sorted(each.status for each in done) == [201, 429, 429]


async def test_unhealthy_pod_may_be_evicted_if_the_policy_allows(live: Any) -> None:
    first, second, _ = await create_ready_pods(live)
    await create(live, BUDGETS, budget(minAvailable="100%"))
    await until(live, PDB, lambda body: counts(body)[3] == 0 and body["status"]["expectedPods"])
    assert (await evict(live, first)).status == 429
    await set_pod_status(live, second, "Running", ready=False)
    await until(live, PDB, lambda body: counts(body)[1] == 2)
    assert (await evict(live, second)).status == 429
    await merge(live, PDB, {"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}})
    assert (await evict(live, second)).status == 201
    new = next(pod for pod in await pods(live, "app=web", 3) if pod["status"]["phase"] == "Pending")
    assert (await evict(live, new)).status == 201


async def test_a_pod_of_two_budgets_cannot_be_evicted(live: Any) -> None:
    pod = (await create_ready_pods(live, 1))[0]
    for name in ("web", "also"):
        await create(live, BUDGETS, budget(name, minAvailable=0))
    refused = await evict(live, pod)
    assert refused.status == 500
    assert "more than one PodDisruptionBudget" in refused.body["message"]


async def test_dry_run_eviction_uses_no_disruption(live: Any) -> None:
    pod = (await create_ready_pods(live, 2))[0]
    await create(live, BUDGETS, budget(maxUnavailable=1))
    await until(live, PDB, lambda body: counts(body)[3] == 1)
    assert (await evict(live, pod, deleteOptions={"dryRun": ["All"]})).status == 201
    assert counts(await get(live, PDB))[3] == 1


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"minAvailable": 1, "maxUnavailable": 1}, "spec"),
        ({"minAvailable": "101%"}, "spec.minAvailable"),
        ({"maxUnavailable": "x"}, "spec.maxUnavailable"),
        ({"minAvailable": -1}, "spec.minAvailable"),
        ({"unhealthyPodEvictionPolicy": "Never"}, "spec.unhealthyPodEvictionPolicy"),
    ],
)
async def test_invalid_budget_is_refused(live: Any, spec: Any, field: str) -> None:
    refused = await live.call("POST", BUDGETS, budget(**spec))
    assert refused.status == 422
    assert [each["field"] for each in refused.body["details"]["causes"]] == [field]


@pytest.mark.parametrize("field", ["resourceVersion", "uid"])
async def test_eviction_with_a_precondition_evicts_only_that_pod(live: Any, field: str) -> None:
    """Fails if the condition of an evicted pod is set before its preconditions are checked."""
    made = await create(live, PODS, {"metadata": {"name": "p"}, "spec": template("p")["spec"]})
    wrong = await evict(live, made, deleteOptions={"preconditions": {field: "1"}})
    assert wrong.status == 409, wrong.text
    kept = await get(live, f"{PODS}/p")
    assert kept["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    right = {"preconditions": {field: made["metadata"][field]}}
    assert (await evict(live, made, deleteOptions=right)).status == 201
