"""Ephemeral containers, which `kubectl debug` adds: accepted by the API, but not run by the kubelet. Pure.

An ephemeral container joins the namespaces of another container, but here containers are plain processes. The
status and an event report this, so that `kubectl debug` does not wait without a message.
"""

from collections.abc import Mapping
from typing import Any

REASON = "EphemeralContainersNotRun"
MESSAGE = (
    "ephemeral containers are not run here: pods are processes of this machine; inspect them with the tools "
    "of this machine, or debug a copy: kubectl debug POD --copy-to=NAME"
)

Pod = Mapping[str, Any]


def build_statuses(pod: Pod) -> list[dict[str, Any]]:
    """Build the statuses of the ephemeral containers of a pod: waiting, with the reason."""
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
        for each in _ephemeral_containers(pod)
    ]


def unreported_containers(pod: Pod) -> list[str]:
    """Return the names of the ephemeral containers that are not in the status yet."""
    status = pod.get("status") or {}
    reported = {each["name"] for each in status.get("ephemeralContainerStatuses") or []}
    return [each["name"] for each in _ephemeral_containers(pod) if each["name"] not in reported]


def event_message(name: str) -> str:
    return f"Container {name} is not started: {MESSAGE}"


def _ephemeral_containers(pod: Pod) -> list[Mapping[str, Any]]:
    return pod["spec"].get("ephemeralContainers") or []
