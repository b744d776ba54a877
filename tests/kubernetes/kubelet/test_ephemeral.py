"""Ephemeral containers are taken by the API and not run; who adds one is told so."""

from podpass.kubernetes.client import STRATEGIC_PATCH
from podpass.kubernetes.kubelet import ephemeral
from tests.kubernetes.kubelet.cluster import PODS, Lab, Pod, condition, shell, state


def _debugged(pod: Pod) -> bool:
    return bool(pod["status"].get("ephemeralContainerStatuses"))


async def test_ephemeral_container_waits_with_a_reason_and_an_event(lab: Lab) -> None:
    """Fails if nobody answers, and `kubectl debug` waits without a word."""
    await lab.run("web", shell("sleep 60"))
    await lab.until("web", lambda pod: condition(pod, "Ready") == "True")
    body = {"spec": {"ephemeralContainers": [{"name": "dbg", "image": "busybox"}]}}
    await lab.client.patch(f"{PODS}/web/ephemeralcontainers", body, STRATEGIC_PATCH)
    pod = await lab.until("web", _debugged)
    (told,) = pod["status"]["ephemeralContainerStatuses"]
    assert (told["name"], told["image"], told["ready"]) == ("dbg", "busybox", False)
    waiting = told["state"]["waiting"]
    assert waiting["reason"] == "EphemeralContainersNotRun"
    assert "ephemeral containers are not run here" in waiting["message"]
    assert "running" in state(pod)
    event = await lab.event("web", "EphemeralContainersNotRun")
    assert (event["type"], event["count"]) == ("Warning", 1)
    assert event["message"].startswith(
        "Container dbg is not started: ephemeral containers are not run"
    )
    await lab.client.delete(f"{PODS}/web", {"gracePeriodSeconds": 0})


def test_reported_ephemeral_container_is_not_reported_again() -> None:
    pod: Pod = {"spec": {"ephemeralContainers": [{"name": "one"}, {"name": "two"}]}}
    assert ephemeral.unreported_containers(pod) == ["one", "two"]
    pod["status"] = {"ephemeralContainerStatuses": ephemeral.build_statuses(pod)[:1]}
    assert ephemeral.unreported_containers(pod) == ["two"]
