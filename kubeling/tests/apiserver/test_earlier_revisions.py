"""Lists at earlier revisions: a list at a revision equals the list at that time."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.storage.storage import ObjectStore, StoredObject
from kubeling.apiserver.storage.watch_cache import ResourceExpired, WatchCache
from tests.examples import examples

MAPS, SECRETS = kind_by_name("ConfigMap"), kind_by_name("Secret")
# Names that sort differently with and without a suffix.
NAMESPACES = ("one", "one-a", "onea")
NAMES = ("a", "a-b", "ab", "b")

place = some.tuples(some.sampled_from(NAMESPACES), some.sampled_from(NAMES))
writes = some.lists(some.tuples(place, some.booleans(), some.sampled_from((MAPS, SECRETS))))


def apply_change(store: ObjectStore, where: tuple[str, str], kind: Any, *, delete: bool) -> None:
    live = store.get(kind, *where)
    seen = 0 if live is None else int(live["metadata"]["resourceVersion"])
    obj = {"metadata": {"namespace": where[0], "name": where[1]}}
    if live is None:
        store.create(kind, obj)
    elif delete:
        store.delete(kind, live, seen)
    else:
        store.update(kind, obj, seen)


def list_at(entries: list[StoredObject]) -> list[tuple[str, str, int, bytes]]:
    return [(entry.namespace, entry.name, entry.revision, entry.raw) for entry in entries]


@settings(max_examples=examples(60))
@given(writes, some.sampled_from(("", *NAMESPACES)), some.none() | place)
def test_every_earlier_state_can_be_listed(steps: Any, namespace: str, after: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = ObjectStore(Path(folder) / "kubernetes.db")
        store.open()
        # This test does not need durability.
        store._database.execute("PRAGMA synchronous=OFF")  # type: ignore[union-attr]
        states = {0: list_at(store.list_stored(MAPS, namespace, after=after))}
        for where, delete, kind in steps:
            apply_change(store, where, kind, delete=delete)
            found = store.list_stored(MAPS, namespace, after=after)
            states[store.revision] = list_at(found)
            wanted = [
                entry
                for entry in store.list_stored(MAPS)
                if namespace in ("", entry.namespace)
                and (after is None or (entry.namespace, entry.name) > after)
            ]
            assert list_at(found) == list_at(wanted)
        for revision, state in states.items():
            assert list_at(store.list_stored_at(revision, MAPS, namespace, after=after)) == state
        store.close()


def test_dropped_revision_is_refused(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path / "kubernetes.db")
    store.open()
    store.watch_cache = WatchCache(0, max_events=2)
    for name in NAMES:
        apply_change(store, ("one", name), MAPS, delete=False)
    assert len(store.list_stored_at(2, MAPS)) == 2
    with pytest.raises(ResourceExpired):
        store.list_stored_at(1, MAPS)
    # No event of this kind was dropped.
    assert store.list_stored_at(1, SECRETS) == []
    store.close()


def test_revision_before_the_start_is_refused(tmp_path: Path) -> None:
    store = ObjectStore(tmp_path / "kubernetes.db")
    store.open()
    for name in NAMES:
        apply_change(store, ("one", name), MAPS, delete=False)
    store.close()
    store.open()
    assert len(store.list_stored_at(4, MAPS)) == 4
    with pytest.raises(ResourceExpired):
        store.list_stored_at(3, MAPS)
    store.close()
