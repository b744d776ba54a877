"""Whose a pod is: its owner lets go of one that its selector no longer finds, and takes in strays."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from podpass.kubernetes.apiserver.kinds import named
from podpass.kubernetes.apiserver.selectors import requirements
from podpass.kubernetes.apiserver.status import StatusError
from podpass.kubernetes.apiserver.storage.storage import Object
from podpass.kubernetes.controllers.client import Writer, owner_reference
from podpass.kubernetes.controllers.lister import View
from podpass.kubernetes.controllers.pod_info import PodFact

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Claim:
    """The pods of an owner: those that stay, those it takes in, those it lets go of."""

    kept: list[PodFact]
    adopted: list[PodFact]
    released: list[PodFact]


def finds(selector: Mapping[str, Any] | None) -> Callable[[Labels], bool]:
    """Make a test on labels of a selector; one that says nothing finds nothing."""
    wanted = requirements(selector or {})
    return lambda labels: bool(wanted) and all(each.holds(labels) for each in wanted)


def claim(
    found: Callable[[Labels], bool], own: Iterable[PodFact], strays: Iterable[PodFact]
) -> Claim:
    """Sort pods by whose they are; what ended or is going is not taken in any more."""
    kept: list[PodFact] = []
    released: list[PodFact] = []
    for pod in own:
        (kept if found(pod.labels) or pod.deleting else released).append(pod)
    adopted = [pod for pod in strays if pod.active and found(pod.labels)]
    return Claim(kept, adopted, released)


async def pods(view: View, writer: Writer, kind: str, owner: Object) -> list[PodFact]:
    """Give the pods of an owner, after it has taken in and let go of what it should.

    Errors:  StatusError, to try again later.
    """
    metadata = owner["metadata"]
    found = finds(owner["spec"].get("selector"))
    namespace = metadata["namespace"]
    claimed = claim(found, view.pods_of(metadata["uid"]), view.strays(namespace))
    for pod in claimed.released:
        await _rewrite(writer, pod, lambda owners: _without(owners, metadata["uid"]))
    if metadata.get("deletionTimestamp"):
        return claimed.kept
    reference = owner_reference(named(kind), owner)
    for pod in claimed.adopted:
        await _rewrite(writer, pod, lambda owners: [*owners, reference])
    return claimed.kept + claimed.adopted


def _without(owners: list[Object], uid: str) -> list[Object]:
    return [each for each in owners if each["uid"] != uid]


async def _rewrite(
    writer: Writer, pod: PodFact, owners: Callable[[list[Object]], list[Object]]
) -> None:
    def changed(live: Object) -> Object:
        kept = owners(list(live["metadata"].get("ownerReferences") or ()))
        return {**live, "metadata": {**live["metadata"], "ownerReferences": kept}}

    try:
        await writer.change("Pod", pod.namespace, pod.name, changed)
    except StatusError as exc:
        if exc.status != 404:
            raise
