"""ReplicaSets and ReplicationControllers through the API: number and choice of pods, and status."""

from typing import Any

import pytest

from tests.controllers.workloads import (
    NAMESPACE,
    PODS,
    REPLICATION_CONTROLLERS,
    SETS,
    create,
    deployment,
    events,
    get,
    merge,
    pods,
    replication_controller,
    set_pod_status,
    template,
    until,
)

POD_SPEC = {"containers": [{"name": "c", "image": "i:1"}]}


def replica_set(name: str, replicas: int, **spec: Any) -> Any:
    return deployment(name, replicas, **spec)


async def test_deleted_or_finished_pods_are_replaced(live: Any) -> None:
    await create(live, SETS, replica_set("rs", 3))
    first, second, _ = await pods(live, "app=rs", 3)
    await live.call("DELETE", f"{PODS}/{first['metadata']['name']}")
    await set_pod_status(live, second, "Failed")
    await until(live, f"{PODS}?labelSelector=app=rs", lambda body: len(body["items"]) == 4)
    await until(live, f"{SETS}/rs", lambda body: body["status"]["replicas"] == 3)
    gone = await live.call("GET", f"{PODS}/{first['metadata']['name']}")
    assert gone.status == 404


async def test_scale_down_deletes_the_least_valuable_pods_first(live: Any) -> None:
    await create(live, SETS, replica_set("rs", 4))
    _, old, young, cheap = found = await pods(live, "app=rs", 4)
    for pod in found:
        target = {"target": {"kind": "Node", "name": "n"}}
        await live.call("POST", f"{PODS}/{pod['metadata']['name']}/binding", target)
    await set_pod_status(live, old, "Running", ready=True)
    await set_pod_status(live, young, "Running", ready=True, since="2026-06-01T00:00:00Z")
    await set_pod_status(live, cheap, "Running", ready=True)
    cost = {"controller.kubernetes.io/pod-deletion-cost": "-1"}
    await merge(live, f"{PODS}/{cheap['metadata']['name']}", {"metadata": {"annotations": cost}})
    for count, stay in ((3, (old, young, cheap)), (2, (old, young)), (1, (old,))):
        await merge(live, f"{SETS}/rs/scale", {"spec": {"replicas": count}})
        left = {each["metadata"]["name"] for each in await pods(live, "app=rs", count)}
        assert left == {each["metadata"]["name"] for each in stay}


async def test_pod_without_the_label_is_released_and_replaced(live: Any) -> None:
    await create(live, SETS, replica_set("rs", 2))
    pod = (await pods(live, "app=rs", 2))[0]["metadata"]["name"]
    await merge(live, f"{PODS}/{pod}", {"metadata": {"labels": {"app": "debug"}}})
    free = await until(
        live, f"{PODS}/{pod}", lambda body: "ownerReferences" not in body["metadata"]
    )
    assert free["metadata"]["labels"] == {"app": "debug"}
    assert len(await pods(live, "app=rs", 2)) == 2


async def test_orphan_pod_is_adopted(live: Any) -> None:
    orphan = {"metadata": {"name": "orphan", "labels": {"app": "rs"}}}
    spec = {"containers": [{"name": "c", "image": "i:1"}]}
    await create(live, PODS, {**orphan, "spec": spec})
    await create(live, SETS, replica_set("rs", 2))
    owned = await until(live, f"{PODS}/orphan", lambda body: "ownerReferences" in body["metadata"])
    assert owned["metadata"]["ownerReferences"][0]["name"] == "rs"
    assert len(await pods(live, "app=rs", 2)) == 2


async def test_ready_pod_is_available_after_min_ready_seconds(serve: Any) -> None:
    now = [1_767_225_600.0]
    live = await serve(clock=lambda: now[0])
    await create(live, SETS, replica_set("rs", 1, minReadySeconds=1))
    pod = (await pods(live, "app=rs", 1))[0]
    await set_pod_status(live, pod, "Running", ready=True)
    found = await until(live, f"{SETS}/rs", lambda body: body["status"].get("readyReplicas"))
    assert "availableReplicas" not in found["status"]
    now[0] += 1
    await until(live, f"{SETS}/rs", lambda body: body["status"].get("availableReplicas") == 1)


async def test_similar_events_are_combined(live: Any) -> None:
    await create(live, SETS, replica_set("rs", 60))
    await pods(live, "app=rs", 60)
    found = await events(live, "rs", 11)
    assert len(found) == 11
    assert sum("combined" in each for each in found) == 1


async def test_no_pod_is_created_in_a_terminating_namespace(live: Any) -> None:
    await create(live, "/api/v1/namespaces", {"metadata": {"name": "short"}})
    path = "/apis/apps/v1/namespaces/short/replicasets"
    await until(live, "/api/v1/namespaces/short/serviceaccounts/default", bool)
    await create(live, path, replica_set("rs", 2))
    await live.call("DELETE", "/api/v1/namespaces/short")
    await until(live, "/api/v1/namespaces/short", lambda body: body is None)
    assert not (await get(live, PODS.replace("default", "short")))["items"]


@pytest.mark.parametrize("part", ["replicas", "readyReplicas"])
async def test_status_that_another_client_changed_is_corrected(live: Any, part: str) -> None:
    await create(live, SETS, replica_set("rs", 1))
    await until(live, f"{SETS}/rs", lambda body: body["status"].get("replicas") == 1)
    await merge(live, f"{SETS}/rs/status", {"status": {part: 7}})
    await until(live, f"{SETS}/rs", lambda body: body["status"].get(part) != 7)


async def test_pod_has_the_metadata_of_the_template(live: Any) -> None:
    body = replica_set("rs", 1)
    body["spec"]["template"]["metadata"]["annotations"] = {"a": "b"}
    made = await create(live, SETS, body)
    pod = (await pods(live, "app=rs", 1))[0]
    assert pod["metadata"]["annotations"] == {"a": "b"}
    assert pod["metadata"]["generateName"] == "rs-"
    reference = pod["metadata"]["ownerReferences"][0]
    assert (reference["uid"], reference["controller"]) == (made["metadata"]["uid"], True)
    assert (await get(live, NAMESPACE))["status"]["phase"] == "Active"


async def test_replication_controller_adopts_creates_and_releases_pods(live: Any) -> None:
    orphan = {"metadata": {"name": "orphan", "labels": {"app": "rc", "tier": "x"}}}
    await create(live, PODS, {**orphan, "spec": POD_SPEC})
    made = await create(live, REPLICATION_CONTROLLERS, replication_controller("rc", 2))
    found = await pods(live, "app=rc", 2)
    reference = {each["metadata"]["ownerReferences"][0]["uid"] for each in found}
    assert reference == {made["metadata"]["uid"]}
    assert found[0]["metadata"]["ownerReferences"][0]["kind"] == "ReplicationController"
    await merge(live, f"{PODS}/orphan", {"metadata": {"labels": {"app": "free"}}})
    await until(live, f"{PODS}/orphan", lambda body: "ownerReferences" not in body["metadata"])
    for pod in await pods(live, "app=rc", 2):
        await set_pod_status(live, pod, "Running", ready=True)
    path = f"{REPLICATION_CONTROLLERS}/rc"
    status = (await until(live, path, lambda body: body["status"].get("readyReplicas") == 2))[
        "status"
    ]
    counts = dict.fromkeys(("replicas", "readyReplicas", "availableReplicas"), 2)
    assert status == {**counts, "fullyLabeledReplicas": 2, "observedGeneration": 1}


async def test_replication_controller_deletes_a_pod_that_a_later_orphan_replaces(live: Any) -> None:
    await create(live, REPLICATION_CONTROLLERS, replication_controller("rc", 1))
    await pods(live, "app=rc", 1)
    await create(
        live, PODS, {"metadata": {"name": "late", "labels": {"app": "rc"}}, "spec": POD_SPEC}
    )
    await pods(live, "app=rc", 1)


async def test_replication_controller_is_scaled(live: Any) -> None:
    path = f"{REPLICATION_CONTROLLERS}/rc"
    await create(live, REPLICATION_CONTROLLERS, replication_controller("rc", 2))
    await pods(live, "app=rc", 2)
    scale = await merge(live, f"{path}/scale", {"spec": {"replicas": 1}})
    assert (scale["spec"], scale["status"]["selector"]) == ({"replicas": 1}, "app=rc")
    await pods(live, "app=rc", 1)


async def test_selector_and_labels_of_a_replication_controller_are_those_of_its_pods(
    live: Any,
) -> None:
    body = {"metadata": {"name": "rc"}, "spec": {"template": template("rc")}}
    made = await create(live, REPLICATION_CONTROLLERS, body)
    assert (made["spec"]["selector"], made["metadata"]["labels"]) == ({"app": "rc"}, {"app": "rc"})
    assert made["spec"]["replicas"] == 1


async def test_deleted_replication_controller_orphans_its_pods_by_default(live: Any) -> None:
    path = f"{REPLICATION_CONTROLLERS}/rc"
    await create(live, REPLICATION_CONTROLLERS, replication_controller("rc", 1))
    pod = f"{PODS}/{(await pods(live, 'app=rc', 1))[0]['metadata']['name']}"
    assert (await live.call("DELETE", path)).status == 200
    await until(live, path, lambda body: body is None)
    left = await until(live, pod, lambda body: "ownerReferences" not in body["metadata"])
    assert "deletionTimestamp" not in left["metadata"]
    await create(live, REPLICATION_CONTROLLERS, replication_controller("rc", 1))
    await until(live, pod, lambda body: "ownerReferences" in body["metadata"])
    assert (await live.call("DELETE", f"{path}?propagationPolicy=Background")).status == 200
    await until(live, pod, lambda body: body is None)
