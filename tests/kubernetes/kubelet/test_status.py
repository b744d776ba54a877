"""A pod's status, word for word."""

from dataclasses import replace
from typing import Any

import pytest

from podpass.kubernetes.kubelet import lifecycle, status
from podpass.kubernetes.kubelet.container_state import Ended, Record, Running, Waiting
from podpass.kubernetes.kubelet.status import View, build

UP = Record(state=Running(container_id="c1", started_at=60), started=True, ready=True)
ENDED = Ended(
    code=2, reason="Error", message="why", container_id="c0", started_at=10, finished_at=20
)


def pod(**spec: Any) -> dict[str, Any]:
    meta = {"name": "p", "namespace": "ns", "uid": "u"}
    return {"metadata": meta, "spec": {"containers": [{"name": "m", "image": "i"}], **spec}}


def view(item: dict[str, Any], *, now: float = 100, **more: Any) -> View:
    records = more.pop("records")
    given: dict[str, Any] = {
        "plan": lifecycle.read_plan(item["spec"]),
        "records": records,
        "backing_off": frozenset(),
        "address": "127.0.0.1",
        "now": now,
        "mounted": True,
        "over": False,
    }
    return View(**given | more)


def conditions(made: dict[str, Any]) -> dict[str, str]:
    return {each["type"]: each["status"] for each in made["conditions"]}


def test_a_running_pod_is_ready() -> None:
    item = pod()
    made = build(item, view(item, records={"m": UP}))
    assert made["phase"] == "Running"
    assert made["startTime"] == "1970-01-01T00:01:40Z"
    assert set(conditions(made).values()) == {"True"}
    assert made["containerStatuses"] == [
        {
            "name": "m",
            "state": {"running": {"startedAt": "1970-01-01T00:01:00Z"}},
            "lastState": {},
            "ready": True,
            "started": True,
            "restartCount": 0,
            "image": "i",
            "imageID": "",
            "containerID": "podpass://c1",
        }
    ]


def test_an_ended_container_tells_how() -> None:
    item = pod(restartPolicy="Never")
    made = build(item, view(item, records={"m": Record(state=ENDED)}, over=True))
    assert made["phase"] == "Failed"
    assert made["containerStatuses"][0]["state"]["terminated"] == {
        "exitCode": 2,
        "reason": "Error",
        "message": "why",
        "startedAt": "1970-01-01T00:00:10Z",
        "finishedAt": "1970-01-01T00:00:20Z",
        "containerID": "podpass://c0",
    }
    assert conditions(made)["Ready"] == "False"


def test_a_back_off_shows_the_wait_and_the_run_before() -> None:
    item = pod()
    record = Record(state=ENDED, delay=160, restarts=5)
    made = build(item, view(item, records={"m": record}, backing_off=frozenset({"m"})))
    shown = made["containerStatuses"][0]
    assert shown["state"] == {
        "waiting": {
            "reason": "CrashLoopBackOff",
            "message": "back-off 2m40s restarting failed container=m pod=p_ns(u)",
        }
    }
    assert shown["lastState"]["terminated"]["exitCode"] == 2
    assert shown["restartCount"] == 5


def test_a_waiting_container_says_why() -> None:
    item = pod()
    record = Record(state=Waiting(reason="ImageUnknown", message="add it"))
    made = build(item, view(item, records={"m": record}, mounted=False))
    waiting = {"reason": "ImageUnknown", "message": "add it"}
    assert made["containerStatuses"][0]["state"] == {"waiting": waiting}
    assert made["phase"] == "Pending"
    assert "podIP" not in made
    ready = next(each for each in made["conditions"] if each["type"] == "Ready")
    assert ready["message"] == "containers with unready status: [m]"


def test_a_condition_keeps_its_time_until_it_changes() -> None:
    item = pod()
    first = build(item, view(item, records={"m": UP}, now=100))
    item["status"] = first
    second = build(item, view(item, records={"m": UP}, now=200))
    assert second == first
    third = build(item, view(item, records={"m": replace(UP, ready=False)}, now=200))
    times = {each["type"]: each["lastTransitionTime"] for each in third["conditions"]}
    assert times["Ready"] == "1970-01-01T00:03:20Z"
    assert times["Initialized"] == "1970-01-01T00:01:40Z"


def test_conditions_of_others_stay_and_gate_readiness() -> None:
    item = pod(readinessGates=[{"conditionType": "example.org/lb"}])
    assert conditions(build(item, view(item, records={"m": UP})))["Ready"] == "False"
    item["status"] = {"conditions": [{"type": "example.org/lb", "status": "True"}]}
    made = conditions(build(item, view(item, records={"m": UP})))
    assert made["Ready"] == "True"
    assert made["example.org/lb"] == "True"


def test_what_we_told_last_beats_what_we_saw_but_not_for_others() -> None:
    seen = {
        "conditions": [
            {"type": "Ready", "status": "False"},
            {"type": "theirs", "status": "True"},
        ],
        "qosClass": "BestEffort",
    }
    told = {
        "conditions": [
            {"type": "Ready", "status": "True"},
            {"type": "theirs", "status": "False"},
        ],
        "phase": "Running",
    }
    made = status.merged(seen, told)
    assert made["conditions"] == [
        {"type": "theirs", "status": "True"},
        {"type": "Ready", "status": "True"},
    ]
    assert (made["phase"], made["qosClass"]) == ("Running", "BestEffort")


def test_main_containers_wait_for_the_init_phase() -> None:
    item = pod(initContainers=[{"name": "i", "image": "i"}])
    made = build(item, view(item, records={"i": UP, "m": Record()}))
    assert made["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    initialized = next(each for each in made["conditions"] if each["type"] == "Initialized")
    assert initialized["message"] == "containers with incomplete status: [i]"


def test_a_late_pod_says_so() -> None:
    item = pod()
    made = build(item, view(item, records={"m": Record(state=ENDED)}, over=True, late=True))
    assert (made["phase"], made["reason"]) == ("Failed", "DeadlineExceeded")


@pytest.mark.parametrize(("seconds", "text"), [(10, "10s"), (0.3, "0.3s"), (300, "5m0s")])
def test_spans_are_written_as_go_does(seconds: float, text: str) -> None:
    assert status.span(seconds) == text
