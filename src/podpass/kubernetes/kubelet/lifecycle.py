"""What to do next with a pod's containers: a pure decision from its spec and their records.

Init containers run one by one, sidecars (init containers that restart always) stay and are stopped last.
Source: Kubernetes documentation, "Pod Lifecycle" and "Sidecar Containers".
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from podpass.kubernetes.kubelet.container_state import (
    Ended,
    Record,
    Records,
    Running,
    Waiting,
)

ALWAYS, ON_FAILURE = "Always", "OnFailure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A pod's containers by role, in their order."""

    inits: tuple[str, ...]
    sidecars: frozenset[str]
    mains: tuple[str, ...]
    restart: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackOffRule:
    """Waits before a restart, in seconds: none the first time, then `first`, doubled up to `most`."""

    first: float = 10.0
    most: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Containers to start and to stop now, those that wait out a back-off, and when to look again.

    Shapes:  `wake_at` in epoch seconds; `over` once nothing runs and nothing will run any more.
    """

    start: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    backing_off: frozenset[str] = frozenset()
    wake_at: float | None = None
    over: bool = False


def read_plan(spec: Mapping[str, Any]) -> Plan:
    """Sort a pod's containers by role."""
    inits = spec.get("initContainers") or []
    return Plan(
        inits=tuple(each["name"] for each in inits),
        sidecars=frozenset(e["name"] for e in inits if e.get("restartPolicy") == ALWAYS),
        mains=tuple(each["name"] for each in spec["containers"]),
        restart=spec.get("restartPolicy") or ALWAYS,
    )


def decide(
    plan: Plan, records: Records, now: float, rule: BackOffRule, *, stopping: bool = False
) -> Decision:
    """Say what to do next.

    Shapes:  `stopping` when the pod is deleted or past its deadline.
    """
    if stopping or init_failed(plan, records) or mains_done(plan, records):
        return _wind_down(plan, records)
    wanted = _due_inits(plan, records)
    if initialized(plan, records):
        wanted += [name for name in plan.mains if not _is_settled(plan, name, records[name])]
    return _schedule(wanted, records, now, rule)


def _wind_down(plan: Plan, records: Records) -> Decision:
    """Stop what is no sidecar; then the sidecars, the last started first."""
    running = [n for n in (*plan.inits, *plan.mains) if isinstance(records[n].state, Running)]
    others = tuple(name for name in running if name not in plan.sidecars)
    if others:
        return Decision(stop=others)
    return Decision(stop=tuple(running[-1:]), over=not running)


def _due_inits(plan: Plan, records: Records) -> list[str]:
    """List init containers that should run, up to the first that the next one has to wait for."""
    begun = any(_has_run(records[name]) for name in plan.mains)
    due: list[str] = []
    for name in plan.inits:
        record = records[name]
        if name in plan.sidecars:
            if not isinstance(record.state, Running):
                due.append(name)
            if not record.started and not begun:
                break
        elif not begun and not _succeeded(record):
            if not isinstance(record.state, Running):
                due.append(name)
            break
    return due


def _schedule(wanted: list[str], records: Records, now: float, rule: BackOffRule) -> Decision:
    times = {name: due_at(records[name], rule) for name in wanted}
    later = {name: at for name, at in times.items() if at > now}
    return Decision(
        start=tuple(name for name in wanted if name not in later),
        backing_off=frozenset(name for name in later if records[name].previous is not None),
        wake_at=min(later.values(), default=None),
    )


def due_at(record: Record, rule: BackOffRule) -> float:
    """Give the time from which a container may start (again)."""
    if isinstance(record.state, Ended):
        healthy = _ran_long(record.state, rule)
        return record.state.finished_at + (0.0 if healthy else record.delay)
    return record.state.retry_at if isinstance(record.state, Waiting) else 0.0


def started(record: Record, now: float, container_id: str, rule: BackOffRule) -> Record:
    """Give the record of a container whose process has just started."""
    previous = record.previous
    if previous is None:
        delay = 0.0
    elif record.delay == 0 or _ran_long(previous, rule):
        delay = rule.first
    else:
        delay = min(record.delay * 2, rule.most)
    return Record(
        state=Running(container_id=container_id, started_at=now),
        last=previous,
        restarts=record.restarts + (previous is not None),
        delay=delay,
    )


def held_up(record: Record, reason: str, message: str, retry_at: float) -> Record:
    """Give the record of a container that could not be started for want of something."""
    waiting = Waiting(reason=reason, message=message, retry_at=retry_at)
    return replace(record, state=waiting, last=record.previous, started=False, ready=False)


def is_held_up_as(before: Record, now: Record) -> bool:
    """Tell whether a container that could not be started waits for the same as before."""
    one, other = before.state, now.state
    if not (isinstance(one, Waiting) and isinstance(other, Waiting)):
        return False
    return replace(one, retry_at=other.retry_at) == other and replace(before, state=other) == now


def _ran_long(run: Ended, rule: BackOffRule) -> bool:
    return run.finished_at - run.started_at >= 2 * rule.most


def initialized(plan: Plan, records: Records) -> bool:
    """Whether the init phase is over: all done, sidecars started; or the main containers ran already."""
    if any(_has_run(records[name]) for name in plan.mains):
        return True
    return not unfinished_inits(plan, records)


def unfinished_inits(plan: Plan, records: Records) -> list[str]:
    """List init containers that are not done, and sidecars that have not started."""
    return [
        name
        for name in plan.inits
        if not (records[name].started if name in plan.sidecars else _succeeded(records[name]))
    ]


def init_failed(plan: Plan, records: Records) -> bool:
    """Whether an init container failed for good."""
    if plan.restart in (ALWAYS, ON_FAILURE):
        return False
    return any(
        isinstance(state := records[name].state, Ended) and state.code != 0
        for name in plan.inits
        if name not in plan.sidecars
    )


def mains_done(plan: Plan, records: Records) -> bool:
    """Whether no main container runs or will run again."""
    return all(
        isinstance(records[name].state, Ended) and _is_settled(plan, name, records[name])
        for name in plan.mains
    )


def _is_settled(plan: Plan, name: str, record: Record) -> bool:
    """Whether a container runs, or has ended and stays so."""
    if not isinstance(record.state, Ended):
        return isinstance(record.state, Running)
    if name in plan.sidecars or plan.restart == ALWAYS:
        return False
    return plan.restart != ON_FAILURE or record.state.code == 0


def _succeeded(record: Record) -> bool:
    return isinstance(record.state, Ended) and record.state.code == 0


def _has_run(record: Record) -> bool:
    return isinstance(record.state, Running) or record.previous is not None


def phase(plan: Plan, records: Records, *, over: bool, failed: bool = False) -> str:
    """Word the pod's phase as the kubelet does.

    Shapes:  `over` when nothing will run any more; `failed` when it ended by its deadline.
    """
    mains = [records[name] for name in plan.mains]
    if failed:
        return "Failed" if over else "Running"
    if over:
        return "Succeeded" if all(_succeeded(record) for record in mains) else "Failed"
    if not initialized(plan, records) or not all(_has_run(record) for record in mains):
        return "Pending"
    return "Running"
