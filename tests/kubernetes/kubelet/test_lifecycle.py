"""What comes next for a pod's containers, decided without any of them."""

from dataclasses import replace

import pytest

from podpass.kubernetes.kubelet import lifecycle
from podpass.kubernetes.kubelet.container_state import Terminated, ContainerRecord, Running, Waiting
from podpass.kubernetes.kubelet.lifecycle import (
    RestartBackOff,
    Decision,
    PodPlan,
    decide,
    read_plan,
)

RULE = RestartBackOff(first=10, most=300)
FRESH = ContainerRecord()
UP = ContainerRecord(state=Running(container_id="x", started_at=100), started=True, ready=True)
STARTING = replace(UP, started=False, ready=False)


def ended(code: int = 0, at: float = 100, began: float = 99, **more: float) -> ContainerRecord:
    state = Terminated(code=code, reason="", started_at=began, finished_at=at)
    return ContainerRecord(state=state, **more)  # type: ignore[arg-type]  # tests give what fits


def plan(restart: str = "Always", *, inits: str = "", sidecars: str = "", mains: str = "m") -> PodPlan:
    return PodPlan(
        inits=tuple(inits.split()),
        sidecars=frozenset(sidecars.split()),
        mains=tuple(mains.split()),
        restart=restart,
    )


def choose(plan: PodPlan, now: float = 100, *, stopping: bool = False, **records: ContainerRecord) -> Decision:
    return decide(plan, records, now, RULE, stopping=stopping)


def test_pod_plan_is_read_from_the_spec() -> None:
    spec = {
        "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
        "containers": [{"name": "m"}, {"name": "n"}],
    }
    assert read_plan(spec) == plan(inits="i s", sidecars="s", mains="m n")


def test_all_main_containers_start_at_once() -> None:
    assert choose(plan(mains="m n"), m=FRESH, n=FRESH).start == ("m", "n")


def test_init_containers_start_one_by_one() -> None:
    two = plan(inits="a b")
    assert choose(two, a=FRESH, b=FRESH, m=FRESH).start == ("a",)
    assert choose(two, a=UP, b=FRESH, m=FRESH) == Decision()
    assert choose(two, a=ended(0), b=FRESH, m=FRESH).start == ("b",)
    assert choose(two, a=ended(0), b=ended(0), m=FRESH).start == ("m",)


def test_next_init_container_waits_until_the_sidecar_has_started() -> None:
    mixed = plan(inits="s i", sidecars="s")
    assert choose(mixed, s=FRESH, i=FRESH, m=FRESH).start == ("s",)
    assert choose(mixed, s=STARTING, i=FRESH, m=FRESH).start == ()
    assert choose(mixed, s=UP, i=FRESH, m=FRESH).start == ("i",)
    assert choose(mixed, s=UP, i=ended(0), m=FRESH).start == ("m",)


@pytest.mark.parametrize("restart", ["Never", "OnFailure", "Always"])
def test_sidecar_restarts_with_every_restart_policy(restart: str) -> None:
    assert choose(plan(restart, inits="s", sidecars="s"), s=ended(0), m=UP).start == ("s",)


def test_init_containers_do_not_run_again_after_a_main_container_ran() -> None:
    assert choose(plan(inits="i"), i=FRESH, m=UP) == Decision()


@pytest.mark.parametrize(
    ("restart", "code", "again"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 0, False),
        ("Never", 1, False),
    ],
)
def test_restart_policy_decides_about_the_restart(restart: str, code: int, again: bool) -> None:
    decision = choose(plan(restart), m=ended(code))
    assert (decision.start == ("m",)) is again
    assert decision.over is not again


def test_first_restart_has_no_delay_and_later_restarts_have_one() -> None:
    decision = choose(plan(), now=100, m=ended(1, at=100, delay=10.0))
    assert decision.start == ()
    assert decision.wake_at == 110
    assert decision.backing_off == {"m"}
    assert choose(plan(), now=110, m=ended(1, at=100, delay=10.0)).start == ("m",)


def test_restart_delay_doubles_up_to_the_maximum() -> None:
    record, delays = FRESH, []
    for _ in range(8):
        record = lifecycle.record_start(record, 0, "id", RULE)
        delays.append(record.delay)
        record = replace(record, state=Terminated(code=1, reason="", started_at=0, finished_at=1))
    assert delays == [0, 10, 20, 40, 80, 160, 300, 300]
    assert record.restarts == 7


def test_long_run_resets_the_backoff() -> None:
    long = ended(1, at=1000, began=400, delay=300.0)
    assert lifecycle.start_due_at(long, RULE) == 1000
    assert lifecycle.record_start(long, 1000, "id", RULE).delay == 10
    short = ended(1, at=999, began=400, delay=300.0)
    assert lifecycle.start_due_at(short, RULE) == 1299


def test_failed_init_container_stops_a_pod_with_restart_policy_never() -> None:
    two = plan("Never", inits="s i", sidecars="s")
    assert choose(two, s=UP, i=ended(1), m=FRESH) == Decision(stop=("s",))
    assert choose(two, s=ended(0), i=ended(1), m=FRESH) == Decision(over=True)
    again = plan("OnFailure", inits="i")
    assert choose(again, i=ended(1), m=FRESH).start == ("i",)


def test_sidecars_are_stopped_last_in_reverse() -> None:
    three = plan("Never", inits="s t", sidecars="s t")
    assert choose(three, s=UP, t=UP, m=UP, stopping=True) == Decision(stop=("m",))
    assert choose(three, s=UP, t=UP, m=ended(0)) == Decision(stop=("t",))
    assert choose(three, s=UP, t=ended(0), m=ended(0)) == Decision(stop=("s",))
    assert choose(three, s=ended(0), t=ended(0), m=ended(0)) == Decision(over=True)


def test_stopping_pod_starts_no_container() -> None:
    assert choose(plan(inits="i"), i=FRESH, m=FRESH, stopping=True) == Decision(over=True)
    assert choose(plan(), m=ended(1), stopping=True) == Decision(over=True)


def test_failed_start_is_retried_and_keeps_the_last_run() -> None:
    held = lifecycle.record_start_failure(ended(3, delay=10), "CreateContainerConfigError", "no map", 102)
    assert isinstance(held.state, Waiting)
    assert held.last is not None
    assert held.last.code == 3
    assert choose(plan(), now=101, m=held).wake_at == 102
    assert choose(plan(), now=102, m=held).start == ("m",)
    assert lifecycle.record_start(held, 102, "id", RULE).restarts == 1


@pytest.mark.parametrize(
    ("restart", "record", "over", "phase"),
    [
        ("Always", FRESH, False, "Pending"),
        ("Always", UP, False, "Running"),
        ("Always", ended(1), False, "Running"),
        ("OnFailure", ended(1), False, "Running"),
        ("Never", ended(0), True, "Succeeded"),
        ("Never", ended(1), True, "Failed"),
        ("Always", ended(143), True, "Failed"),
    ],
)
def test_phase_is_that_of_the_kubelet(restart: str, record: ContainerRecord, over: bool, phase: str) -> None:
    assert lifecycle.pod_phase(plan(restart), {"m": record}, over=over) == phase


def test_a_pod_is_pending_until_all_containers_have_run() -> None:
    both = plan(mains="m n")
    assert lifecycle.pod_phase(both, {"m": UP, "n": FRESH}, over=False) == "Pending"
    assert lifecycle.pod_phase(plan(inits="i"), {"i": UP, "m": FRESH}, over=False) == "Pending"


def test_pod_past_its_deadline_fails_even_if_its_containers_succeeded() -> None:
    assert lifecycle.pod_phase(plan(), {"m": ended(0)}, over=True, failed=True) == "Failed"


def test_start_failures_with_another_retry_time_are_the_same() -> None:
    held = lifecycle.record_start_failure(FRESH, "ImageUnknown", "add it", 102)
    again = lifecycle.record_start_failure(held, "ImageUnknown", "add it", 104)
    assert lifecycle.is_same_failure(held, again)
    assert not lifecycle.is_same_failure(FRESH, again)
    assert not lifecycle.is_same_failure(held, lifecycle.record_start_failure(held, "ImageUnknown", "b", 104))
    assert not lifecycle.is_same_failure(held, lifecycle.record_start_failure(held, "Other", "add it", 104))
    assert not lifecycle.is_same_failure(ended(1), lifecycle.record_start_failure(ended(1), "Other", "m", 104))
