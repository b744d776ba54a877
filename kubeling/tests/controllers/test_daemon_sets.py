"""DaemonSets: nodes, updates and status."""

from typing import Any

import pytest

from kubeling.controllers import daemon_sets, pod_info
from tests.controllers.workloads import (
    DAEMON_SETS,
    PODS,
    REVISIONS,
    create,
    daemon_set,
    events,
    get,
    merge,
    pods,
    set_pod_status,
    until,
)

NODES = "/api/v1/nodes"
SURGE = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def image(new: str) -> Any:
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": new}]}}}}


async def node(live: Any, name: str = "one", **labels: str) -> None:
    ready = {"type": "Ready", "status": "True"}
    body = {"metadata": {"name": name, "labels": labels}, "status": {"conditions": [ready]}}
    await create(live, NODES, body)
    await until(live, f"{NODES}/{name}", lambda found: not found["spec"].get("taints"))


async def run_on(live: Any, name: str, count: int = 1) -> list[Any]:
    """Wait for the pods of a DaemonSet and set them ready."""
    found = await pods(live, f"app={name}", count)
    for pod in found:
        await set_pod_status(live, pod, "Running", ready=True)
    return found


async def until_status(live: Any, name: str, **wanted: int) -> Any:
    def holds(found: Any) -> bool:
        status = found["status"]
        return all(status.get(each, 0) == count for each, count in wanted.items())

    return await until(live, f"{DAEMON_SETS}/{name}", holds)


async def remove(live: Any, name: str) -> None:
    done = await live.call("DELETE", f"{PODS}/{name}?gracePeriodSeconds=0")
    assert done.status == 200, done.text


async def until_deleting(live: Any, name: str) -> None:
    await until(live, f"{PODS}/{name}", lambda pod: "deletionTimestamp" in pod["metadata"])


async def test_every_node_gets_one_pod_with_the_tolerations_of_a_daemon(live: Any) -> None:
    await node(live)
    await create(live, DAEMON_SETS, daemon_set("agent"))
    [pod] = await run_on(live, "agent")
    assert pod["spec"]["nodeName"] == "one"
    keys = {each["key"] for each in pod["spec"]["tolerations"]}
    assert {"node.kubernetes.io/unschedulable", "node.kubernetes.io/not-ready"} <= keys
    found = await until_status(live, "agent", numberAvailable=1, numberReady=1)
    assert found["status"] == {
        "currentNumberScheduled": 1,
        "desiredNumberScheduled": 1,
        "numberAvailable": 1,
        "numberMisscheduled": 0,
        "numberReady": 1,
        "observedGeneration": 1,
        "updatedNumberScheduled": 1,
    }
    await node(live, "two")
    assert len(await pods(live, "app=agent", 2)) == 2


async def test_pod_follows_the_labels_of_the_node(live: Any) -> None:
    await node(live)
    body = daemon_set("agent", pod={"nodeSelector": {"color": "blue"}})
    await create(live, DAEMON_SETS, body)
    await until_status(live, "agent", observedGeneration=1, desiredNumberScheduled=0)
    await merge(live, f"{NODES}/one", {"metadata": {"labels": {"color": "blue"}}})
    [pod] = await run_on(live, "agent")
    await merge(live, f"{NODES}/one", {"metadata": {"labels": {"color": "green"}}})
    await until_deleting(live, pod["metadata"]["name"])


async def test_failed_pod_is_deleted_and_created_again(live: Any) -> None:
    await node(live)
    await create(live, DAEMON_SETS, daemon_set("agent"))
    [pod] = await run_on(live, "agent")
    await set_pod_status(live, pod, "Failed")
    uid = pod["metadata"]["uid"]
    await until(
        live,
        f"{PODS}?labelSelector=app=agent",
        lambda body: [each["metadata"]["uid"] != uid for each in body["items"]] == [True],
    )
    texts = await events(live, "agent", 4)
    assert any(
        "Warning FailedDaemonPod: Found failed daemon pod default/" in each for each in texts
    )


async def test_rolling_update_replaces_the_pod_after_it_has_ended(live: Any) -> None:
    await node(live)
    await create(live, DAEMON_SETS, daemon_set("agent"))
    [old] = await run_on(live, "agent")
    await until_status(live, "agent", numberAvailable=1)
    await merge(live, f"{DAEMON_SETS}/agent", image("app:2"))
    name = old["metadata"]["name"]
    await until_deleting(live, name)
    assert len((await get(live, f"{PODS}?labelSelector=app=agent"))["items"]) == 1
    await remove(live, name)
    [new] = await run_on(live, "agent")
    assert new["spec"]["containers"][0]["image"] == "app:2"
    await until_status(live, "agent", numberAvailable=1, updatedNumberScheduled=1)


async def test_surge_keeps_the_old_pod_until_the_new_one_is_available(live: Any) -> None:
    await node(live)
    await create(live, DAEMON_SETS, daemon_set("agent", updateStrategy=SURGE))
    [old] = await run_on(live, "agent")
    await until_status(live, "agent", numberAvailable=1)
    await merge(live, f"{DAEMON_SETS}/agent", image("app:2"))
    both = await pods(live, "app=agent", 2)
    [new] = [each for each in both if each["metadata"]["uid"] != old["metadata"]["uid"]]
    assert new["spec"]["containers"][0]["image"] == "app:2"
    await set_pod_status(live, new, "Running", ready=True)
    await until_deleting(live, old["metadata"]["name"])


async def test_on_delete_strategy_keeps_old_pods_and_the_history_of_templates(live: Any) -> None:
    await node(live)
    body = daemon_set("agent", updateStrategy={"type": "OnDelete"}, revisionHistoryLimit=1)
    await create(live, DAEMON_SETS, body)
    [old] = await run_on(live, "agent")
    for at, new in enumerate(("app:2", "app:3", "app:4"), 2):
        await merge(live, f"{DAEMON_SETS}/agent", image(new))
        await until_status(live, "agent", observedGeneration=at, updatedNumberScheduled=0)
    [same] = await pods(live, "app=agent", 1)
    assert same["metadata"]["uid"] == old["metadata"]["uid"]
    found = await until(live, REVISIONS, lambda body: len(body["items"]) == 3)
    kept = sorted(
        each["data"]["spec"]["template"]["spec"]["containers"][0]["image"]
        for each in found["items"]
    )
    # The revision of the pod that runs is not deleted.
    assert kept == ["app:1", "app:3", "app:4"]


def _term(key: str, operator: str, *values: str) -> Any:
    required = {
        "nodeSelectorTerms": [
            {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}
        ]
    }
    rule = {"requiredDuringSchedulingIgnoredDuringExecution": required}
    return {"affinity": {"nodeAffinity": rule}}


@pytest.mark.parametrize(
    ("spec", "taints", "runs", "stays"),
    [
        ({}, [], True, True),
        ({"nodeSelector": {"color": "blue"}}, [], True, True),
        ({"nodeSelector": {"color": "red"}}, [], False, False),
        ({"nodeName": "other"}, [], False, False),
        (_term("color", "In", "blue"), [], True, True),
        (_term("color", "NotIn", "blue"), [], False, False),
        (_term("size", "Gt", "3"), [], True, True),
        (_term("size", "Lt", "3"), [], False, False),
        ({}, [{"key": "a", "effect": "NoSchedule"}], False, True),
        ({}, [{"key": "a", "effect": "NoExecute"}], False, False),
        ({}, [{"key": "a", "effect": "PreferNoSchedule"}], True, True),
        ({}, [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}], True, True),
        (
            {"tolerations": [{"key": "a", "operator": "Equal", "value": "b"}]},
            [{"key": "a", "value": "b", "effect": "NoExecute"}],
            True,
            True,
        ),
        (
            {"tolerations": [{"operator": "Exists"}]},
            [{"key": "a", "value": "b", "effect": "NoExecute"}],
            True,
            True,
        ),
    ],
)
def test_pod_runs_on_a_node_that_it_selects_and_whose_taints_it_tolerates(
    spec: Any, taints: Any, runs: bool, stays: bool
) -> None:
    metadata = {"name": "one", "labels": {"color": "blue", "size": "4"}}
    found = {"metadata": metadata, "spec": {"taints": taints}}
    body = {"spec": {"template": {"spec": spec}}}
    assert daemon_sets.placement(body, found) == (runs, stays)


def info(name: str, node: str, *, revision: str = "old", ready: bool = True) -> Any:
    state = {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}
    labels = {"controller-revision-hash": revision}
    metadata = {"name": name, "namespace": "n", "uid": name, "labels": labels}
    status = {"phase": "Running", "conditions": [state]}
    return pod_info.read({"metadata": metadata, "spec": {"nodeName": node}, "status": status})


@pytest.mark.parametrize(
    ("rolling", "pods_of_nodes", "deleted", "added"),
    [
        ({"maxUnavailable": 1}, {"a": [info("a1", "a")], "b": [info("b1", "b")]}, ["a1"], []),
        (
            {"maxUnavailable": "100%"},
            {"a": [info("a1", "a")], "b": [info("b1", "b")]},
            ["a1", "b1"],
            [],
        ),
        # A node without a working pod uses up the allowance, and an old pod that does not work is replaced.
        ({"maxUnavailable": 1}, {"a": [info("a1", "a")], "b": []}, [], []),
        (
            {"maxUnavailable": 1},
            {"a": [info("a2", "a", revision="new", ready=False)], "b": [info("b1", "b")]},
            [],
            [],
        ),
        (
            {"maxUnavailable": 1},
            {"a": [info("a1", "a")], "b": [info("b1", "b", ready=False)]},
            ["b1"],
            [],
        ),
        ({"maxSurge": 1}, {"a": [info("a1", "a")], "b": [info("b1", "b")]}, [], ["a"]),
        (
            {"maxSurge": 1},
            {
                "a": [info("a1", "a"), info("a2", "a", revision="new", ready=False)],
                "b": [info("b1", "b")],
            },
            [],
            [],
        ),
        (
            {"maxSurge": 1},
            {"a": [info("a1", "a"), info("a2", "a", revision="new")], "b": [info("b1", "b")]},
            ["a1"],
            ["b"],
        ),
    ],
)
def test_rolling_update_stays_within_its_bounds(
    rolling: Any, pods_of_nodes: Any, deleted: list[str], added: list[str]
) -> None:
    nodes = [{"metadata": {"name": name}} for name in pods_of_nodes]
    spec = {"updateStrategy": {"rollingUpdate": rolling}, "template": {"spec": {}}}
    now = pod_info.seconds("2026-01-02T00:00:00Z")
    found = daemon_sets.replaced({"spec": spec}, nodes, pods_of_nodes, "new", now)
    assert ([pod.name for pod in found[0]], found[1]) == (deleted, added)
