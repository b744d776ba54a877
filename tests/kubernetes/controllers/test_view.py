"""What the controllers know of the cluster is what the store holds, however it came to be."""

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from podpass.kubernetes.apiserver.kinds import named
from podpass.kubernetes.apiserver.storage.storage import Store
from podpass.kubernetes.controllers.lister import View

POD, MAP = named("Pod"), named("ConfigMap")
NAMES, OWNERS = ("a", "b", "c"), ("", "x", "y")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "delete", "look"]),
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


def known(view: View) -> Any:
    places = {owner: sorted(view.dependants(owner)) for owner in OWNERS[1:]}
    pods = {
        owner: sorted(f"{p.namespace}/{p.name}" for p in view.pods_of(owner)) for owner in OWNERS
    }
    spaces = {n: sorted(pod.name for pod in view.pods(n)) for n in ("one", "two")}
    strays = {n: sorted(pod.name for pod in view.strays(n)) for n in ("one", "two")}
    uids = sorted(pod.uid for n in ("one", "two") for pod in view.pods(n))
    return places, pods, spaces, strays, [view.place(uid) for uid in uids], len(view)


def play(store: Store, steps: Any, view: View) -> None:
    for at, (step, name, namespace, owner, controls) in enumerate(steps):
        entry = store.entry(POD, namespace, name)
        made = pod(
            name,
            namespace,
            owner,
            controls,
            entry.object()["metadata"]["uid"] if entry else f"u{at}",
        )
        if step == "look":
            view.catch_up()
        elif step == "put" and entry is None:
            store.create(POD, made)
        elif step == "put" and entry is not None:
            store.update(POD, made, entry.revision)
        elif entry is not None:
            store.delete(POD, entry.object(), entry.revision)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.booleans())
def test_following_changes_ends_where_a_fresh_look_begins(
    tmp_path_factory: Any, steps: Any, forget: bool
) -> None:
    """Fails if a change left something behind; `forget` drops the history in between."""
    store = Store(tmp_path_factory.mktemp("view") / "k.db")
    store.open()
    try:
        followed = View(store, lambda _: None)
        followed.catch_up()
        play(store, steps, followed)
        if forget:
            store.history.horizon = store.revision + 1
        followed.catch_up()
        fresh = View(store, lambda _: None)
        fresh.catch_up()
        assert known(followed) == known(fresh)
    finally:
        store.close()


def test_each_change_is_told_with_whom_it_may_concern(tmp_path: Path) -> None:
    store = Store(tmp_path / "k.db")
    store.open()
    told: list[Any] = []
    view = View(store, told.append)
    made = store.create(POD, pod("a", "one", "x", True, "u"))
    view.catch_up()
    store.update(POD, pod("a", "one", "y", True, "u"), int(made["metadata"]["resourceVersion"]))
    view.catch_up()
    (gone,) = store.entries(POD)
    store.delete(POD, gone.object(), gone.revision)
    view.catch_up()
    store.close()
    assert [sorted(each.controllers) for each in told] == [["x"], ["x", "y"], ["y"]]
    assert [each.gone for each in told] == [False, False, True]
    assert all(each.rebound for each in told)


def test_a_change_that_concerns_no_owner_is_told_as_such(tmp_path: Path) -> None:
    store = Store(tmp_path / "k.db")
    store.open()
    told: list[Any] = []
    view = View(store, told.append)
    made = store.create(POD, pod("a", "one", "x", True, "u"))
    view.catch_up()
    seen = int(made["metadata"]["resourceVersion"])
    store.update(POD, pod("a", "one", "x", True, "u") | {"status": {"phase": "Running"}}, seen)
    view.catch_up()
    store.close()
    assert [each.rebound for each in told] == [True, False]
