"""Decisions about the containers of a pod."""

from dataclasses import replace

import pytest

from kubeling.kubelet import lifecycle
from kubeling.kubelet.container_state import ContainerRecord, Running, Terminated, Waiting
from kubeling.kubelet.lifecycle import (
    Decision,
    PodPlan,
    RestartBackOff,
    decide,
    read_plan,
)

BACK_OFF = RestartBackOff(first=10, last=300)
NEW = ContainerRecord()
RUNNING = ContainerRecord(state=Running(container_id="x", started_at=100), started=True, ready=True)
STARTING = replace(RUNNING, started=False, ready=False)


def terminated(code: int = 0, at: float = 100, began: float = 99, **more: float) -> ContainerRecord:
    state = Terminated(code=code, reason="", started_at=began, finished_at=at)
    return ContainerRecord(state=state, **more)  # type: ignore[arg-type]  # tests pass valid fields


def plan(
    restart: str = "Always", *, inits: str = "", sidecars: str = "", mains: str = "m"
) -> PodPlan:
    return PodPlan(
        inits=tuple(inits.split()),
        sidecars=frozenset(sidecars.split()),
        mains=tuple(mains.split()),
        restart=restart,
    )


def decide_for(
    plan: PodPlan, now: float = 100, *, stopping: bool = False, **records: ContainerRecord
) -> Decision:
    return decide(plan, records, now, BACK_OFF, stopping=stopping)


def test_pod_plan_is_read_from_the_spec() -> None:
    spec = {
        "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
        "containers": [{"name": "m"}, {"name": "n"}],
    }
    own = {"s": spec["initContainers"][1]}
    assert read_plan(spec) == replace(plan(inits="i s", sidecars="s", mains="m n"), own=own)


@pytest.mark.parametrize(
    ("own", "restarted"),
    [
        ({"restartPolicy": "Always"}, {0, 1, 42}),
        ({"restartPolicy": "OnFailure"}, {1, 42}),
        ({"restartPolicy": "Never"}, set()),
        ({"restartPolicy": "Never", "operator": "In"}, {42}),
        ({"restartPolicy": "Never", "operator": "NotIn"}, {0, 1}),
        ({"restartPolicy": "OnFailure", "operator": "In"}, {1, 42}),
    ],
)
@pytest.mark.parametrize("of_pod", ["Always", "Never"])
def test_container_restarts_by_its_own_policy_and_rules(
    own: dict[str, str], restarted: set[int], of_pod: str
) -> None:
    codes = {"operator": own.get("operator"), "values": [42]}
    rules = [{"action": "Restart", "exitCodes": codes}] if "operator" in own else []
    container = {"restartPolicy": own["restartPolicy"], "restartPolicyRules": rules}
    main = read_plan({"restartPolicy": of_pod, "containers": [{"name": "m", **container}]})
    found = {code for code in (0, 1, 42) if decide_for(main, m=terminated(code)).start == ("m",)}
    assert found == restarted
    if own["restartPolicy"] != "Always":  # otherwise it is a sidecar
        inits = [{"name": "i", **container}]
        spec = {"restartPolicy": of_pod, "initContainers": inits, "containers": [{"name": "m"}]}
        failed = decide_for(read_plan(spec), i=terminated(1), m=NEW)
        assert failed.finished is (1 not in restarted)


def test_all_main_containers_start_at_once() -> None:
    assert decide_for(plan(mains="m n"), m=NEW, n=NEW).start == ("m", "n")


def test_init_containers_start_one_by_one() -> None:
    two = plan(inits="a b")
    assert decide_for(two, a=NEW, b=NEW, m=NEW).start == ("a",)
    assert decide_for(two, a=RUNNING, b=NEW, m=NEW) == Decision()
    assert decide_for(two, a=terminated(0), b=NEW, m=NEW).start == ("b",)
    assert decide_for(two, a=terminated(0), b=terminated(0), m=NEW).start == ("m",)


def test_next_init_container_waits_until_the_sidecar_has_started() -> None:
    mixed = plan(inits="s i", sidecars="s")
    assert decide_for(mixed, s=NEW, i=NEW, m=NEW).start == ("s",)
    assert decide_for(mixed, s=STARTING, i=NEW, m=NEW).start == ()
    assert decide_for(mixed, s=RUNNING, i=NEW, m=NEW).start == ("i",)
    assert decide_for(mixed, s=RUNNING, i=terminated(0), m=NEW).start == ("m",)


@pytest.mark.parametrize("restart", ["Never", "OnFailure", "Always"])
def test_sidecar_restarts_with_every_restart_policy(restart: str) -> None:
    assert decide_for(plan(restart, inits="s", sidecars="s"), s=terminated(0), m=RUNNING).start == (
        "s",
    )


def test_init_containers_do_not_run_again_after_a_main_container_ran() -> None:
    assert decide_for(plan(inits="i"), i=NEW, m=RUNNING) == Decision()


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
def test_exited_container_restarts_as_its_restart_policy_says(
    restart: str, code: int, again: bool
) -> None:
    decision = decide_for(plan(restart), m=terminated(code))
    assert (decision.start == ("m",)) is again
    assert decision.finished is not again


def test_first_restart_has_no_delay_and_later_restarts_have_one() -> None:
    decision = decide_for(plan(), now=100, m=terminated(1, at=100, delay=10.0))
    assert decision.start == ()
    assert decision.wake_at == 110
    assert decision.backing_off == {"m"}
    assert decide_for(plan(), now=110, m=terminated(1, at=100, delay=10.0)).start == ("m",)


def test_restart_delay_doubles_up_to_the_maximum() -> None:
    record, delays = NEW, []
    for _ in range(8):
        record = lifecycle.record_start(record, 0, "id", BACK_OFF)
        delays.append(record.delay)
        record = replace(record, state=Terminated(code=1, reason="", started_at=0, finished_at=1))
    assert delays == [0, 10, 20, 40, 80, 160, 300, 300]
    assert record.restarts == 7


def test_long_run_resets_the_backoff() -> None:
    long = terminated(1, at=1000, began=400, delay=300.0)
    assert lifecycle.start_due_at(long, BACK_OFF) == 1000
    assert lifecycle.record_start(long, 1000, "id", BACK_OFF).delay == 10
    short = terminated(1, at=999, began=400, delay=300.0)
    assert lifecycle.start_due_at(short, BACK_OFF) == 1299


def test_failed_init_container_stops_a_pod_with_restart_policy_never() -> None:
    two = plan("Never", inits="s i", sidecars="s")
    assert decide_for(two, s=RUNNING, i=terminated(1), m=NEW) == Decision(stop=("s",))
    assert decide_for(two, s=terminated(0), i=terminated(1), m=NEW) == Decision(finished=True)
    again = plan("OnFailure", inits="i")
    assert decide_for(again, i=terminated(1), m=NEW).start == ("i",)


def test_sidecars_are_stopped_last_in_reverse() -> None:
    three = plan("Never", inits="s t", sidecars="s t")
    assert decide_for(three, s=RUNNING, t=RUNNING, m=RUNNING, stopping=True) == Decision(
        stop=("m",)
    )
    assert decide_for(three, s=RUNNING, t=RUNNING, m=terminated(0)) == Decision(stop=("t",))
    assert decide_for(three, s=RUNNING, t=terminated(0), m=terminated(0)) == Decision(stop=("s",))
    assert decide_for(three, s=terminated(0), t=terminated(0), m=terminated(0)) == Decision(
        finished=True
    )


def test_stopping_pod_starts_no_container() -> None:
    assert decide_for(plan(inits="i"), i=NEW, m=NEW, stopping=True) == Decision(finished=True)
    assert decide_for(plan(), m=terminated(1), stopping=True) == Decision(finished=True)


def test_failed_start_is_retried_and_keeps_the_last_run() -> None:
    waiting = lifecycle.record_start_failure(
        terminated(3, delay=10), "CreateContainerConfigError", "no map", 102
    )
    assert isinstance(waiting.state, Waiting)
    assert waiting.last is not None
    assert waiting.last.code == 3
    assert decide_for(plan(), now=101, m=waiting).wake_at == 102
    assert decide_for(plan(), now=102, m=waiting).start == ("m",)
    assert lifecycle.record_start(waiting, 102, "id", BACK_OFF).restarts == 1


@pytest.mark.parametrize(
    ("restart", "record", "finished", "phase"),
    [
        ("Always", NEW, False, "Pending"),
        ("Always", RUNNING, False, "Running"),
        ("Always", terminated(1), False, "Running"),
        ("OnFailure", terminated(1), False, "Running"),
        ("Never", terminated(0), True, "Succeeded"),
        ("Never", terminated(1), True, "Failed"),
        ("Always", terminated(143), True, "Failed"),
    ],
)
def test_pod_phase_equals_that_of_the_kubelet(
    restart: str, record: ContainerRecord, finished: bool, phase: str
) -> None:
    assert lifecycle.pod_phase(plan(restart), {"m": record}, finished=finished) == phase


def test_a_pod_is_pending_until_all_containers_have_run() -> None:
    both = plan(mains="m n")
    assert lifecycle.pod_phase(both, {"m": RUNNING, "n": NEW}, finished=False) == "Pending"
    assert (
        lifecycle.pod_phase(plan(inits="i"), {"i": RUNNING, "m": NEW}, finished=False) == "Pending"
    )


def test_pod_past_its_deadline_fails_even_if_its_containers_succeeded() -> None:
    assert lifecycle.pod_phase(plan(), {"m": terminated(0)}, finished=True, failed=True) == "Failed"


def test_start_failures_that_differ_only_in_the_retry_time_are_equal() -> None:
    waiting = lifecycle.record_start_failure(NEW, "ImageUnknown", "add it", 102)
    again = lifecycle.record_start_failure(waiting, "ImageUnknown", "add it", 104)
    assert lifecycle.is_same_failure(waiting, again)
    assert not lifecycle.is_same_failure(NEW, again)
    assert not lifecycle.is_same_failure(
        waiting, lifecycle.record_start_failure(waiting, "ImageUnknown", "b", 104)
    )
    assert not lifecycle.is_same_failure(
        waiting, lifecycle.record_start_failure(waiting, "Other", "add it", 104)
    )
    assert not lifecycle.is_same_failure(
        terminated(1), lifecycle.record_start_failure(terminated(1), "Other", "m", 104)
    )


def interrupted(code: int, **more: float) -> ContainerRecord:
    record = terminated(code, **more)
    assert isinstance(record.state, Terminated)
    return replace(record, state=replace(record.state, interrupted=True))


def test_interrupted_container_restarts_at_once_and_its_back_off_is_reset() -> None:
    """A stop of the kubelet does not count as a crash of its containers."""
    record = interrupted(143, restarts=3, delay=80)
    assert decide_for(plan(), m=record) == Decision(start=("m",))
    assert not lifecycle.is_crash_restart(record)
    assert lifecycle.is_crash_restart(terminated(143, restarts=3, delay=80))
    started = lifecycle.record_start(record, 100, "id", BACK_OFF)
    assert (started.restarts, started.delay) == (4, 0)


@pytest.mark.parametrize(
    ("restart", "start", "phase"), [("OnFailure", ("m",), "Running"), ("Never", (), "Failed")]
)
def test_interrupted_container_has_not_succeeded_even_with_exit_code_zero(
    restart: str, start: tuple[str, ...], phase: str
) -> None:
    records = {"m": interrupted(0)}
    decision = decide_for(plan(restart), m=records["m"])
    assert decision.start == start
    assert lifecycle.pod_phase(plan(restart), records, finished=decision.finished) == phase


def test_pod_with_a_new_network_runs_its_init_containers_again_and_keeps_results() -> None:
    job = plan("OnFailure", inits="i", mains="m n")
    before = {"i": terminated(0), "m": terminated(0), "n": interrupted(143, delay=80)}
    records = lifecycle.record_new_network(job, before)
    assert decide(job, records, 100, BACK_OFF).start == ("i",)
    assert lifecycle.pod_phase(job, records, finished=False) == "Pending"
    records["i"] = lifecycle.record_start(records["i"], 100, "id", BACK_OFF)
    assert (records["i"].restarts, records["i"].delay) == (1, 0)
    assert decide(job, records, 100, BACK_OFF) == Decision()
    records["i"] = terminated(0)
    assert decide(job, records, 100, BACK_OFF).start == ("n",)
    assert lifecycle.pod_phase(job, records, finished=False) == "Running"
    records["n"] = lifecycle.record_start(records["n"], 100, "id", BACK_OFF)
    assert decide(job, records, 100, BACK_OFF) == Decision()


def test_records_of_an_ended_pod_are_unchanged_by_a_new_network() -> None:
    records = {"i": terminated(0), "m": interrupted(143)}
    assert lifecycle.record_new_network(plan("Never", inits="i"), records) == records
