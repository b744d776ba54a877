"""Objects of a cluster as they are read, and what readers of pods need of them; label selectors. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from podpass.facts import Unread

Object = dict[str, Any]
MaybeObject = Object | Unread | None
"""An object of the cluster; None if it does not exist."""

# Controllers that replace their pods when the template changes, and all controllers of pods.
RESTARTABLE = ("Deployment", "StatefulSet", "DaemonSet")
CONTROLLERS = (*RESTARTABLE, "ReplicaSet", "Job", "CronJob")


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


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Return whether labels match a selector: an empty one matches all, None matches nothing."""
    if selector is None:
        return False
    equal = (selector.get("matchLabels") or {}).items()
    return all(labels.get(key) == value for key, value in equal) and all(
        _meets(each, labels) for each in selector.get("matchExpressions") or ()
    )


def _meets(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = str(expression.get("key", "")), expression.get("values") or ()
    match expression.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":  # an object without the label matches NotIn too
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False
