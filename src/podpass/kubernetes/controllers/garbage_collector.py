"""Garbage: what an object owns goes with it, before it, or stays without it, as its deletion asked for."""

from collections.abc import Callable

from podpass.kubernetes.apiserver.kinds import KINDS, named
from podpass.kubernetes.apiserver.options import BACKGROUND, FOREGROUND, ORPHAN
from podpass.kubernetes.apiserver.registry.deletion import FINALIZERS
from podpass.kubernetes.apiserver.status import StatusError
from podpass.kubernetes.apiserver.storage.storage import Object
from podpass.kubernetes.controllers.client import Writer
from podpass.kubernetes.controllers.lister import Place, View

_BY_TYPE = {(kind.api_version, kind.kind): kind for kind in KINDS}


class Garbage:
    """Collects what nobody owns any more."""

    def __init__(self, view: View, writer: Writer) -> None:
        self._view, self._writer = view, writer

    async def look(self, kind: str, namespace: str, name: str) -> None:
        """Look at one object: as one that is owned, and as one that owns.

        Errors:  StatusError.
        """
        obj = self._writer.store.get(named(kind), namespace, name)
        if obj is None:
            return
        finalizers = obj["metadata"].get("finalizers") or ()
        if obj["metadata"].get("deletionTimestamp"):
            if FINALIZERS[ORPHAN] in finalizers:
                await self._orphan(kind, obj)
            elif FINALIZERS[FOREGROUND] in finalizers:
                await self._finish(kind, obj)
        elif obj["metadata"].get("ownerReferences"):
            await self._keep_or_collect(kind, obj)

    async def _keep_or_collect(self, kind: str, obj: Object) -> None:
        """Delete an object whose owners are all gone, or wait for it to go before them."""
        metadata = obj["metadata"]
        owners = metadata["ownerReferences"]
        found = {each["uid"]: self._owner(each, metadata.get("namespace", "")) for each in owners}
        waiting = [uid for uid, owner in found.items() if owner and _waits(owner)]
        solid = [uid for uid, owner in found.items() if owner is not None and uid not in waiting]
        if not solid:
            has_own = bool(self._view.dependants(metadata["uid"]))
            policy = FOREGROUND if waiting and has_own else BACKGROUND
            await self._delete(kind, obj, policy)
        elif len(solid) < len(owners):
            await self._leave(
                kind, obj, [each["uid"] for each in owners if each["uid"] not in solid]
            )

    def _owner(self, reference: Object, namespace: str) -> Object | None:
        """Give an owner that is there; an empty object for a kind this cluster cannot know."""
        kind = _BY_TYPE.get((reference["apiVersion"], reference["kind"]))
        if kind is None or not kind.stored:
            return {"metadata": {}}
        place = namespace if kind.namespaced else ""
        owner = self._writer.store.get(kind, place, reference["name"])
        if owner is None or owner["metadata"]["uid"] != reference["uid"]:
            return None
        return owner

    async def _finish(self, kind: str, obj: Object) -> None:
        """Delete what an object owns, and let it go when nothing is left that must go before it."""
        uid = obj["metadata"]["uid"]
        for place in self._view.dependants(uid):
            dependant = self._object(place)
            if dependant and not dependant["metadata"].get("deletionTimestamp"):
                await self._keep_or_collect(place[0], dependant)
        self._view.catch_up()
        left = [self._object(place) for place in self._view.dependants(uid)]
        if not any(each is not None and _blocks(each, uid) for each in left):
            await self._release(kind, obj, FINALIZERS[FOREGROUND])

    async def _orphan(self, kind: str, obj: Object) -> None:
        """Take an owner out of what it owns, and let it go."""
        for place in self._view.dependants(obj["metadata"]["uid"]):
            dependant = self._object(place)
            if dependant is not None:
                await self._leave(place[0], dependant, [obj["metadata"]["uid"]])
        await self._release(kind, obj, FINALIZERS[ORPHAN])

    def _object(self, place: Place) -> Object | None:
        return self._writer.store.get(named(place[0]), place[1], place[2])

    async def _leave(self, kind: str, obj: Object, uids: list[str]) -> None:
        def without(live: Object) -> Object:
            owners = live["metadata"].get("ownerReferences") or ()
            kept = [each for each in owners if each["uid"] not in uids]
            return {**live, "metadata": {**live["metadata"], "ownerReferences": kept}}

        await self._change(kind, obj, without)

    async def _release(self, kind: str, obj: Object, finalizer: str) -> None:
        def without(live: Object) -> Object:
            kept = [each for each in live["metadata"].get("finalizers") or () if each != finalizer]
            return {**live, "metadata": {**live["metadata"], "finalizers": kept}}

        await self._change(kind, obj, without)

    async def _change(self, kind: str, obj: Object, wanted: Callable[[Object], Object]) -> None:
        metadata = obj["metadata"]
        try:
            await self._writer.change(kind, metadata.get("namespace", ""), metadata["name"], wanted)
        except StatusError as exc:
            if exc.status != 404:
                raise

    async def _delete(self, kind: str, obj: Object, policy: str) -> None:
        metadata = obj["metadata"]
        # One that asked for its own way of going keeps it.
        finalizers = metadata.get("finalizers") or ()
        kept = [name for name, each in FINALIZERS.items() if each in finalizers]
        await self._writer.delete(
            kind,
            metadata.get("namespace", ""),
            metadata["name"],
            metadata["uid"],
            policy=kept[0] if kept else policy,
        )


def _waits(owner: Object) -> bool:
    """Tell whether an owner is being deleted and waits for what it owns to go first."""
    metadata = owner["metadata"]
    going = bool(metadata.get("deletionTimestamp"))
    return going and FINALIZERS[FOREGROUND] in (metadata.get("finalizers") or ())


def _blocks(obj: Object, uid: str) -> bool:
    owners = obj["metadata"].get("ownerReferences") or ()
    return any(each["uid"] == uid and each.get("blockOwnerDeletion") for each in owners)
