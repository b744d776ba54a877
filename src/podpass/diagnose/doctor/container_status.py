"""What the status of a pod says about its containers. Pure."""

from collections.abc import Iterator
from datetime import datetime

from podpass import names
from podpass.diagnose.doctor.model import Object

NOT_STARTED = ("PodInitializing", "ContainerCreating")
_RECENT_SECONDS = 600
_STABLE_SECONDS = 60
_MANY_RESTARTS = 3
_SIGTERM = 143  # the exit code of a process that this signal ended


def list_statuses(pod: Object) -> Iterator[Object]:
    """Yield the statuses of init containers and containers."""
    status = pod.get("status") or {}
    for group in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(group) or ()


def find_stopped(pod: Object, now: float) -> tuple[Object, str] | None:
    """Return the first container, not podpass's sidecar, that does not run, and why; None if each runs."""
    for each in list_statuses(pod):
        is_sidecar = each.get("name") in (names.PROXY_CONTAINER, names.PROXY_INIT_CONTAINER)
        if not is_sidecar and (cause := describe_stop(each, now)):
            return each, cause
    return None


def has_run(status: Object) -> bool:
    """Return whether a container has a log: it has started at least once."""
    return bool(status.get("restartCount")) or "terminated" in (status.get("state") or {})


def describe_stop(status: Object, now: float) -> str:
    """Return why a container does not run, or has just crashed; empty if it runs, ended well or starts."""
    state = status.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    if waiting and waiting.get("reason") not in NOT_STARTED:
        text = str(waiting.get("message") or "")[:200]
        return str(waiting.get("reason") or "it waits") + (f": {text}" if text else "")
    # Between two crashes a container runs, or has ended, for a moment.
    earlier = (status.get("lastState") or {}).get("terminated") or {}
    is_recent = not ended and now - _seconds(earlier, "finishedAt") < _RECENT_SECONDS
    if _was_stopped(status, earlier, now):
        is_recent = False
    for each in (ended, earlier if is_recent else {}):
        if each.get("exitCode"):
            count = status.get("restartCount", 0)
            restarts = "1 restart" if count == 1 else f"{count} restarts"
            after = f", after {restarts}" if count else ""
            return f"it ended with exit code {each['exitCode']}{after}"
    return ""


def find_log(status: Object) -> str:
    """Return the option of `kubectl logs` for the log of the run that failed; empty for the newest run."""
    has_ended = "terminated" in (status.get("state") or {})
    return " --previous" if status.get("restartCount") and not has_ended else ""


def _was_stopped(status: Object, earlier: Object, now: float) -> bool:
    """Return whether a container that runs was stopped and not crashed, as by a restart of its node.

    A failed liveness probe sends the same signal, but again and again.
    """
    running = (status.get("state") or {}).get("running") or {}
    if earlier.get("exitCode") != _SIGTERM or not running:
        return False
    is_stable = now - _seconds(running, "startedAt") > _STABLE_SECONDS
    return is_stable or int(status.get("restartCount") or 0) < _MANY_RESTARTS


def _seconds(state: Object, name: str) -> float:
    """Return a time of a container's state, in seconds since 1970; 0 if it is not known."""
    try:
        return datetime.fromisoformat(str(state.get(name))).timestamp()
    except ValueError:
        return 0.0
