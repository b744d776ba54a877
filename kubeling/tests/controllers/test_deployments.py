"""Deployments through the API: rollout, rollback, scaling, pause and progress deadline."""

import asyncio
from typing import Any

from tests.controllers.workloads import (
    DEPLOYMENTS,
    PODS,
    SETS,
    condition,
    create,
    deployment,
    events,
    get,
    is_rolled_out,
    merge,
    pods,
    serve_pods,
    set_pod_status,
    template,
    until,
)

DEP = f"{DEPLOYMENTS}/web"


async def roll_out(live: Any, **spec: Any) -> Any:
    await create(live, DEPLOYMENTS, deployment("web", **spec))
    return await serve_pods(live, "app=web", is_rolled_out, DEP)


async def sets(live: Any) -> dict[str, Any]:
    """Return the ReplicaSets of the Deployment by the image of their template."""
    items = (await get(live, SETS))["items"]
    return {each["spec"]["template"]["spec"]["containers"][0]["image"]: each for each in items}


async def image(live: Any, name: str) -> Any:
    return await merge(live, DEP, {"spec": {"template": template("web", name)}})


async def test_rollout_stays_within_max_surge_and_max_unavailable(live: Any) -> None:
    await roll_out(live, replicas=4)
    await image(live, "app:2")
    most, least = 0, 9
    for _ in range(400):
        found = (await get(live, f"{PODS}?labelSelector=app=web"))["items"]
        ready = [each for each in found if condition(each, "Ready")]
        most, least = max(most, len(found)), min(least, len(ready))
        for pod in found:
            if pod["status"]["phase"] == "Pending":
                await set_pod_status(live, pod, "Running", ready=True)
        if is_rolled_out(await get(live, DEP)):
            break
        await asyncio.sleep(0.02)
    else:
        raise AssertionError("the rollout did not complete")
    assert (most, least) == (5, 3)
    old, new = (await sets(live))["app:1"], (await sets(live))["app:2"]
    assert (old["spec"]["replicas"], new["spec"]["replicas"]) == (0, 4)
    found_events = await events(live, "web", 3)
    assert any("Scaled up replica set" in each and "from 0 to 4" in each for each in found_events)


async def test_recreate_waits_for_the_last_old_pod(live: Any) -> None:
    await roll_out(live, strategy={"type": "Recreate"})
    pod = (await pods(live, "app=web"))[0]["metadata"]["name"]
    await merge(live, f"{PODS}/{pod}", {"metadata": {"finalizers": ["example.com/hold"]}})
    await image(live, "app:2")
    await until(live, f"{PODS}/{pod}", lambda pod: "deletionTimestamp" in pod["metadata"])
    await asyncio.sleep(0.3)
    assert "app:2" not in await sets(live)
    await merge(live, f"{PODS}/{pod}", {"metadata": {"finalizers": None}})
    await serve_pods(live, "app=web", is_rolled_out, DEP)
    assert (await sets(live))["app:2"]["spec"]["replicas"] == 2


async def test_rollback_reuses_the_replica_set_with_a_new_revision(live: Any) -> None:
    await roll_out(live)
    first = (await sets(live))["app:1"]["metadata"]["uid"]
    await image(live, "app:2")
    await serve_pods(live, "app=web", is_rolled_out, DEP)
    await image(live, "app:1")
    found = await serve_pods(live, "app=web", is_rolled_out, DEP)
    back = (await sets(live))["app:1"]["metadata"]
    assert back["uid"] == first
    assert back["annotations"]["deployment.kubernetes.io/revision"] == "3"
    assert back["annotations"]["deployment.kubernetes.io/revision-history"] == "1"
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"


async def test_revision_history_limit_is_enforced(live: Any) -> None:
    await roll_out(live, revisionHistoryLimit=1)
    for number in (2, 3):
        await image(live, f"app:{number}")
        await serve_pods(live, "app=web", is_rolled_out, DEP)
    await until(live, SETS, lambda body: len(body["items"]) == 2)
    assert set(await sets(live)) == {"app:2", "app:3"}


async def test_a_paused_deployment_is_scaled_and_not_rolled_out(live: Any) -> None:
    await roll_out(live)
    await merge(live, DEP, {"spec": {"paused": True}})
    await image(live, "app:2")
    await merge(live, DEP, {"spec": {"replicas": 3}})
    await pods(live, "app=web", 3)
    paused = await until(live, DEP, lambda found: condition(found, "Progressing"))
    assert condition(paused, "Progressing")["reason"] == "DeploymentPaused"
    assert set(await sets(live)) == {"app:1"}
    await merge(live, DEP, {"spec": {"paused": False}})
    await serve_pods(live, "app=web", is_rolled_out, DEP)
    assert (await sets(live))["app:2"]["spec"]["replicas"] == 3


async def test_rollout_without_progress_exceeds_its_deadline(serve: Any) -> None:
    now = [1_767_225_600.0]
    live = await serve(clock=lambda: now[0])
    await create(live, DEPLOYMENTS, deployment("web", progressDeadlineSeconds=5))
    await until(live, DEP, lambda found: found["status"].get("replicas") == 2)
    now[0] += 6
    stuck = await until(
        live,
        DEP,
        lambda found: condition(found, "Progressing")["reason"] == "ProgressDeadlineExceeded",
    )
    assert condition(stuck, "Progressing")["status"] == "False"
    found = await serve_pods(live, "app=web", is_rolled_out, DEP)
    done = await until(
        live, DEP, lambda body: condition(body, "Progressing")["reason"] == "NewReplicaSetAvailable"
    )
    assert condition(done, "Available")["status"] == "True", found


async def test_orphan_replica_set_is_adopted(live: Any) -> None:
    await roll_out(live)
    uid = (await sets(live))["app:1"]["metadata"]["uid"]
    await live.call("DELETE", f"{DEP}?propagationPolicy=Orphan")
    await until(live, DEP, lambda found: found is None)
    orphan = (await sets(live))["app:1"]
    assert "ownerReferences" not in orphan["metadata"]
    await create(live, DEPLOYMENTS, deployment("web"))
    await until(live, DEP, is_rolled_out)
    assert (await sets(live))["app:1"]["metadata"]["uid"] == uid
    assert len(await pods(live, "app=web")) == 2


async def test_refused_pod_is_reported_on_the_deployment(live: Any) -> None:
    pod = template("web", serviceAccountName="missing")
    await create(live, DEPLOYMENTS, deployment("web", template=pod))
    found = await until(live, DEP, lambda body: condition(body, "ReplicaFailure"))
    failure = condition(found, "ReplicaFailure")
    assert failure["reason"] == "FailedCreate"
    assert "missing" in failure["message"]
    name = (await sets(live))["app:1"]["metadata"]["name"]
    found_events = await events(live, name)
    assert found_events[0].startswith("Warning FailedCreate: Error creating: pods ")
    account = {"metadata": {"name": "missing"}}
    await create(live, "/api/v1/namespaces/default/serviceaccounts", account)
    await pods(live, "app=web", 2)
    await until(live, DEP, lambda body: condition(body, "ReplicaFailure") is None)


async def test_scaling_during_a_rollout_is_proportional(live: Any) -> None:
    await roll_out(live, replicas=10)
    await image(live, "app:broken")
    broken = f"{SETS}?labelSelector=app=web"
    await until(
        live,
        broken,
        lambda body: sorted(each["spec"]["replicas"] for each in body["items"]) == [5, 8],
    )
    await merge(live, DEP, {"spec": {"replicas": 20}})
    await until(
        live,
        broken,
        lambda body: sorted(each["spec"]["replicas"] for each in body["items"]) == [10, 15],
    )
