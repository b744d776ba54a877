"""A node with fewer places than pods, and pods that are deleted before they start."""

from typing import Any

import pytest

from kubeling.kubelet.pending_pods import NodeCapacity
from kubeling.kubelet.scheduler import TOO_MANY_PODS, Scheduler
from tests.kubelet.cluster import (
    NODE,
    PODS,
    KubeletCluster,
    Pod,
    condition,
    eventually,
    shell,
    state,
)


@pytest.fixture
async def one_pod_cluster(bare_cluster: KubeletCluster) -> KubeletCluster:
    """Return a cluster whose node takes one pod."""
    await bare_cluster.start(max_pods=1)
    return bare_cluster


def is_running(pod: Pod) -> bool:
    return condition(pod, "Ready") == "True"


async def test_pod_beyond_the_capacity_waits_with_an_event_and_starts_later(
    one_pod_cluster: KubeletCluster,
) -> None:
    await one_pod_cluster.run("first", shell("sleep 600"), terminationGracePeriodSeconds=0)
    await one_pod_cluster.until("first", is_running)
    await one_pod_cluster.run("second", shell("true"))
    assert (await one_pod_cluster.event("second", "FailedScheduling"))["message"] == TOO_MANY_PODS
    waiting = await one_pod_cluster.until(
        "second", lambda pod: condition(pod, "PodScheduled") == "False"
    )
    assert "nodeName" not in waiting["spec"]
    node = await one_pod_cluster.client.get(f"/api/v1/nodes/{NODE}")
    assert node["status"]["allocatable"]["pods"] == "1"
    await one_pod_cluster.client.delete(f"{PODS}/first")
    await one_pod_cluster.phase("second", "Succeeded")
    # A pod that has ended needs no place.
    await one_pod_cluster.run("third", shell("true"))
    await one_pod_cluster.phase("third", "Succeeded")


async def test_namespace_with_fewer_pods_is_scheduled_before_a_longer_queue(
    bare_cluster: KubeletCluster,
) -> None:
    """Fails if pods wait in their order of arrival: the second namespace would be the last one."""
    await bare_cluster.start(max_pods=2)
    await bare_cluster.client.create("/api/v1/namespaces", {"metadata": {"name": "other"}})
    for number in range(6):
        await bare_cluster.run(
            f"many-{number}", shell("sleep 600"), terminationGracePeriodSeconds=0
        )
    for name in ("many-0", "many-1"):
        await bare_cluster.until(name, is_running)
    urgent = {"metadata": {"name": "urgent"}, "spec": {"containers": [shell("sleep 600")]}}
    await bare_cluster.client.create("/api/v1/namespaces/other/pods", urgent)

    async def reported() -> bool:
        pod = await bare_cluster.client.get("/api/v1/namespaces/other/pods/urgent")
        return condition(pod, "PodScheduled") == "False"

    async def bound() -> list[str]:
        items = await bare_cluster.client.list("/api/v1/pods")
        return sorted(i["metadata"]["name"] for i in items if i["spec"].get("nodeName"))

    await eventually(reported)
    await bare_cluster.client.delete(f"{PODS}/many-0")

    async def has_next() -> bool:
        return len(await bound()) == 2 and "many-0" not in await bound()

    await eventually(has_next)
    assert await bound() == ["many-1", "urgent"]


async def test_pod_that_names_the_full_node_fails_and_can_be_deleted(
    one_pod_cluster: KubeletCluster,
) -> None:
    await one_pod_cluster.run("first", shell("sleep 600"), terminationGracePeriodSeconds=0)
    await one_pod_cluster.until("first", is_running)
    await one_pod_cluster.run("second", shell("sleep 600"), nodeName=NODE)
    rejected = await one_pod_cluster.phase("second", "Failed")
    assert rejected["status"]["reason"] == "OutOfpods"
    # The texts of kubelet 1.34, whose event has no prefix.
    why = "Node didn't have enough resource: pods, requested: 1, used: 1, capacity: 1"
    assert rejected["status"]["message"] == f"Pod was rejected: {why}"

    async def is_recorded() -> bool:
        found = [e for e in await one_pod_cluster.events("second") if e["reason"] == "OutOfpods"]
        return [(e["type"], e["message"]) for e in found] == [("Warning", why)]

    await eventually(is_recorded)
    assert state(rejected) == {}
    await one_pod_cluster.client.delete(f"{PODS}/second")
    await one_pod_cluster.wait_until_deleted("second")
    assert is_running(await one_pod_cluster.get("first"))


async def test_pod_that_is_deleted_before_its_volumes_are_mounted_does_not_start(
    bare_cluster: KubeletCluster,
) -> None:
    """Fails if the decision to start is older than the mount, which waits for other pods."""
    kubelet = await bare_cluster.start()
    assert kubelet._pods is not None
    semaphore, taken = kubelet._pods._context.concurrency, 0
    while not semaphore.locked():
        await semaphore.acquire()
        taken += 1
    trace = bare_cluster.folder / "trace"
    pod = await bare_cluster.run("gone", shell(f"echo ran > {trace}; sleep 600"))
    await eventually(lambda: kubelet._pods.find("default", "gone"))  # type: ignore[union-attr]
    await bare_cluster.client.delete(f"{PODS}/gone")
    worker = kubelet._pods.find("default", "gone")
    assert worker is not None
    await eventually(lambda: "deletionTimestamp" in worker.pod["metadata"])
    for _ in range(taken):
        semaphore.release()
    await bare_cluster.wait_until_deleted("gone")
    assert not trace.exists()
    assert "Started" not in {each["reason"] for each in await bare_cluster.events("gone")}
    await eventually(lambda: not (bare_cluster.folder / "pods" / pod["metadata"]["uid"]).exists())


async def test_pod_of_a_namespace_that_is_being_deleted_is_not_bound() -> None:
    scheduler = Scheduler(None, None, "node", {}, NodeCapacity(5), lambda: 0.0)  # type: ignore[arg-type]
    meta: dict[str, Any] = {"name": "team", "deletionTimestamp": "2026-01-01T00:00:00Z"}
    scheduler.on_namespace("MODIFIED", {"metadata": meta})
    pod = {"metadata": {"name": "p", "namespace": "team", "uid": "1"}, "spec": {}}
    scheduler.add(pod)
    assert scheduler._next() is None
    scheduler.on_namespace("DELETED", {"metadata": {"name": "team"}})
    work = scheduler._next()
    assert work is not None
    work.close()


async def test_pod_that_names_the_node_fails_if_its_host_port_is_used(
    bare_cluster: KubeletCluster,
) -> None:
    await bare_cluster.start()

    def container(port: int) -> Any:
        return shell("sleep 600", ports=[{"containerPort": 80, "hostPort": port}])

    named: Any = {"nodeName": NODE, "terminationGracePeriodSeconds": 0}
    await bare_cluster.run("first", container(21017), **named)
    await bare_cluster.until("first", is_running)
    await bare_cluster.run("second", container(21017), **named)
    rejected = await bare_cluster.phase("second", "Failed")
    assert rejected["status"]["reason"] == "NodePorts"
    await bare_cluster.run("other", container(21018), **named)
    await bare_cluster.until("other", is_running)
    await bare_cluster.client.delete(f"{PODS}/first")
    await bare_cluster.wait_until_deleted("first")
    await bare_cluster.run("third", container(21017), **named)
    await bare_cluster.until("third", is_running)
