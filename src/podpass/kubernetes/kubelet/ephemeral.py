"""Ephemeral containers, as `kubectl debug` adds them: the API takes them, and nothing here runs them.

A container that joins another one's namespaces has nothing to join where containers are plain processes.
Whoever added one must be told, instead of waiting for ever. Pure.
"""

from collections.abc import Mapping
from typing import Any

REASON = "EphemeralContainersNotRun"
MESSAGE = (
    "ephemeral containers are not run here: pods are processes of this machine, so look at them with its "
    "own tools, or at a copy: kubectl debug POD --copy-to=NAME"
)

Pod = Mapping[str, Any]


def statuses(pod: Pod) -> list[dict[str, Any]]:
    """Write the statuses of a pod's ephemeral containers: they wait, and say why."""
    return [
        {
            "name": each["name"],
            "state": {"waiting": {"reason": REASON, "message": MESSAGE}},
            "lastState": {},
            "ready": False,
            "restartCount": 0,
            "image": each.get("image") or "",
            "imageID": "",
        }
        for each in _of(pod)
    ]


def unanswered(pod: Pod) -> list[str]:
    """Name the ephemeral containers that the pod's status does not speak of yet."""
    status = pod.get("status") or {}
    told = {each["name"] for each in status.get("ephemeralContainerStatuses") or []}
    return [each["name"] for each in _of(pod) if each["name"] not in told]


def event_message(name: str) -> str:
    return f"Container {name} is not started: {MESSAGE}"


def _of(pod: Pod) -> list[Mapping[str, Any]]:
    return pod["spec"].get("ephemeralContainers") or []
