"""Adopt and release pods by selector and controller reference."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from podpass.kubernetes.apiserver.kinds import Kind
from podpass.kubernetes.apiserver.selectors import requirements, workload_selector
from podpass.kubernetes.apiserver.status import StatusError
from podpass.kubernetes.apiserver.storage.storage import Object
from podpass.kubernetes.controllers.client import ControllerClient, owner_reference
from podpass.kubernetes.controllers.lister import Lister
from podpass.kubernetes.controllers.pod_info import PodInfo

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ClaimedPods:
    """The pods of an owner, those to adopt, and those to release."""

    owned: list[PodInfo]
    adopted: list[PodInfo]
    released: list[PodInfo]


def selector_matches(selector: Mapping[str, Any] | None) -> Callable[[Labels], bool]:
    """Return a predicate on labels; an empty selector matches nothing."""
    wanted = requirements(selector or {})
    return lambda labels: bool(wanted) and all(each.matches(labels) for each in wanted)


def classify_pods(
    matches: Callable[[Labels], bool], own: Iterable[PodInfo], orphans: Iterable[PodInfo]
) -> ClaimedPods:
    """Sort pods into owned, adopted and released; a pod that has ended or is being deleted is not adopted."""
    owned: list[PodInfo] = []
    released: list[PodInfo] = []
    for pod in own:
        (owned if matches(pod.labels) or pod.deleting else released).append(pod)
    adopted = [pod for pod in orphans if pod.active and matches(pod.labels)]
    return ClaimedPods(owned, adopted, released)


async def claim_pods(
    lister: Lister, client: ControllerClient, kind: Kind, owner: Object
) -> list[PodInfo]:
    """Return the pods of an owner after adopting orphans and releasing pods that no longer match.

    Errors:  StatusError; the reconcile is repeated.
    """
    metadata = owner["metadata"]
    matches = selector_matches(workload_selector(kind, owner))
    namespace = metadata["namespace"]
    claimed = classify_pods(matches, lister.pods_of(metadata["uid"]), lister.orphans(namespace))
    for pod in claimed.released:
        await _update_owners(client, pod, lambda owners: _without_owner(owners, metadata["uid"]))
    if metadata.get("deletionTimestamp"):
        return claimed.owned
    reference = owner_reference(kind, owner)
    for pod in claimed.adopted:
        await _update_owners(client, pod, lambda owners: [*owners, reference])
    return claimed.owned + claimed.adopted


def _without_owner(owners: list[Object], uid: str) -> list[Object]:
    return [each for each in owners if each["uid"] != uid]


async def _update_owners(
    client: ControllerClient, pod: PodInfo, owners: Callable[[list[Object]], list[Object]]
) -> None:
    def changed(live: Object) -> Object:
        references = owners(list(live["metadata"].get("ownerReferences") or ()))
        return {**live, "metadata": {**live["metadata"], "ownerReferences": references}}

    try:
        await client.change("Pod", pod.namespace, pod.name, changed)
    except StatusError as exc:
        if exc.status != 404:
            raise
