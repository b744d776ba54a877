"""StatefulSets: order, names, revisions, claims and status."""

from typing import Any

import pytest

from kubeling.controllers import pod_info, stateful_sets
from tests.controllers.workloads import (
    CLAIMS,
    PODS,
    REVISIONS,
    STATEFUL_SETS,
    create,
    events,
    get,
    merge,
    pods,
    serve_pods,
    set_pod_status,
    stateful_set,
    until,
)

PARALLEL = {"podManagementPolicy": "Parallel"}
NOW = 1_767_225_600.0


def image(new: str) -> Any:
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": new}]}}}}


def is_complete(found: Any) -> bool:
    """Return whether `kubectl rollout status` would report success."""
    status, wanted = found["status"], found["spec"]["replicas"]
    counts = ("readyReplicas", "updatedReplicas", "currentReplicas", "availableReplicas")
    return (
        status.get("observedGeneration") == found["metadata"]["generation"]
        and status["currentRevision"] == status["updateRevision"]
        and all(status.get(name, 0) == wanted for name in counts)
        and status["replicas"] == wanted
    )


async def roll_out(live: Any, name: str) -> Any:
    return await serve_pods(live, f"app={name}", is_complete, f"{STATEFUL_SETS}/{name}")


async def until_status(live: Any, field: str, value: int) -> Any:
    return await until(
        live, f"{STATEFUL_SETS}/web", lambda found: found["status"].get(field) == value
    )


async def names(live: Any, app: str, count: int) -> list[str]:
    return sorted(each["metadata"]["name"] for each in await pods(live, f"app={app}", count))


async def remove(live: Any, name: str) -> None:
    """Delete a pod at once, as a kubelet does after its containers ended."""
    done = await live.call("DELETE", f"{PODS}/{name}?gracePeriodSeconds=0")
    assert done.status == 200, done.text


async def until_deleting(live: Any, name: str) -> None:
    await until(
        live, f"{PODS}/{name}", lambda pod: pod is None or "deletionTimestamp" in pod["metadata"]
    )


async def test_pods_are_created_in_order_after_their_predecessor_is_ready(live: Any) -> None:
    await create(live, STATEFUL_SETS, stateful_set("web", 3))
    for count in (1, 2, 3):
        await names(live, "web", count)
        status = (await until_status(live, "replicas", count))["status"]
        assert status.get("readyReplicas", 0) == count - 1
        pod = await get(live, f"{PODS}/web-{count - 1}")
        await set_pod_status(live, pod, "Running", ready=True)
    found = await until(live, f"{STATEFUL_SETS}/web", lambda found: is_complete(found))
    assert found["status"] == {
        "replicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
        "currentReplicas": 3,
        "updatedReplicas": 3,
        "currentRevision": found["status"]["updateRevision"],
        "updateRevision": found["status"]["updateRevision"],
        "observedGeneration": 1,
        "collisionCount": 0,
    }
    recorded = await events(live, "web", 3)
    assert "Normal SuccessfulCreate: create Pod web-0 in StatefulSet web successful" in recorded


async def test_pod_has_a_stable_name_and_the_labels_of_its_identity(live: Any) -> None:
    body = stateful_set("web", 1, ordinals={"start": 5})
    await create(live, STATEFUL_SETS, body)
    [pod] = await pods(live, "app=web", 1)
    revision = (await get(live, f"{STATEFUL_SETS}/web"))["status"]["updateRevision"]
    assert pod["metadata"]["name"] == pod["spec"]["hostname"] == "web-5"
    assert pod["spec"]["subdomain"] == "web"
    assert pod["metadata"]["labels"] == {
        "app": "web",
        "apps.kubernetes.io/pod-index": "5",
        "controller-revision-hash": revision,
        "statefulset.kubernetes.io/pod-name": "web-5",
    }


async def test_deleted_pod_is_created_again_with_its_name(live: Any) -> None:
    await create(live, STATEFUL_SETS, stateful_set("web", 1))
    await roll_out(live, "web")
    before = await get(live, f"{PODS}/web-0")
    await remove(live, "web-0")
    after = await until(live, f"{PODS}/web-0", lambda pod: pod is not None)
    assert after["metadata"]["uid"] != before["metadata"]["uid"]


async def test_failed_pod_is_replaced(live: Any) -> None:
    await create(live, STATEFUL_SETS, stateful_set("web", 1))
    pod = (await pods(live, "app=web", 1))[0]
    await set_pod_status(live, pod, "Failed")
    uid = pod["metadata"]["uid"]
    await until(live, f"{PODS}/web-0", lambda each: each and each["metadata"]["uid"] != uid)


async def test_scale_down_deletes_the_last_pod_first(live: Any) -> None:
    await create(live, STATEFUL_SETS, stateful_set("web", 3))
    await roll_out(live, "web")
    await merge(live, f"{STATEFUL_SETS}/web/scale", {"spec": {"replicas": 1}})
    await until_deleting(live, "web-2")
    assert "deletionTimestamp" not in (await get(live, f"{PODS}/web-1"))["metadata"]
    await remove(live, "web-2")
    await until_deleting(live, "web-1")
    await remove(live, "web-1")
    assert await names(live, "web", 1) == ["web-0"]


async def test_parallel_management_creates_and_deletes_all_pods_at_once(live: Any) -> None:
    await create(live, STATEFUL_SETS, stateful_set("web", 3, **PARALLEL))
    assert await names(live, "web", 3) == ["web-0", "web-1", "web-2"]
    await merge(live, f"{STATEFUL_SETS}/web/scale", {"spec": {"replicas": 0}})
    for at in range(3):
        await until_deleting(live, f"web-{at}")


async def test_rolling_update_replaces_pods_from_the_last_and_stops_at_the_partition(
    live: Any,
) -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    await create(live, STATEFUL_SETS, stateful_set("web", 3, updateStrategy=strategy))
    first = (await roll_out(live, "web"))["status"]["updateRevision"]
    await merge(live, f"{STATEFUL_SETS}/web", image("app:2"))
    for at in (2, 1):
        await until_deleting(live, f"web-{at}")
        assert "deletionTimestamp" not in (await get(live, f"{PODS}/web-{at - 1}"))["metadata"]
        await remove(live, f"web-{at}")
        new = await until(live, f"{PODS}/web-{at}", lambda pod: pod is not None)
        assert new["spec"]["containers"][0]["image"] == "app:2"
        await set_pod_status(live, new, "Running", ready=True)
    found = await until(
        live,
        f"{STATEFUL_SETS}/web",
        lambda found: (
            found["status"].get("updatedReplicas") == 2
            and found["status"].get("readyReplicas") == 3
        ),
    )
    assert (found["status"]["currentRevision"], found["status"]["currentReplicas"]) == (first, 1)
    old = await get(live, f"{PODS}/web-0")
    assert old["metadata"]["labels"]["controller-revision-hash"] == first
    # A pod below the partition is created again with the old template.
    await remove(live, "web-0")
    old = await until(live, f"{PODS}/web-0", lambda pod: pod is not None)
    assert old["spec"]["containers"][0]["image"] == "app:1"


async def test_on_delete_strategy_updates_only_deleted_pods(live: Any) -> None:
    body = stateful_set("web", 2, updateStrategy={"type": "OnDelete"})
    await create(live, STATEFUL_SETS, body)
    await serve_pods(
        live,
        "app=web",
        lambda found: found["status"].get("readyReplicas") == 2,
        f"{STATEFUL_SETS}/web",
    )
    await merge(live, f"{STATEFUL_SETS}/web", image("app:2"))
    await until_status(live, "observedGeneration", 2)
    assert {each["spec"]["containers"][0]["image"] for each in await pods(live, "app=web", 2)} == {
        "app:1"
    }
    await remove(live, "web-0")
    new = await until(live, f"{PODS}/web-0", lambda pod: pod is not None)
    assert new["spec"]["containers"][0]["image"] == "app:2"


async def test_revisions_follow_the_template_up_to_the_history_limit(live: Any) -> None:
    body = stateful_set("web", 0, revisionHistoryLimit=1)
    await create(live, STATEFUL_SETS, body)
    for new in ("app:2", "app:3", "app:1", "app:4"):
        generation = (await merge(live, f"{STATEFUL_SETS}/web", image(new)))["metadata"][
            "generation"
        ]
        await until_status(live, "observedGeneration", generation)
    found = await until(live, REVISIONS, lambda body: len(body["items"]) == 2)
    kept = sorted(found["items"], key=lambda each: each["revision"])
    images = [each["data"]["spec"]["template"]["spec"]["containers"][0]["image"] for each in kept]
    # Back at app:1 its revision got the number 4; app:2 and app:3 are over the limit.
    assert (images, [each["revision"] for each in kept]) == (["app:1", "app:4"], [4, 5])
    assert kept[0]["metadata"]["ownerReferences"][0]["kind"] == "StatefulSet"


async def test_claims_are_created_for_each_pod_and_kept_when_it_is_deleted(live: Any) -> None:
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    body = stateful_set("web", 2, volumeClaimTemplates=[claim], **PARALLEL)
    await create(live, STATEFUL_SETS, body)
    assert await names(live, "web", 2) == ["web-0", "web-1"]
    pod = await get(live, f"{PODS}/web-1")
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-1"}} in pod["spec"][
        "volumes"
    ]
    await merge(live, f"{STATEFUL_SETS}/web/scale", {"spec": {"replicas": 0}})
    await remove(live, "web-0")
    await remove(live, "web-1")
    found = (await get(live, CLAIMS))["items"]
    assert [each["metadata"]["name"] for each in found] == ["data-web-0", "data-web-1"]
    assert found[0]["metadata"]["labels"] == {"app": "web"}
    assert "ownerReferences" not in found[0]["metadata"]


async def test_claims_are_deleted_with_scaled_pods_if_the_retention_policy_says_so(
    live: Any,
) -> None:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    policy = {"whenScaled": "Delete", "whenDeleted": "Delete"}
    body = stateful_set(
        "web",
        2,
        volumeClaimTemplates=[claim],
        persistentVolumeClaimRetentionPolicy=policy,
        **PARALLEL,
    )
    await create(live, STATEFUL_SETS, body)
    await names(live, "web", 2)
    await merge(live, f"{STATEFUL_SETS}/web/scale", {"spec": {"replicas": 1}})
    await until_deleting(live, "web-1")
    await live.call("DELETE", f"{PODS}/web-1?gracePeriodSeconds=0")
    await until(live, f"{CLAIMS}/data-web-1", lambda each: each is None)
    await live.call("DELETE", f"{STATEFUL_SETS}/web")
    await until_deleting(live, "web-0")
    await until(live, f"{CLAIMS}/data-web-0", lambda each: each is None)


def info(name: str, phase: str = "Running", *, revision: str = "new", ready: bool = True) -> Any:
    state = {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}
    metadata = {
        "name": name,
        "namespace": "n",
        "uid": name,
        "labels": {"controller-revision-hash": revision},
    }
    return pod_info.read({"metadata": metadata, "status": {"phase": phase, "conditions": [state]}})


@pytest.mark.parametrize(
    ("replicas", "present", "created", "deleted"),
    [
        (3, [info("w-0", ready=False)], [], []),
        (3, [info("w-0"), info("w-2")], [1], []),
        (2, [info("w-0"), info("w-1"), info("w-2"), info("w-3")], [], ["w-3"]),
        # An unhealthy pod stops the deletion of others, but not its own.
        (1, [info("w-0"), info("w-1", ready=False), info("w-2")], [], ["w-2"]),
        (1, [info("w-0"), info("w-1", ready=False), info("w-2", ready=False)], [], []),
        (1, [info("w-0", ready=False), info("w-1")], [], []),
        (2, [info("w-0", revision="old"), info("w-1", revision="old")], [], ["w-1"]),
        (2, [info("w-0", revision="old"), info("w-1", ready=False)], [], []),
        (2, [info("w-0", "Failed"), info("w-1")], [], ["w-0"]),
        (1, [info("w-0"), info("other-1"), info("w-x")], [], []),
    ],
)
def test_ordered_management_plans_one_write(
    replicas: int, present: list[Any], created: list[int], deleted: list[str]
) -> None:
    found = {
        "metadata": {"name": "w"},
        "spec": {"replicas": replicas, "updateStrategy": {"type": "RollingUpdate"}},
    }
    plan = stateful_sets.make_plan(found, present, "new", NOW)
    assert (plan.created, [pod.name for pod in plan.deleted]) == (created, deleted)
