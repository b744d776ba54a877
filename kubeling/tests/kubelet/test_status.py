"""The status of a pod."""

from dataclasses import replace
from typing import Any

import pytest

from kubeling.kubelet import lifecycle, status
from kubeling.kubelet.container_state import ContainerRecord, Running, Terminated, Waiting
from kubeling.kubelet.status import StatusInput, build_status

RUNNING = ContainerRecord(state=Running(container_id="c1", started_at=60), started=True, ready=True)
TERMINATED = Terminated(
    code=2, reason="Error", message="why", container_id="c0", started_at=10, finished_at=20
)


def pod(**spec: Any) -> dict[str, Any]:
    meta = {"name": "p", "namespace": "ns", "uid": "u"}
    return {"metadata": meta, "spec": {"containers": [{"name": "m", "image": "i"}], **spec}}


def status_input(item: dict[str, Any], *, now: float = 100, **more: Any) -> StatusInput:
    records = more.pop("records")
    given: dict[str, Any] = {
        "plan": lifecycle.read_plan(item["spec"]),
        "records": records,
        "backing_off": frozenset(),
        "address": "127.0.0.1",
        "pod_address": "127.64.0.9",
        "now": now,
        "mounted": True,
        "finished": False,
    }
    return StatusInput(**given | more)


def conditions(made: dict[str, Any]) -> dict[str, str]:
    return {each["type"]: each["status"] for each in made["conditions"]}


def test_a_running_pod_is_ready() -> None:
    item = pod()
    made = build_status(item, status_input(item, records={"m": RUNNING}))
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
            "containerID": "kubeling://c1",
        }
    ]


def test_terminated_container_has_exit_code_and_times() -> None:
    item = pod(restartPolicy="Never")
    made = build_status(
        item, status_input(item, records={"m": ContainerRecord(state=TERMINATED)}, finished=True)
    )
    assert made["phase"] == "Failed"
    assert made["containerStatuses"][0]["state"]["terminated"] == {
        "exitCode": 2,
        "reason": "Error",
        "message": "why",
        "startedAt": "1970-01-01T00:00:10Z",
        "finishedAt": "1970-01-01T00:00:20Z",
        "containerID": "kubeling://c0",
    }
    assert conditions(made)["Ready"] == "False"


def test_backoff_shows_the_delay_and_the_last_run() -> None:
    item = pod()
    record = ContainerRecord(state=TERMINATED, delay=160, restarts=5)
    made = build_status(
        item, status_input(item, records={"m": record}, backing_off=frozenset({"m"}))
    )
    shown = made["containerStatuses"][0]
    assert shown["state"] == {
        "waiting": {
            "reason": "CrashLoopBackOff",
            "message": "back-off 2m40s restarting failed container=m pod=p_ns(u)",
        }
    }
    assert shown["lastState"]["terminated"]["exitCode"] == 2
    assert shown["restartCount"] == 5


def test_waiting_container_has_its_reason() -> None:
    item = pod()
    record = ContainerRecord(state=Waiting(reason="ImageUnknown", message="add it"))
    made = build_status(item, status_input(item, records={"m": record}, mounted=False))
    waiting = {"reason": "ImageUnknown", "message": "add it"}
    assert made["containerStatuses"][0]["state"] == {"waiting": waiting}
    assert made["phase"] == "Pending"
    assert "podIP" not in made
    ready = next(each for each in made["conditions"] if each["type"] == "Ready")
    assert ready["message"] == "containers with unready status: [m]"


def test_condition_keeps_its_transition_time_until_it_changes() -> None:
    item = pod()
    first = build_status(item, status_input(item, records={"m": RUNNING}, now=100))
    item["status"] = first
    second = build_status(item, status_input(item, records={"m": RUNNING}, now=200))
    assert second == first
    third = build_status(
        item, status_input(item, records={"m": replace(RUNNING, ready=False)}, now=200)
    )
    times = {each["type"]: each["lastTransitionTime"] for each in third["conditions"]}
    assert times["Ready"] == "1970-01-01T00:03:20Z"
    assert times["Initialized"] == "1970-01-01T00:01:40Z"


def test_conditions_of_other_writers_stay_and_gate_readiness() -> None:
    item = pod(readinessGates=[{"conditionType": "example.org/lb"}])
    assert (
        conditions(build_status(item, status_input(item, records={"m": RUNNING})))["Ready"]
        == "False"
    )
    item["status"] = {"conditions": [{"type": "example.org/lb", "status": "True"}]}
    made = conditions(build_status(item, status_input(item, records={"m": RUNNING})))
    assert made["Ready"] == "True"
    assert made["example.org/lb"] == "True"


def test_reported_status_overrides_only_own_conditions() -> None:
    observed = {
        "conditions": [
            {"type": "Ready", "status": "False"},
            {"type": "theirs", "status": "True"},
        ],
        "qosClass": "BestEffort",
    }
    reported = {
        "conditions": [
            {"type": "Ready", "status": "True"},
            {"type": "theirs", "status": "False"},
        ],
        "phase": "Running",
    }
    made = status.merge_status(observed, reported)
    assert made["conditions"] == [
        {"type": "theirs", "status": "True"},
        {"type": "Ready", "status": "True"},
    ]
    assert (made["phase"], made["qosClass"]) == ("Running", "BestEffort")


def test_main_containers_wait_for_the_init_containers() -> None:
    item = pod(initContainers=[{"name": "i", "image": "i"}])
    made = build_status(item, status_input(item, records={"i": RUNNING, "m": ContainerRecord()}))
    assert made["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    initialized = next(each for each in made["conditions"] if each["type"] == "Initialized")
    assert initialized["message"] == "containers with incomplete status: [i]"


def test_later_init_containers_wait_for_the_earlier_ones() -> None:
    item = pod(initContainers=[{"name": "one", "image": "i"}, {"name": "two", "image": "i"}])
    records = {"one": RUNNING, "two": ContainerRecord(), "m": ContainerRecord()}
    made = build_status(item, status_input(item, records=records))
    assert made["initContainerStatuses"][1]["state"] == {"waiting": {"reason": "PodInitializing"}}
    first = build_status(item, status_input(item, records=records | {"one": ContainerRecord()}))
    assert first["initContainerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}


def test_containers_of_a_pod_without_init_containers_are_being_created() -> None:
    item = pod()
    made = build_status(item, status_input(item, records={"m": ContainerRecord()}))
    assert made["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}


def test_pod_past_its_deadline_has_the_reason() -> None:
    item = pod()
    made = build_status(
        item,
        status_input(
            item,
            records={"m": ContainerRecord(state=TERMINATED)},
            finished=True,
            deadline_exceeded=True,
        ),
    )
    assert (made["phase"], made["reason"]) == ("Failed", "DeadlineExceeded")


@pytest.mark.parametrize(("seconds", "text"), [(10, "10s"), (0.3, "0.3s"), (300, "5m0s")])
def test_durations_are_formatted_as_in_go(seconds: float, text: str) -> None:
    assert status.format_duration(seconds) == text
