"""Ephemeral containers are accepted by the API and not run; status and event report that."""

from kubeling.api import STRATEGIC_PATCH
from kubeling.kubelet import status
from tests.kubelet.cluster import PODS, KubeletCluster, Pod, condition, shell, state


def _debugged(pod: Pod) -> bool:
    return bool(pod["status"].get("ephemeralContainerStatuses"))


async def test_ephemeral_container_waits_with_a_reason_and_an_event(
    cluster: KubeletCluster,
) -> None:
    """Fails if the kubelet reports nothing, so that `kubectl debug` waits without a message."""
    await cluster.run("web", shell("sleep 60"))
    await cluster.until("web", lambda pod: condition(pod, "Ready") == "True")
    body = {"spec": {"ephemeralContainers": [{"name": "dbg", "image": "busybox"}]}}
    await cluster.client.patch(f"{PODS}/web/ephemeralcontainers", body, STRATEGIC_PATCH)
    pod = await cluster.until("web", _debugged)
    (shown,) = pod["status"]["ephemeralContainerStatuses"]
    assert (shown["name"], shown["image"], shown["ready"]) == ("dbg", "busybox", False)
    waiting = shown["state"]["waiting"]
    assert waiting["reason"] == "EphemeralContainersNotRun"
    assert "ephemeral containers are not run here" in waiting["message"]
    assert "running" in state(pod)
    event = await cluster.event("web", "EphemeralContainersNotRun")
    assert (event["type"], event["count"]) == ("Warning", 1)
    assert event["message"].startswith(
        "Container dbg is not started: ephemeral containers are not run"
    )
    await cluster.client.delete(f"{PODS}/web", {"gracePeriodSeconds": 0})


def test_reported_ephemeral_container_is_not_reported_again() -> None:
    pod: Pod = {"spec": {"ephemeralContainers": [{"name": "one"}, {"name": "two"}]}}
    assert status.unreported_containers(pod) == ["one", "two"]
    pod["status"] = {"ephemeralContainerStatuses": status.build_ephemeral_statuses(pod)[:1]}
    assert status.unreported_containers(pod) == ["two"]
