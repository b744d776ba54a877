"""Decide which containers of a pod to start and stop, from its spec and their records. Pure.

Init containers run one after another. Sidecars (init containers with restartPolicy Always) keep running and
are stopped last.

Source: Kubernetes documentation, "Pod Lifecycle" and "Sidecar Containers".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kubeling.kubelet.container_state import (
    LOST_CODE,
    ContainerRecord,
    ContainerRecords,
    Running,
    Terminated,
    Waiting,
)

ALWAYS, ON_FAILURE = "Always", "OnFailure"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPlan:
    """The containers of a pod by role, in the order of the spec.

    `restart` is the restart policy of the pod, and `own` has the containers with a policy of their own.
    """

    inits: tuple[str, ...]
    sidecars: frozenset[str]
    mains: tuple[str, ...]
    restart: str
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def restarts(self, name: str, code: int) -> bool:
        """Return whether a container restarts after it has ended with an exit code."""
        own = self.own.get(name) or {}
        for rule in own.get("restartPolicyRules") or ():
            codes = rule["exitCodes"]
            if (code in (codes.get("values") or ())) is (codes["operator"] == "In"):
                return True
        policy = own.get("restartPolicy") or self.restart
        return policy == ALWAYS or (policy == ON_FAILURE and code != 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartBackOff:
    """Delays before restarts, in seconds: zero, then `first`, doubled each time up to `last`."""

    first: float = 10.0
    last: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The containers to start and stop now, those in backoff, and when to decide again.

    `wake_at` is in epoch seconds; `finished` is true if no container runs or will run again.
    """

    start: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    backing_off: frozenset[str] = frozenset()
    wake_at: float | None = None
    finished: bool = False


def read_plan(spec: Mapping[str, Any]) -> PodPlan:
    """Return the containers of a pod by role."""
    inits = spec.get("initContainers") or []
    return PodPlan(
        inits=tuple(each["name"] for each in inits),
        sidecars=frozenset(e["name"] for e in inits if e.get("restartPolicy") == ALWAYS),
        mains=tuple(each["name"] for each in spec["containers"]),
        restart=spec.get("restartPolicy") or ALWAYS,
        own={e["name"]: e for e in (*inits, *spec["containers"]) if e.get("restartPolicy")},
    )


def decide(
    plan: PodPlan,
    records: ContainerRecords,
    now: float,
    back_off: RestartBackOff,
    *,
    stopping: bool = False,
) -> Decision:
    """Decide which containers to start and stop.

    `stopping` is true if the pod is being deleted or has exceeded its deadline.
    """
    if stopping or has_init_failed(plan, records) or are_mains_finished(plan, records):
        # Stop all containers except sidecars; then the sidecars, in reverse order of their start.
        running = [n for n in (*plan.inits, *plan.mains) if isinstance(records[n].state, Running)]
        others = tuple(name for name in running if name not in plan.sidecars)
        if others:
            return Decision(stop=others)
        return Decision(stop=tuple(running[-1:]), finished=not running)
    pending = _due_inits(plan, records)
    if is_initialized(plan, records):
        pending += [name for name in plan.mains if not _is_settled(plan, name, records[name])]
    return _schedule(pending, records, now, back_off)


def _due_inits(plan: PodPlan, records: ContainerRecords) -> list[str]:
    """Return the init containers that should run, up to the first that blocks the next one."""
    mains_ran = any(_has_run(records[name]) for name in plan.mains)
    due: list[str] = []
    for name in plan.inits:
        record = records[name]
        if name in plan.sidecars:
            if not isinstance(record.state, Running):
                due.append(name)
            if not record.started and not mains_ran:
                break
        elif not mains_ran and not _has_initialized(record):
            if not isinstance(record.state, Running):
                due.append(name)
            break
    return due


def _schedule(
    pending: list[str], records: ContainerRecords, now: float, back_off: RestartBackOff
) -> Decision:
    """Start the containers that are due, and return when the next one is due."""
    times = {name: start_due_at(records[name], back_off) for name in pending}
    later = {name: at for name, at in times.items() if at > now}
    return Decision(
        start=tuple(name for name in pending if name not in later),
        backing_off=frozenset(name for name in later if records[name].previous is not None),
        wake_at=min(later.values(), default=None),
    )


def start_due_at(record: ContainerRecord, back_off: RestartBackOff) -> float:
    """Return the time from which a container may start or restart, in epoch seconds."""
    if isinstance(record.state, Terminated):
        reset = _resets_back_off(record.state, back_off)
        return record.state.finished_at + (0.0 if reset else record.delay)
    return record.state.retry_at if isinstance(record.state, Waiting) else 0.0


def record_start(
    record: ContainerRecord, now: float, container_id: str, back_off: RestartBackOff
) -> ContainerRecord:
    """Return the record of a container whose process has just started."""
    previous = record.previous
    if previous is None or previous.interrupted or record.stale:
        delay = 0.0
    elif record.delay == 0 or _resets_back_off(previous, back_off):
        delay = back_off.first
    else:
        delay = min(record.delay * 2, back_off.last)
    return ContainerRecord(
        state=Running(container_id=container_id, started_at=now),
        last=previous,
        restarts=record.restarts + (previous is not None),
        delay=delay,
    )


def record_new_network(plan: PodPlan, records: ContainerRecords) -> dict[str, ContainerRecord]:
    """Return the records of a pod that gets a new network: its init containers must run again.

    A pod that has ended stays so, as in the kubelet.
    """
    if are_mains_finished(plan, records):
        return dict(records)
    return {
        name: replace(record, stale=record.previous is not None) for name, record in records.items()
    }


def record_start_failure(
    record: ContainerRecord, reason: str, message: str, retry_at: float
) -> ContainerRecord:
    """Return the record of a container that waits for a missing object or image."""
    waiting = Waiting(reason=reason, message=message, retry_at=retry_at)
    return replace(record, state=waiting, last=record.previous, started=False, ready=False)


def is_same_failure(before: ContainerRecord, after: ContainerRecord) -> bool:
    """Return whether two records differ only in the time of the next attempt."""
    one, other = before.state, after.state
    if not (isinstance(one, Waiting) and isinstance(other, Waiting)):
        return False
    return replace(one, retry_at=other.retry_at) == other and replace(before, state=other) == after


def _resets_back_off(run: Terminated, back_off: RestartBackOff) -> bool:
    # A stop of the kubelet does not count as a crash of its containers.
    return run.interrupted or run.finished_at - run.started_at >= 2 * back_off.last


def is_crash_restart(record: ContainerRecord) -> bool:
    """Return whether the next start follows a crash, for the event BackOff."""
    previous = record.previous
    if previous is None or previous.interrupted or record.stale:
        return False
    return record.delay > 0


def is_initialized(plan: PodPlan, records: ContainerRecords) -> bool:
    """Return whether init containers succeeded and sidecars started, or a main container ran already."""
    if any(_has_run(records[name]) for name in plan.mains):
        return True
    return not unfinished_inits(plan, records)


def unfinished_inits(plan: PodPlan, records: ContainerRecords) -> list[str]:
    """Return the init containers that have not succeeded, and the sidecars that have not started."""
    return [
        name
        for name in plan.inits
        if not (records[name].started if name in plan.sidecars else _has_initialized(records[name]))
    ]


def has_init_failed(plan: PodPlan, records: ContainerRecords) -> bool:
    """Return whether an init container failed and is not restarted."""
    return any(
        isinstance(state := records[name].state, Terminated)
        and state.code != 0
        and not plan.restarts(name, state.code)
        for name in plan.inits
        if name not in plan.sidecars
    )


def are_mains_finished(plan: PodPlan, records: ContainerRecords) -> bool:
    """Return whether no main container runs or will run again."""
    return all(
        isinstance(records[name].state, Terminated) and _is_settled(plan, name, records[name])
        for name in plan.mains
    )


def _is_settled(plan: PodPlan, name: str, record: ContainerRecord) -> bool:
    """Return whether a container runs, or has ended and is not restarted."""
    if not isinstance(state := record.state, Terminated):
        return isinstance(state, Running)
    # An interrupted container did not succeed, whatever its exit code.
    return not plan.restarts(name, state.code or (LOST_CODE if state.interrupted else 0))


def _succeeded(record: ContainerRecord) -> bool:
    """Return whether a container succeeded; an interrupted one did not, whatever its exit code."""
    state = record.state
    return isinstance(state, Terminated) and state.code == 0 and not state.interrupted


def _has_initialized(record: ContainerRecord) -> bool:
    """Return whether an init container succeeded in the current network of the pod."""
    return _succeeded(record) and not record.stale


def _has_run(record: ContainerRecord) -> bool:
    """Return whether a container runs or ran in the current network of the pod."""
    return _has_ever_run(record) and not record.stale


def _has_ever_run(record: ContainerRecord) -> bool:
    return isinstance(record.state, Running) or record.previous is not None


def pod_phase(
    plan: PodPlan, records: ContainerRecords, *, finished: bool, failed: bool = False
) -> str:
    """Return the phase of a pod, as in the kubelet.

    `finished` is true if no container will run again; `failed` is true if the pod exceeded its deadline.
    """
    mains = [records[name] for name in plan.mains]
    if failed:
        return "Failed" if finished else "Running"
    if finished:
        return "Succeeded" if all(_succeeded(record) for record in mains) else "Failed"
    if not is_initialized(plan, records) or not all(map(_has_ever_run, mains)):
        return "Pending"
    return "Running"
