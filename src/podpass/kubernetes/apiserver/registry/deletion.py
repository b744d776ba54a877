"""Deletions: preconditions, grace for pods on a node, finalizers, whole collections, namespaces.

An object is gone at once unless something still has to happen: a kubelet that stops the pod, a controller
that removes its finalizer, or the namespace's contents. Until then it carries a deletionTimestamp.
"""

import asyncio
import copy

from podpass.clock import rfc3339
from podpass.kubernetes.apiserver.admission import plugins
from podpass.kubernetes.apiserver.admission.plugins import DELETE, Attributes
from podpass.kubernetes.apiserver.kinds import Kind
from podpass.kubernetes.apiserver.options import FOREGROUND, ORPHAN, DeleteOptions
from podpass.kubernetes.apiserver.read.listing import chosen
from podpass.kubernetes.apiserver.read.object_response import Page
from podpass.kubernetes.apiserver.registry import strategies
from podpass.kubernetes.apiserver.registry.store import Resources, is_finished
from podpass.kubernetes.apiserver.request import Request
from podpass.kubernetes.apiserver.status import StatusError, conflict, not_found
from podpass.kubernetes.apiserver.storage.storage import Moved, Object

_TRIES = 8
# Beyond the calendar's end nothing could be written down; a pod that asks for it must still go.
_LONGEST_GRACE = 1 << 31
_TERMINAL = ("Failed", "Succeeded")
FINALIZERS = {ORPHAN: "orphan", FOREGROUND: "foregroundDeletion"}


class Deletions:
    """Deletes objects of every kind."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._store = resources.store

    async def one(self, request: Request, how: DeleteOptions) -> tuple[Object, bool]:
        """Delete the object a request names; the second value says that it is gone now.

        Errors:  StatusError 403, 404, 409.
        """
        return await self.named(request, *request.place, how)

    async def named(
        self, request: Request, namespace: str, name: str, how: DeleteOptions
    ) -> tuple[Object, bool]:
        """Delete one object of the request's kind."""
        kind = request.kind
        for _ in range(_TRIES):
            live = self._store.get(kind, namespace, name)
            if live is None:
                raise not_found(kind, name)
            _precondition(kind, name, live, how)
            await self._admit(request, live, how)
            try:
                return self._delete(kind, live, how)
            except Moved:
                continue
        raise conflict(kind, name, "the object is being changed all the time; try again")

    async def collection(self, request: Request, how: DeleteOptions) -> Page:
        """Delete what a request's selectors choose, and give it as it was before.

        Errors:  StatusError.
        """
        wanted = chosen(request)
        revision = self._store.revision
        gone = []
        for entry in self._store.entries(request.kind, request.place[0]):
            await asyncio.sleep(0)  # 10,000 deletions are seconds, and others ask meanwhile
            if wanted is not None and not wanted(entry.object()):
                continue
            try:
                await self.named(request, entry.namespace, entry.name, how)
            except StatusError as exc:
                if exc.status != 404:
                    raise
            gone.append(entry.raw)
        return Page(gone, {"resourceVersion": str(revision)})

    async def _admit(self, request: Request, live: Object, how: DeleteOptions) -> None:
        metadata = live["metadata"]
        attributes = Attributes(
            operation=DELETE,
            kind=request.kind,
            namespace=request.target.namespace,
            name=metadata["name"],
            user=request.user,
            obj=None,
            old=live,
            options=how.body(),
            dry_run=how.dry_run,
            warnings=request.warnings,
        )
        plugins.admit(attributes, self._store)
        await self._resources.webhooks.mutate(attributes, lambda: None)
        await self._resources.webhooks.validate(attributes)

    def _delete(self, kind: Kind, live: Object, how: DeleteOptions) -> tuple[Object, bool]:
        now = self._resources.clock()
        marked = copy.deepcopy(live)
        _plan_for_dependants(kind, marked, how)
        if kind.kind == "Namespace":
            _mark_namespace(kind, marked, now)
        elif kind.kind == "Pod":
            mark(marked, _grace(live, how), now)
        elif marked["metadata"].get("finalizers"):
            mark(marked, 0, now)
        else:
            return (live if how.dry_run else self._remove(kind, live)), True
        done = is_finished(marked)
        if how.dry_run or (marked == live and not done):
            return marked, done
        seen = int(live["metadata"]["resourceVersion"])
        if done:
            return self._store.delete(kind, marked, seen), True
        return self._store.update(kind, marked, seen), False

    def _remove(self, kind: Kind, live: Object) -> Object:
        return self._store.delete(kind, live, int(live["metadata"]["resourceVersion"]))


def shows_object(kind: Kind, *, gone: bool) -> bool:
    """Tell whether a deletion answers the object rather than a Status."""
    return not gone or kind.kind in strategies.SHOWN_WHEN_DELETED


def _precondition(kind: Kind, name: str, live: Object, how: DeleteOptions) -> None:
    metadata = live["metadata"]
    for what, given, found in (
        ("UID", how.uid, metadata["uid"]),
        ("ResourceVersion", how.revision, metadata["resourceVersion"]),
    ):
        if given and given != found:
            why = f"Precondition failed: {what} in precondition: {given}, in object meta: {found}"
            raise conflict(kind, name, why, details_kind=kind.kind)


def _grace(pod: Object, how: DeleteOptions) -> int:
    """Decide how long a pod may take to end: nothing where no kubelet runs it.

    Units:   seconds.
    """
    if not pod["spec"].get("nodeName") or (pod.get("status") or {}).get("phase") in _TERMINAL:
        return 0
    if how.grace is not None:
        return how.grace if how.grace >= 0 else 1
    return int(pod["spec"].get("terminationGracePeriodSeconds") or 0)


def mark(obj: Object, grace: int, now: float) -> None:
    """Write down that an object is to go; a second time only ever shortens its grace."""
    metadata, grace = obj["metadata"], min(grace, _LONGEST_GRACE)
    if not metadata.get("deletionTimestamp"):
        if "generation" in metadata:
            metadata["generation"] += 1
        metadata["deletionTimestamp"] = rfc3339(now + grace)
        metadata["deletionGracePeriodSeconds"] = grace
    elif grace < (metadata.get("deletionGracePeriodSeconds") or 0):
        metadata["deletionTimestamp"] = rfc3339(now + grace)
        metadata["deletionGracePeriodSeconds"] = grace


def _plan_for_dependants(kind: Kind, obj: Object, how: DeleteOptions) -> None:
    """Note down, as finalizers, what the garbage collector does before the object may go."""
    metadata = obj["metadata"]
    before = metadata.get("finalizers") or []
    policy = how.policy or strategies.USUAL_POLICY.get(kind.kind, "")
    if not policy:  # what was asked for before, and nothing else by itself
        return
    kept = [each for each in before if each not in FINALIZERS.values()]
    if policy in FINALIZERS and kind.kind != "Namespace":
        kept.append(FINALIZERS[policy])
    if kept != before:
        metadata["finalizers"] = kept
    if not kept:
        metadata.pop("finalizers", None)


def _mark_namespace(kind: Kind, namespace: Object, now: float) -> None:
    metadata = namespace["metadata"]
    if metadata.get("deletionTimestamp"):
        if not is_finished(namespace):
            why = (
                "The system is ensuring all content is removed from this namespace.  Upon completion, "
                "this namespace will automatically be purged by the system."
            )
            raise conflict(kind, metadata["name"], why)
        return
    metadata["deletionTimestamp"] = rfc3339(now)
    namespace.setdefault("status", {})["phase"] = "Terminating"
