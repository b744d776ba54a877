"""Earlier states: whatever was written, a list as of a revision is the list that was then."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from podpass.kubernetes.apiserver.kinds import named
from podpass.kubernetes.apiserver.storage.storage import Entry, Store
from podpass.kubernetes.apiserver.storage.watch_cache import Expired, History

MAPS, SECRETS = named("ConfigMap"), named("Secret")
# Names that sort differently with and without what stands behind them.
NAMESPACES = ("one", "one-a", "onea")
NAMES = ("a", "a-b", "ab", "b")

place = some.tuples(some.sampled_from(NAMESPACES), some.sampled_from(NAMES))
writes = some.lists(some.tuples(place, some.booleans(), some.sampled_from((MAPS, SECRETS))))


def write(store: Store, where: tuple[str, str], kind: Any, *, delete: bool) -> None:
    live = store.get(kind, *where)
    seen = 0 if live is None else int(live["metadata"]["resourceVersion"])
    obj = {"metadata": {"namespace": where[0], "name": where[1]}}
    if live is None:
        store.create(kind, obj)
    elif delete:
        store.delete(kind, live, seen)
    else:
        store.update(kind, obj, seen)


def listed(entries: list[Entry]) -> list[tuple[str, str, int, bytes]]:
    return [(entry.namespace, entry.name, entry.revision, entry.raw) for entry in entries]


@settings(max_examples=150)
@given(writes, some.sampled_from(("", *NAMESPACES)), some.none() | place)
def test_every_state_that_was_can_be_listed(steps: Any, namespace: str, after: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "kubernetes.db")
        store.open()
        # What is measured here is not what a disk keeps.
        store._database.execute("PRAGMA synchronous=OFF")  # type: ignore[union-attr]
        states = {0: listed(store.entries(MAPS, namespace, after=after))}
        for where, delete, kind in steps:
            write(store, where, kind, delete=delete)
            found = store.entries(MAPS, namespace, after=after)
            states[store.revision] = listed(found)
            wanted = [
                entry
                for entry in store.entries(MAPS)
                if namespace in ("", entry.namespace)
                and (after is None or (entry.namespace, entry.name) > after)
            ]
            assert listed(found) == listed(wanted)
        for revision, state in states.items():
            assert listed(store.entries_at(revision, MAPS, namespace, after=after)) == state
        store.close()


def test_a_state_that_is_forgotten_is_not_made_up(tmp_path: Path) -> None:
    store = Store(tmp_path / "kubernetes.db")
    store.open()
    store.history = History(0, max_events=2)
    for name in NAMES:
        write(store, ("one", name), MAPS, delete=False)
    assert len(store.entries_at(2, MAPS)) == 2
    with pytest.raises(Expired):
        store.entries_at(1, MAPS)
    # Nothing of this kind was forgotten.
    assert store.entries_at(1, SECRETS) == []
    store.close()


def test_what_was_before_the_start_is_forgotten(tmp_path: Path) -> None:
    store = Store(tmp_path / "kubernetes.db")
    store.open()
    for name in NAMES:
        write(store, ("one", name), MAPS, delete=False)
    store.close()
    store.open()
    assert len(store.entries_at(4, MAPS)) == 4
    with pytest.raises(Expired):
        store.entries_at(3, MAPS)
    store.close()
