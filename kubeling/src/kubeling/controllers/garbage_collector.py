"""Garbage collector: delete or orphan the dependents of deleted objects by propagation policy."""

from kubeling.apiserver.options import BACKGROUND, FOREGROUND, ORPHAN
from kubeling.apiserver.registry.deletion import FINALIZERS
from kubeling.apiserver.storage.storage import Object
from kubeling.controllers.client import ControllerClient
from kubeling.controllers.lister import Lister, ObjectKey


class GarbageCollector:
    """Deletes objects whose owners no longer exist."""

    def __init__(self, lister: Lister, client: ControllerClient) -> None:
        self._lister, self._client = lister, client

    async def reconcile(self, kind: str, namespace: str, name: str) -> None:
        """Reconcile one object, both as dependent and as owner."""
        obj = self._object((kind, namespace, name))
        if obj is None:
            return
        finalizers = obj["metadata"].get("finalizers") or ()
        if obj["metadata"].get("deletionTimestamp"):
            if FINALIZERS[ORPHAN] in finalizers:
                # Remove the owner reference from each dependent, then the finalizer of the owner.
                for key in self._lister.dependents(obj["metadata"]["uid"]):
                    dependent = self._object(key)
                    if dependent is not None:
                        await self._remove_owners(key[0], dependent, [obj["metadata"]["uid"]])
                await self._release(kind, obj, FINALIZERS[ORPHAN])
            elif FINALIZERS[FOREGROUND] in finalizers:
                await self._delete_dependents(kind, obj)
        elif obj["metadata"].get("ownerReferences"):
            await self._collect_if_unowned(kind, obj)

    async def _collect_if_unowned(self, kind: str, obj: Object) -> None:
        """Delete an object if none of its owners exists; otherwise remove references to missing owners."""
        metadata = obj["metadata"]
        owners = metadata["ownerReferences"]
        found = {
            each["uid"]: self._find_owner(each, metadata.get("namespace", "")) for each in owners
        }
        waiting = [uid for uid, owner in found.items() if owner and _awaits_dependents(owner)]
        present = [uid for uid, owner in found.items() if owner is not None and uid not in waiting]
        if not present:
            dependents = self._lister.dependents(metadata["uid"]) if waiting else ()
            if any(_awaits_dependents(each) for key in dependents if (each := self._object(key))):
                # Its owner and its dependent wait for each other: in a circle, no object would be the first.
                await self._unblock_owners(kind, obj)
            await self._delete(kind, obj, FOREGROUND if dependents else BACKGROUND)
        elif len(present) < len(owners):
            await self._remove_owners(
                kind, obj, [each["uid"] for each in owners if each["uid"] not in present]
            )

    def _find_owner(self, reference: Object, namespace: str) -> Object | None:
        """Return the owner if it exists; return an empty object for a kind that is not served."""
        kind = self._client.kinds.by_type(reference["apiVersion"], reference["kind"])
        if kind is None or not kind.stored:
            return {"metadata": {}}
        key = namespace if kind.namespaced else ""
        owner = self._client.store.get(kind, key, reference["name"])
        if owner is None or owner["metadata"]["uid"] != reference["uid"]:
            return None
        return owner

    async def _delete_dependents(self, kind: str, obj: Object) -> None:
        """Delete the dependents; remove the finalizer when no dependent blocks the owner."""
        uid = obj["metadata"]["uid"]
        for key in self._lister.dependents(uid):
            dependent = self._object(key)
            if dependent and not dependent["metadata"].get("deletionTimestamp"):
                await self._collect_if_unowned(key[0], dependent)
        self._lister.sync()
        left = [self._object(key) for key in self._lister.dependents(uid)]
        if not any(each is not None and _blocks_deletion(each, uid) for each in left):
            await self._release(kind, obj, FINALIZERS[FOREGROUND])

    def _object(self, key: ObjectKey) -> Object | None:
        kind = self._client.kinds.by_key(key[0])
        return None if kind is None else self._client.store.get(kind, key[1], key[2])

    async def _remove_owners(self, kind: str, obj: Object, uids: list[str]) -> None:
        await self._client.change_list(
            kind,
            obj,
            "ownerReferences",
            lambda owners: [each for each in owners if each["uid"] not in uids],
        )

    async def _unblock_owners(self, kind: str, obj: Object) -> None:
        """Let the owners be deleted before this dependent."""
        await self._client.change_list(
            kind,
            obj,
            "ownerReferences",
            lambda owners: [{**each, "blockOwnerDeletion": False} for each in owners],
        )

    async def _release(self, kind: str, obj: Object, finalizer: str) -> None:
        await self._client.change_list(
            kind, obj, "finalizers", lambda found: [each for each in found if each != finalizer]
        )

    async def _delete(self, kind: str, obj: Object, policy: str) -> None:
        # A finalizer of the object itself decides its propagation policy.
        finalizers = obj["metadata"].get("finalizers") or ()
        policies = [name for name, each in FINALIZERS.items() if each in finalizers]
        await self._client.delete_object(kind, obj, policy=policies[0] if policies else policy)


def _awaits_dependents(owner: Object) -> bool:
    """Return whether the owner is in foreground deletion and waits for its dependents."""
    metadata = owner["metadata"]
    deleting = bool(metadata.get("deletionTimestamp"))
    return deleting and FINALIZERS[FOREGROUND] in (metadata.get("finalizers") or ())


def _blocks_deletion(obj: Object, uid: str) -> bool:
    owners = obj["metadata"].get("ownerReferences") or ()
    return any(each["uid"] == uid and each.get("blockOwnerDeletion") for each in owners)
