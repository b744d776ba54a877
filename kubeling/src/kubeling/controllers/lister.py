"""A lister for the controllers: an index of pods and owner references, fed from the watch cache.

`sync` costs as much as has changed, and a query as much as it returns. No query scans all pods.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from kubeling.apiserver.customresources.served_kinds import ServedKinds
from kubeling.apiserver.kinds import Kind, kind_by_name
from kubeling.apiserver.storage.storage import ObjectStore
from kubeling.apiserver.storage.watch_cache import DELETED, ResourceExpired
from kubeling.controllers import pod_info
from kubeling.controllers.pod_info import PodInfo

ObjectKey = tuple[str, str, str]
"""Kind, namespace and name of an object."""

_POD = kind_by_name("Pod")


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one object.

    `uid` is the uid of the present or deleted object; `owners` and `controllers` are the uids of its owners
    and controllers before and after the change. `affects_garbage_collection` is true if the owners, the
    finalizers or the deletion timestamp changed.
    """

    key: ObjectKey
    uid: str
    deleted: bool
    affects_garbage_collection: bool
    owners: frozenset[str]
    controllers: frozenset[str]


@dataclass(frozen=True, slots=True)
class _ObjectOwners:
    uid: str
    owners: tuple[str, ...]
    controller: str
    deleting: bool
    finalizers: tuple[str, ...]


class Lister:
    """Indexes the store; call `sync` before a query. `on_change` is called for each change."""

    def __init__(
        self, store: ObjectStore, kinds: ServedKinds, on_change: Callable[[Change], None]
    ) -> None:
        self._store, self._kinds, self._on_change = store, kinds, on_change
        self._followed: dict[str, Kind] = {}
        self._seen = -1
        self._known: dict[ObjectKey, _ObjectOwners] = {}
        self._keys: dict[str, ObjectKey] = {}
        self._dependents: dict[str, dict[ObjectKey, None]] = {}
        self._pods: dict[tuple[str, str], PodInfo] = {}
        self._by_controller: dict[str, dict[tuple[str, str], PodInfo]] = {}
        self._by_namespace: dict[str, dict[tuple[str, str], PodInfo]] = {}

    def __len__(self) -> int:
        return len(self._pods)

    @property
    def resources(self) -> tuple[str, ...]:
        """Return the resources whose changes the lister follows."""
        return tuple(kind.resource for kind in self._follow())

    def _follow(self) -> list[Kind]:
        """Return the kinds to follow, with those that were served at the last sync: they have deletions."""
        # Events have no owners and no dependents, and there are too many of them to index.
        self._followed |= {
            kind.key: kind for kind in self._kinds.stored() if kind.type_name != "Event"
        }
        return list(self._followed.values())

    def sync(self) -> None:
        """Apply the changes since the last call; the first call reads everything."""
        revision = self._store.revision
        if revision == self._seen:
            return
        try:
            changes = self._recent_changes() if self._seen >= 0 else self._relist()
        except ResourceExpired:
            changes = self._relist()
        self._seen = revision
        for change in changes:
            self._on_change(change)
        served = {kind.key for kind in self._kinds.stored()}
        self._followed = {key: kind for key, kind in self._followed.items() if key in served}

    def _recent_changes(self) -> list[Change]:
        history, found = self._store.watch_cache, []
        for kind in self._follow():
            if self._store.last_change(kind) <= self._seen:
                continue
            for event in history.events_since(self._seen, kind.resource):
                key = (kind.key, event.namespace, event.name)
                deleted = event.type == DELETED
                found.append(self._apply(key, None if deleted else orjson.loads(event.raw)))
        return found

    def _relist(self) -> list[Change]:
        present = {
            (kind.key, entry.namespace, entry.name): entry
            for kind in self._follow()
            for entry in self._store.list_stored(kind)
        }
        lost = [self._apply(key, None) for key in list(self._known) if key not in present]
        return lost + [self._apply(key, entry.object()) for key, entry in present.items()]

    def _apply(self, key: ObjectKey, obj: Mapping[str, Any] | None) -> Change:
        before = self._known.pop(key, None)
        if before is not None:
            self._keys.pop(before.uid, None)
            for owner in before.owners:
                self._dependents[owner].pop(key, None)
                if not self._dependents[owner]:
                    del self._dependents[owner]
        if key[0] == _POD.kind:
            self._apply_pod(key, obj)
        after = None
        if obj is not None:
            after = self._known[key] = _known(obj["metadata"])
            self._keys[after.uid] = key
            for owner in after.owners:
                self._dependents.setdefault(owner, {})[key] = None
        states = [each for each in (before, after) if each is not None]
        return Change(
            key=key,
            uid=states[-1].uid if states else "",
            deleted=obj is None,
            affects_garbage_collection=before != after,
            owners=frozenset(owner for each in states for owner in each.owners),
            controllers=frozenset(each.controller for each in states if each.controller),
        )

    def _apply_pod(self, key: ObjectKey, obj: Mapping[str, Any] | None) -> None:
        pod_key = (key[1], key[2])
        if (before := self._pods.pop(pod_key, None)) is not None:
            _remove(self._by_controller, before.controller, pod_key)
            _remove(self._by_namespace, before.namespace, pod_key)
        if obj is None:
            return
        info = self._pods[pod_key] = pod_info.read(obj)
        self._by_controller.setdefault(info.controller, {})[pod_key] = info
        self._by_namespace.setdefault(info.namespace, {})[pod_key] = info

    def definition_of(self, key: str) -> str:
        """Return the name of the CustomResourceDefinition of a kind; empty for a built-in kind."""
        kind = self._followed.get(key)
        return kind.resource if kind is not None and kind.custom is not None else ""

    def pod(self, namespace: str, name: str) -> PodInfo | None:
        return self._pods.get((namespace, name))

    def pods(self, namespace: str) -> list[PodInfo]:
        """Return all pods of a namespace."""
        return list(self._by_namespace.get(namespace, {}).values())

    def pods_of(self, controller: str) -> list[PodInfo]:
        """Return the pods whose controller has this uid."""
        return list(self._by_controller.get(controller, {}).values())

    def orphans(self, namespace: str) -> Iterator[PodInfo]:
        """Yield the pods of a namespace that have no controller."""
        for info in self._by_controller.get("", {}).values():
            if info.namespace == namespace:
                yield info

    def key_of(self, uid: str) -> ObjectKey | None:
        """Return the key of the object with this uid."""
        return self._keys.get(uid)

    def controller_of(self, uid: str) -> ObjectKey | None:
        """Return the key of the controller of the object with this uid."""
        key = self._keys.get(uid)
        return None if key is None else self._keys.get(self._known[key].controller)

    def dependents(self, owner: str) -> list[ObjectKey]:
        """Return the keys of the dependents of the object with this uid."""
        return list(self._dependents.get(owner, ()))


def _known(metadata: Mapping[str, Any]) -> _ObjectOwners:
    owners = metadata.get("ownerReferences") or ()
    return _ObjectOwners(
        uid=metadata["uid"],
        owners=tuple(owner["uid"] for owner in owners),
        controller=pod_info.controller(metadata).get("uid", ""),
        deleting="deletionTimestamp" in metadata,
        finalizers=tuple(metadata.get("finalizers") or ()),
    )


def _remove(
    index: dict[str, dict[tuple[str, str], PodInfo]], group: str, key: tuple[str, str]
) -> None:
    found = index[group]
    found.pop(key, None)
    if not found:
        del index[group]
