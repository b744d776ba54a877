"""The lister has the same content as the store, after any sequence of changes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeling.apiserver.customresources.served_kinds import ServedKinds
from kubeling.apiserver.kinds import kind_by_name
from kubeling.apiserver.storage.storage import ObjectStore
from kubeling.controllers.lister import Lister
from tests.examples import examples

POD, MAP = kind_by_name("Pod"), kind_by_name("ConfigMap")
NAMES, OWNERS = ("a", "b", "c"), ("", "x", "y")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "delete", "sync"]),
        st.sampled_from(NAMES),
        st.sampled_from(["one", "two"]),
        st.sampled_from(OWNERS),
        st.booleans(),
    ),
    max_size=30,
)


def pod(name: str, namespace: str, owner: str, controls: bool, uid: str) -> Any:
    reference = {
        "apiVersion": "v1",
        "kind": "K",
        "name": owner,
        "uid": owner,
        "controller": controls,
    }
    metadata = {"name": name, "namespace": namespace, "uid": uid}
    return {"metadata": metadata | ({"ownerReferences": [reference]} if owner else {})}


def content(lister: Lister) -> Any:
    places = {owner: sorted(lister.dependents(owner)) for owner in OWNERS[1:]}
    pods = {
        owner: sorted(f"{p.namespace}/{p.name}" for p in lister.pods_of(owner)) for owner in OWNERS
    }
    spaces = {n: sorted(pod.name for pod in lister.pods(n)) for n in ("one", "two")}
    orphans = {n: sorted(pod.name for pod in lister.orphans(n)) for n in ("one", "two")}
    uids = sorted(pod.uid for n in ("one", "two") for pod in lister.pods(n))
    return places, pods, spaces, orphans, [lister.key_of(uid) for uid in uids], len(lister)


def apply_steps(store: ObjectStore, steps: Any, lister: Lister) -> None:
    for at, (step, name, namespace, owner, controls) in enumerate(steps):
        entry = store.get_stored(POD, namespace, name)
        made = pod(
            name,
            namespace,
            owner,
            controls,
            entry.object()["metadata"]["uid"] if entry else f"u{at}",
        )
        if step == "sync":
            lister.sync()
        elif step == "put" and entry is None:
            store.create(POD, made)
        elif step == "put" and entry is not None:
            store.update(POD, made, entry.revision)
        elif entry is not None:
            store.delete(POD, entry.object(), entry.revision)


@settings(max_examples=examples(60), deadline=None)
@given(STEPS, st.booleans())
def test_incremental_changes_and_a_relist_give_the_same_index(
    tmp_path_factory: Any, steps: Any, forget: bool
) -> None:
    """Fails if a change leaves an outdated entry; `forget` drops the watch history before the last sync."""
    store = ObjectStore(tmp_path_factory.mktemp("lister") / "k.db")
    store.open()
    try:
        followed = Lister(store, ServedKinds(store), lambda _: None)
        followed.sync()
        apply_steps(store, steps, followed)
        if forget:
            store.watch_cache.horizon = store.revision + 1
        followed.sync()
        fresh = Lister(store, ServedKinds(store), lambda _: None)
        fresh.sync()
        assert content(followed) == content(fresh)
    finally:
        store.close()


@pytest.fixture
def followed(tmp_path: Path) -> Iterator[Any]:
    """Return a store, a lister, its changes, and a pod that they contain."""
    changes: list[Any] = []
    store = ObjectStore(tmp_path / "k.db")
    store.open()
    lister = Lister(store, ServedKinds(store), changes.append)
    made = store.create(POD, pod("a", "one", "x", True, "u"))
    lister.sync()
    yield store, lister, changes, made
    store.close()


def test_change_has_controllers_before_and_after(followed: Any) -> None:
    store, lister, changes, made = followed
    store.update(POD, pod("a", "one", "y", True, "u"), int(made["metadata"]["resourceVersion"]))
    lister.sync()
    (gone,) = store.list_stored(POD)
    store.delete(POD, gone.object(), gone.revision)
    lister.sync()
    assert [sorted(each.controllers) for each in changes] == [["x"], ["x", "y"], ["y"]]
    assert [each.deleted for each in changes] == [False, False, True]
    assert all(each.affects_garbage_collection for each in changes)


def test_change_of_status_does_not_affect_garbage_collection(followed: Any) -> None:
    store, lister, changes, made = followed
    seen = int(made["metadata"]["resourceVersion"])
    store.update(POD, pod("a", "one", "x", True, "u") | {"status": {"phase": "Running"}}, seen)
    lister.sync()
    assert [each.affects_garbage_collection for each in changes] == [True, False]
