"""Adopt and release pods by selector and controller reference."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.selectors import requirements, workload_selector
from kubeling.apiserver.storage.storage import Object
from kubeling.controllers.client import ControllerClient, owner_reference
from kubeling.controllers.lister import Lister
from kubeling.controllers.pod_info import PodInfo, controller

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
    lister: Lister, client: ControllerClient, kind: Kind, owner: Object, name_prefix: str = ""
) -> list[PodInfo]:
    """Return the pods of an owner after adopting orphans and releasing pods that no longer match.

    Only orphans whose name begins with `name_prefix` are adopted. Raises StatusError: the reconcile is
    repeated.
    """
    metadata = owner["metadata"]
    matches = selector_matches(workload_selector(kind, owner))
    namespace = metadata["namespace"]
    orphans = (pod for pod in lister.orphans(namespace) if pod.name.startswith(name_prefix))
    claimed = classify_pods(matches, lister.pods_of(metadata["uid"]), orphans)
    for pod in claimed.released:
        await client.change_list(
            "Pod",
            pod.identity,
            "ownerReferences",
            lambda owners: _without_owner(owners, metadata["uid"]),
        )
    if metadata.get("deletionTimestamp"):
        return claimed.owned
    reference = owner_reference(kind, owner)
    for pod in claimed.adopted:
        await client.change_list(
            "Pod", pod.identity, "ownerReferences", lambda owners: [*owners, reference]
        )
    return claimed.owned + claimed.adopted


def _without_owner(owners: list[Object], uid: str) -> list[Object]:
    return [each for each in owners if each["uid"] != uid]


async def claim_objects(
    client: ControllerClient, kind: Kind, owner_kind: Kind, owner: Object
) -> list[Object]:
    """Return the objects of a kind that an owner controls, after adopting orphans and releasing others.

    Raises StatusError: the reconcile is repeated.
    """
    metadata = owner["metadata"]
    uid, is_deleting = metadata["uid"], bool(metadata.get("deletionTimestamp"))
    matches = selector_matches(workload_selector(owner_kind, owner))
    reference = owner_reference(owner_kind, owner)
    claimed = []
    for entry in client.store.list_stored(kind, metadata["namespace"]):
        each = entry.object()
        controlled_by = controller(each["metadata"]).get("uid", "")
        fits = matches(each["metadata"].get("labels") or {})
        deleting = each["metadata"].get("deletionTimestamp")
        if controlled_by == uid and (fits or deleting):
            claimed.append(each)
        elif controlled_by == uid:
            await _set_owner(client, kind, each, uid, [])
        elif not controlled_by and fits and not deleting and not is_deleting:
            claimed.append(await _set_owner(client, kind, each, uid, [reference]))
    return claimed


async def _set_owner(
    client: ControllerClient, kind: Kind, obj: Object, uid: str, references: list[Object]
) -> Object:
    """Replace the references of an object to the owner with this uid."""
    others = _without_owner(obj["metadata"].get("ownerReferences") or [], uid)
    metadata = {**obj["metadata"], "ownerReferences": [*others, *references]}
    return await client.update(kind.kind, {**obj, "metadata": metadata})
