"""What comes next for a pod's containers, decided without any of them."""

from dataclasses import replace

import pytest

from podpass.kubernetes.kubelet import lifecycle
from podpass.kubernetes.kubelet.container_state import Ended, Record, Running, Waiting
from podpass.kubernetes.kubelet.lifecycle import (
    BackOffRule,
    Decision,
    Plan,
    decide,
    read_plan,
)

RULE = BackOffRule(first=10, most=300)
FRESH = Record()
UP = Record(state=Running(container_id="x", started_at=100), started=True, ready=True)
STARTING = replace(UP, started=False, ready=False)


def ended(code: int = 0, at: float = 100, began: float = 99, **more: float) -> Record:
    state = Ended(code=code, reason="", started_at=began, finished_at=at)
    return Record(state=state, **more)  # type: ignore[arg-type]  # tests give what fits


def plan(restart: str = "Always", *, inits: str = "", sidecars: str = "", mains: str = "m") -> Plan:
    return Plan(
        inits=tuple(inits.split()),
        sidecars=frozenset(sidecars.split()),
        mains=tuple(mains.split()),
        restart=restart,
    )


def choose(plan: Plan, now: float = 100, *, stopping: bool = False, **records: Record) -> Decision:
    return decide(plan, records, now, RULE, stopping=stopping)


def test_a_plan_is_read_from_a_spec() -> None:
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


def test_the_next_waits_until_a_sidecar_has_started_not_until_it_ends() -> None:
    mixed = plan(inits="s i", sidecars="s")
    assert choose(mixed, s=FRESH, i=FRESH, m=FRESH).start == ("s",)
    assert choose(mixed, s=STARTING, i=FRESH, m=FRESH).start == ()
    assert choose(mixed, s=UP, i=FRESH, m=FRESH).start == ("i",)
    assert choose(mixed, s=UP, i=ended(0), m=FRESH).start == ("m",)


@pytest.mark.parametrize("restart", ["Never", "OnFailure", "Always"])
def test_a_sidecar_that_ends_is_started_again_whatever_the_policy(restart: str) -> None:
    assert choose(plan(restart, inits="s", sidecars="s"), s=ended(0), m=UP).start == ("s",)


def test_init_containers_do_not_run_again_once_the_main_ones_have() -> None:
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
def test_the_policy_says_who_is_started_again(restart: str, code: int, again: bool) -> None:
    decision = choose(plan(restart), m=ended(code))
    assert (decision.start == ("m",)) is again
    assert decision.over is not again


def test_the_first_restart_is_at_once_the_next_ones_wait() -> None:
    decision = choose(plan(), now=100, m=ended(1, at=100, delay=10.0))
    assert decision.start == ()
    assert decision.wake_at == 110
    assert decision.backing_off == {"m"}
    assert choose(plan(), now=110, m=ended(1, at=100, delay=10.0)).start == ("m",)


def test_waits_double_up_to_the_most() -> None:
    record, delays = FRESH, []
    for _ in range(8):
        record = lifecycle.started(record, 0, "id", RULE)
        delays.append(record.delay)
        record = replace(record, state=Ended(code=1, reason="", started_at=0, finished_at=1))
    assert delays == [0, 10, 20, 40, 80, 160, 300, 300]
    assert record.restarts == 7


def test_a_long_run_is_forgiven() -> None:
    long = ended(1, at=1000, began=400, delay=300.0)
    assert lifecycle.due_at(long, RULE) == 1000
    assert lifecycle.started(long, 1000, "id", RULE).delay == 10
    short = ended(1, at=999, began=400, delay=300.0)
    assert lifecycle.due_at(short, RULE) == 1299


def test_a_failed_init_container_ends_a_pod_that_never_restarts() -> None:
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


def test_a_pod_that_stops_starts_nothing() -> None:
    assert choose(plan(inits="i"), i=FRESH, m=FRESH, stopping=True) == Decision(over=True)
    assert choose(plan(), m=ended(1), stopping=True) == Decision(over=True)


def test_a_container_held_up_is_tried_again_and_keeps_its_last_run() -> None:
    held = lifecycle.held_up(ended(3, delay=10), "CreateContainerConfigError", "no map", 102)
    assert isinstance(held.state, Waiting)
    assert held.last is not None
    assert held.last.code == 3
    assert choose(plan(), now=101, m=held).wake_at == 102
    assert choose(plan(), now=102, m=held).start == ("m",)
    assert lifecycle.started(held, 102, "id", RULE).restarts == 1


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
def test_the_phase_is_the_kubelet_s(restart: str, record: Record, over: bool, phase: str) -> None:
    assert lifecycle.phase(plan(restart), {"m": record}, over=over) == phase


def test_a_pod_is_pending_until_all_containers_have_run() -> None:
    both = plan(mains="m n")
    assert lifecycle.phase(both, {"m": UP, "n": FRESH}, over=False) == "Pending"
    assert lifecycle.phase(plan(inits="i"), {"i": UP, "m": FRESH}, over=False) == "Pending"


def test_a_pod_past_its_deadline_fails_even_if_all_went_well() -> None:
    assert lifecycle.phase(plan(), {"m": ended(0)}, over=True, failed=True) == "Failed"


def test_what_is_waited_for_is_the_same_whenever_it_is_tried_again() -> None:
    held = lifecycle.held_up(FRESH, "ImageUnknown", "add it", 102)
    again = lifecycle.held_up(held, "ImageUnknown", "add it", 104)
    assert lifecycle.is_held_up_as(held, again)
    assert not lifecycle.is_held_up_as(FRESH, again)
    assert not lifecycle.is_held_up_as(held, lifecycle.held_up(held, "ImageUnknown", "b", 104))
    assert not lifecycle.is_held_up_as(held, lifecycle.held_up(held, "Other", "add it", 104))
    assert not lifecycle.is_held_up_as(ended(1), lifecycle.held_up(ended(1), "Other", "m", 104))
