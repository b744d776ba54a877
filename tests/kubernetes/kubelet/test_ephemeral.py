"""Ephemeral containers are taken by the API and not run; who adds one is told so."""

from podpass.kubernetes.client import STRATEGIC_PATCH
from podpass.kubernetes.kubelet import ephemeral
from tests.kubernetes.kubelet.lab import PODS, Lab, Pod, condition, shell, state


def _debugged(pod: Pod) -> bool:
    return bool(pod["status"].get("ephemeralContainerStatuses"))


async def test_an_ephemeral_container_waits_and_says_why(lab: Lab) -> None:
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


def test_what_the_status_speaks_of_is_not_told_again() -> None:
    pod: Pod = {"spec": {"ephemeralContainers": [{"name": "one"}, {"name": "two"}]}}
    assert ephemeral.unanswered(pod) == ["one", "two"]
    pod["status"] = {"ephemeralContainerStatuses": ephemeral.statuses(pod)[:1]}
    assert ephemeral.unanswered(pod) == ["two"]
