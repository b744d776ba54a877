"""The cluster as the controllers see it: facts of all pods, and who owns what, from the store's history.

Catching up costs what has changed, and a question costs what it answers: nothing here looks at all pods.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from podpass.kubernetes.apiserver.kinds import KINDS, Kind, named
from podpass.kubernetes.apiserver.storage.storage import Store
from podpass.kubernetes.apiserver.storage.watch_cache import DELETED, Expired
from podpass.kubernetes.controllers import pod_info
from podpass.kubernetes.controllers.pod_info import PodFact

Place = tuple[str, str, str]
"""Kind, namespace and name of an object."""

# Events own nothing and nobody owns them; there are too many of them to look at each.
FOLLOWED: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind.stored and kind.kind != "Event")
RESOURCES = tuple(kind.resource for kind in FOLLOWED)
_POD = named("Pod")


@dataclass(frozen=True, slots=True)
class Change:
    """Something changed at a place.

    Shapes:  `uid` is that of the object that is, or was, there; `owners` and `controllers` are the uids
             of those that own and control it now or did before. `rebound` says that its owners are not
             what they were, or that it has begun to go.
    """

    place: Place
    uid: str
    gone: bool
    rebound: bool
    owners: frozenset[str]
    controllers: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Known:
    uid: str
    owners: tuple[str, ...]
    controller: str
    going: bool
    held: tuple[str, ...]


class View:
    """Follows the store; call `catch_up` before asking anything. `tell` hears of each change."""

    def __init__(self, store: Store, tell: Callable[[Change], None]) -> None:
        self._store, self._tell = store, tell
        self._seen = -1
        self._known: dict[Place, _Known] = {}
        self._places: dict[str, Place] = {}
        self._dependants: dict[str, dict[Place, None]] = {}
        self._pods: dict[tuple[str, str], PodFact] = {}
        self._by_controller: dict[str, dict[tuple[str, str], PodFact]] = {}
        self._by_namespace: dict[str, dict[tuple[str, str], PodFact]] = {}

    def __len__(self) -> int:
        return len(self._pods)

    def catch_up(self) -> None:
        """Take in what has changed since the last time; the first time that is everything."""
        revision = self._store.revision
        if revision == self._seen:
            return
        try:
            changes = self._changes() if self._seen >= 0 else self._everything()
        except Expired:
            changes = self._everything()
        self._seen = revision
        for change in changes:
            self._tell(change)

    def _changes(self) -> list[Change]:
        history, found = self._store.history, []
        for kind in FOLLOWED:
            if self._store.changed(kind) <= self._seen:
                continue
            for event in history.since(self._seen, kind.resource):
                place = (kind.kind, event.namespace, event.name)
                gone = event.type == DELETED
                found.append(self._take(place, None if gone else orjson.loads(event.raw)))
        return found

    def _everything(self) -> list[Change]:
        there = {
            (kind.kind, entry.namespace, entry.name): entry
            for kind in FOLLOWED
            for entry in self._store.entries(kind)
        }
        lost = [self._take(place, None) for place in list(self._known) if place not in there]
        return lost + [self._take(place, entry.object()) for place, entry in there.items()]

    def _take(self, place: Place, obj: Mapping[str, Any] | None) -> Change:
        before = self._known.pop(place, None)
        if before is not None:
            self._places.pop(before.uid, None)
            for owner in before.owners:
                self._dependants[owner].pop(place, None)
                if not self._dependants[owner]:
                    del self._dependants[owner]
        if place[0] == _POD.kind:
            self._take_pod(place, obj)
        after = None
        if obj is not None:
            after = self._known[place] = _known(obj["metadata"])
            self._places[after.uid] = place
            for owner in after.owners:
                self._dependants.setdefault(owner, {})[place] = None
        states = [each for each in (before, after) if each is not None]
        return Change(
            place=place,
            uid=states[-1].uid if states else "",
            gone=obj is None,
            rebound=before != after,
            owners=frozenset(owner for each in states for owner in each.owners),
            controllers=frozenset(each.controller for each in states if each.controller),
        )

    def _take_pod(self, place: Place, obj: Mapping[str, Any] | None) -> None:
        key = (place[1], place[2])
        if (before := self._pods.pop(key, None)) is not None:
            _remove(self._by_controller, before.controller, key)
            _remove(self._by_namespace, before.namespace, key)
        if obj is None:
            return
        fact = self._pods[key] = pod_info.read(obj)
        self._by_controller.setdefault(fact.controller, {})[key] = fact
        self._by_namespace.setdefault(fact.namespace, {})[key] = fact

    def pod(self, namespace: str, name: str) -> PodFact | None:
        return self._pods.get((namespace, name))

    def pods(self, namespace: str) -> list[PodFact]:
        """List all pods of a namespace."""
        return list(self._by_namespace.get(namespace, {}).values())

    def pods_of(self, controller: str) -> list[PodFact]:
        """List the pods that an owner controls, by its uid."""
        return list(self._by_controller.get(controller, {}).values())

    def strays(self, namespace: str) -> Iterator[PodFact]:
        """List the pods of a namespace that nobody controls."""
        for fact in self._by_controller.get("", {}).values():
            if fact.namespace == namespace:
                yield fact

    def place(self, uid: str) -> Place | None:
        """Find where the object of a uid is."""
        return self._places.get(uid)

    def above(self, uid: str) -> Place | None:
        """Find who controls the object of a uid."""
        place = self._places.get(uid)
        return None if place is None else self._places.get(self._known[place].controller)

    def dependants(self, owner: str) -> list[Place]:
        """List what an object owns, by its uid."""
        return list(self._dependants.get(owner, ()))


def _known(metadata: Mapping[str, Any]) -> _Known:
    owners = metadata.get("ownerReferences") or ()
    return _Known(
        uid=metadata["uid"],
        owners=tuple(owner["uid"] for owner in owners),
        controller=pod_info.controller(metadata).get("uid", ""),
        going="deletionTimestamp" in metadata,
        held=tuple(metadata.get("finalizers") or ()),
    )


def _remove(
    index: dict[str, dict[tuple[str, str], PodFact]], group: str, key: tuple[str, str]
) -> None:
    found = index[group]
    found.pop(key, None)
    if not found:
        del index[group]
