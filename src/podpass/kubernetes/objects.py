"""Objects of a cluster as they are read, and what every reader of pods needs of them. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from podpass.facts import Unread

Object = dict[str, Any]
MaybeObject = Object | Unread | None
"""An object of the cluster; None if it does not exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What admission answers to a pod now, from a dry run.

    `pod` is None if the pod was refused; then `refusal` has the message of the API server.
    """

    pod: Object | None = None
    refusal: str = ""


def list_containers(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the init containers and the containers of a pod."""
    spec = pod.get("spec") or {}
    return [each for group in ("initContainers", "containers") for each in spec.get(group) or ()]


def controller_of(thing: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the reference to the controller of an object, empty without one."""
    owners = (thing.get("metadata") or {}).get("ownerReferences") or ()
    return next((each for each in owners if each.get("controller")), {})


def has_ended(pod: Mapping[str, Any]) -> bool:
    """Return whether a pod has ended, or is being deleted."""
    is_ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    return bool(is_ended or (pod.get("metadata") or {}).get("deletionTimestamp"))


def list_projected_tokens(pod: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the projected ServiceAccount tokens of a pod, each with the name of its volume."""
    for volume in (pod.get("spec") or {}).get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            if token := source.get("serviceAccountToken"):
                yield str(volume.get("name", "")), token
