"""What the status of a pod says about its containers. Pure."""

from collections.abc import Iterator
from datetime import datetime

from podpass.doctor.model import Object

NOT_STARTED = ("PodInitializing", "ContainerCreating")
_RECENT_SECONDS = 600


def list_statuses(pod: Object) -> Iterator[Object]:
    """Yield the statuses of init containers and containers."""
    status = pod.get("status") or {}
    for group in ("initContainerStatuses", "containerStatuses"):
        yield from status.get(group) or ()


def describe_stop(status: Object, now: float) -> str:
    """Return why a container does not run, or has just crashed; empty if it runs, ended well or starts."""
    state = status.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    if waiting and waiting.get("reason") not in NOT_STARTED:
        text = str(waiting.get("message") or "")[:200]
        return str(waiting.get("reason") or "it waits") + (f": {text}" if text else "")
    # Between two crashes a container runs, or has ended, for a moment.
    earlier = (status.get("lastState") or {}).get("terminated") or {}
    is_recent = not ended and now - _seconds(earlier) < _RECENT_SECONDS
    for each in (ended, earlier if is_recent else {}):
        if each.get("exitCode"):
            restarts = status.get("restartCount", 0)
            return f"it ended with exit code {each['exitCode']}, after {restarts} restarts"
    return ""


def _seconds(ended: Object) -> float:
    """Return when a container ended, in seconds since 1970; 0 if that is not known."""
    try:
        return datetime.fromisoformat(str(ended.get("finishedAt"))).timestamp()
    except ValueError:
        return 0.0
