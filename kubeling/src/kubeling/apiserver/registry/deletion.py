"""Delete objects: preconditions, grace periods of pods, finalizers, collections and namespaces.

An object is removed immediately unless a kubelet must first stop the pod, a controller must remove a
finalizer, or the namespace still has contents. Until then the object has a deletionTimestamp.
"""

import asyncio
import copy

from kubeling.apiserver.admission import plugins
from kubeling.apiserver.admission.plugins import DELETE, AdmissionAttributes
from kubeling.apiserver.customresources import definitions
from kubeling.apiserver.customresources.served_kinds import DEFINITION
from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.options import FOREGROUND, ORPHAN, DeleteOptions
from kubeling.apiserver.read import listing, object_response
from kubeling.apiserver.read.object_response import ListResult
from kubeling.apiserver.registry import strategies
from kubeling.apiserver.registry.store import Registry, is_ready_to_remove
from kubeling.apiserver.request import Request
from kubeling.apiserver.status import StatusError, conflict, not_found
from kubeling.apiserver.storage.storage import Object, RevisionConflict
from kubeling.clock import rfc3339

_MAX_ATTEMPTS = 8
# A longer grace period would end after the last date that can be written; such a pod must still be deleted.
_MAX_GRACE_SECONDS = 1 << 31
_TERMINAL = ("Failed", "Succeeded")
FINALIZERS = {ORPHAN: "orphan", FOREGROUND: "foregroundDeletion"}


class DeletionHandler:
    """Deletes objects of every kind."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._store = registry.store

    async def delete_one(self, request: Request, options: DeleteOptions) -> tuple[Object, bool]:
        """Delete the object of a request; return its last state, and whether it was removed.

        Raises StatusError 403, 404, 409.
        """
        return await self.delete_named(request, *request.namespaced_name, options)

    async def delete_named(
        self, request: Request, namespace: str, name: str, options: DeleteOptions
    ) -> tuple[Object, bool]:
        """Delete one object of the request's kind; return its last state, and whether it was removed."""
        kind = request.kind
        for _ in range(_MAX_ATTEMPTS):
            live = self._store.get(kind, namespace, name)
            if live is None:
                raise not_found(kind, name)
            _check_preconditions(kind, name, live, options)
            await self._admit(request, live, options)
            try:
                return self._delete(kind, live, options)
            except RevisionConflict:
                continue
        raise conflict(
            kind, name, "the object was changed too often during the deletion; try again"
        )

    async def delete_collection(self, request: Request, options: DeleteOptions) -> ListResult:
        """Delete the objects that match a request's selectors, and return their state before the deletion.

        Raises StatusError.
        """
        predicate = listing.parse_selectors(request)
        revision = self._store.revision
        deleted = []
        for entry in self._store.list_stored(request.kind, request.namespaced_name[0]):
            await asyncio.sleep(0)  # 10,000 deletions take seconds; let other requests run
            if predicate is not None and not predicate(entry.object()):
                continue
            try:
                await self.delete_named(request, entry.namespace, entry.name, options)
            except StatusError as exc:
                if exc.status != 404:
                    raise
            deleted.append(object_response.in_version(request.kind, entry.raw))
        return ListResult(deleted, {"resourceVersion": str(revision)})

    async def _admit(self, request: Request, live: Object, options: DeleteOptions) -> None:
        attributes = AdmissionAttributes.of(
            request,
            DELETE,
            None,
            name=live["metadata"]["name"],
            subresource="",  # also for an eviction
            old=live,
            options=options.body(),
            dry_run=options.dry_run,
        )
        plugins.admit(attributes, self._store)
        await self._registry.webhooks.admit(attributes)

    def _delete(self, kind: Kind, live: Object, options: DeleteOptions) -> tuple[Object, bool]:
        now, read_revision = self._registry.clock(), int(live["metadata"]["resourceVersion"])
        obj = copy.deepcopy(live)
        _set_dependents_finalizer(kind, obj, options)
        if kind.type_name == "Namespace":
            _mark_namespace(kind, obj, now)
        elif kind == DEFINITION:
            _mark_definition(obj, now)
        elif kind.type_name == "Pod":
            mark_deleted(obj, _grace_seconds(live, options), now)
        elif obj["metadata"].get("finalizers"):
            mark_deleted(obj, 0, now)
        else:
            return (
                live if options.dry_run else self._store.delete(kind, live, read_revision)
            ), True
        is_removed = is_ready_to_remove(kind, obj)
        if options.dry_run or (obj == live and not is_removed):
            return obj, is_removed
        if is_removed:
            return self._store.delete(kind, obj, read_revision), True
        return self._store.update(kind, obj, read_revision), False


def returns_object(kind: Kind, *, is_removed: bool) -> bool:
    """Return whether the response to a deletion is the object and not a Status."""
    return not is_removed or kind.type_name in strategies.RETURNED_WHEN_DELETED


def _check_preconditions(kind: Kind, name: str, live: Object, options: DeleteOptions) -> None:
    metadata = live["metadata"]
    for what, given, found in (
        ("UID", options.uid, metadata["uid"]),
        ("ResourceVersion", options.revision, metadata["resourceVersion"]),
    ):
        if given and given != found:
            reason = (
                f"Precondition failed: {what} in precondition: {given}, in object meta: {found}"
            )
            raise conflict(kind, name, reason, details_kind=kind.kind)


def _grace_seconds(pod: Object, options: DeleteOptions) -> int:
    """Return the grace period of a pod in seconds; 0 if no kubelet runs it."""
    if not pod["spec"].get("nodeName") or (pod.get("status") or {}).get("phase") in _TERMINAL:
        return 0
    if options.grace is not None:
        return options.grace if options.grace >= 0 else 1
    return int(pod["spec"].get("terminationGracePeriodSeconds") or 0)


def mark_deleted(obj: Object, grace: int, now: float) -> None:
    """Set deletionTimestamp and grace period; for an object that has them, only shorten the grace period."""
    metadata, grace = obj["metadata"], min(grace, _MAX_GRACE_SECONDS)
    is_new = not metadata.get("deletionTimestamp")
    if is_new and "generation" in metadata:
        metadata["generation"] += 1
    if is_new or grace < (metadata.get("deletionGracePeriodSeconds") or 0):
        metadata["deletionTimestamp"] = rfc3339(now + grace)
        metadata["deletionGracePeriodSeconds"] = grace


def _set_dependents_finalizer(kind: Kind, obj: Object, options: DeleteOptions) -> None:
    """Set the finalizer that makes the garbage collector orphan or delete the dependents first."""
    metadata = obj["metadata"]
    old = metadata.get("finalizers") or []
    policy = options.policy or strategies.DEFAULT_PROPAGATION.get(kind.type_name, "")
    if not policy:  # the finalizers of an earlier deletion do not change
        return
    new = [each for each in old if each not in FINALIZERS.values()]
    if policy in FINALIZERS and kind.type_name != "Namespace":
        new.append(FINALIZERS[policy])
    if new != old:
        metadata["finalizers"] = new
    if not new:
        metadata.pop("finalizers", None)


def _mark_definition(definition: Object, now: float) -> None:
    """Mark a CustomResourceDefinition; its controller removes the finalizer when no object is left."""
    metadata = definition["metadata"]
    if metadata.get("deletionTimestamp"):
        return
    metadata["deletionTimestamp"] = rfc3339(now)
    finalizers = metadata.get("finalizers") or []
    if definitions.CLEANUP not in finalizers:
        metadata["finalizers"] = [*finalizers, definitions.CLEANUP]
    definitions.set_condition(definition, definitions.PENDING, now)


def _mark_namespace(kind: Kind, namespace: Object, now: float) -> None:
    metadata = namespace["metadata"]
    if metadata.get("deletionTimestamp"):
        if not is_ready_to_remove(kind, namespace):
            reason = (
                "The system is ensuring all content is removed from this namespace.  Upon completion, "
                "this namespace will automatically be purged by the system."
            )
            raise conflict(kind, metadata["name"], reason)
        return
    metadata["deletionTimestamp"] = rfc3339(now)
    namespace.setdefault("status", {})["phase"] = "Terminating"
