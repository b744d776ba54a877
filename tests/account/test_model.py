"""Reading a raw pod: what it is called, which account it runs as, and shapes that are no pod's."""

from typing import Any

import pytest

from podpass.account.model import (
    MalformedPod,
    NamespaceMismatch,
    names_in,
    objects,
    quoted,
    read_pod,
)


@pytest.mark.parametrize(
    ("metadata", "identity"),
    [
        ({"name": "app"}, "app"),
        ({"name": "app", "generateName": "app-"}, "app"),
        ({"generateName": "app-"}, "app- (prefix)"),
        ({"name": "", "generateName": "app-"}, "app- (prefix)"),
        ({}, " (prefix)"),
        (None, " (prefix)"),
    ],
)
def test_a_pod_is_called_by_its_name_or_by_its_prefix(metadata: Any, identity: str) -> None:
    assert read_pod({"metadata": metadata, "spec": {}}, "ns").identity == identity


@pytest.mark.parametrize(
    ("spec", "account"), [({}, "default"), ({"serviceAccountName": ""}, "default")]
)
def test_a_pod_without_an_account_runs_as_default(spec: Any, account: str) -> None:
    assert read_pod({"spec": spec}, "ns").account == account
    assert read_pod({"spec": {"serviceAccountName": "web"}}, "ns").account == "web"


def test_a_pod_of_another_namespace_than_the_requests_is_refused() -> None:
    """Else a pod could borrow the identity of an account in another namespace."""
    raw = {"metadata": {"name": "app", "namespace": "rich"}, "spec": {}}
    with pytest.raises(NamespaceMismatch) as caught:
        read_pod(raw, "poor")
    assert (caught.value.code, caught.value.status) == ("namespace_mismatch", 400)
    assert caught.value.facts == {"object": "Pod poor/app", "value": "rich"}
    assert read_pod(raw, "rich").namespace == "rich"


@pytest.mark.parametrize("metadata", [{}, {"namespace": ""}, {"namespace": None}])
def test_the_requests_namespace_is_the_pods_where_it_names_none(metadata: dict[str, Any]) -> None:
    assert (
        str(read_pod({"metadata": {"name": "app", **metadata}, "spec": {}}, "ns")) == "Pod ns/app"
    )


def test_a_pod_without_any_namespace_is_refused() -> None:
    with pytest.raises(MalformedPod) as caught:
        read_pod({"metadata": {"name": "app"}, "spec": {}}, "")
    assert caught.value.facts == {"field": "namespace"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a", "'a'"),
        ("a\nb\0", "'a\\nb\\x00'"),
        ("x" * 100, "'" + "x" * 64 + "…'"),
        (None, "None"),
        (7, "7"),
        ([[[]]], "a list"),
        ({"a": {}}, "an object"),
    ],
)
def test_a_value_is_shown_on_one_short_line(value: Any, shown: str) -> None:
    assert quoted(value) == shown


def test_a_value_too_deep_to_be_written_is_shown_all_the_same() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert quoted(deep) == "a list"
    with pytest.raises(MalformedPod):
        read_pod({"kind": deep, "spec": {}}, "ns")


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        "pod",
        {},
        {"spec": None},
        {"spec": []},
        {"kind": "Deployment", "apiVersion": "apps/v1", "spec": {}},
        {"kind": "Pod", "apiVersion": "v2", "spec": {}},
        {"kind": ["Pod"], "spec": {}},
        {"metadata": [], "spec": {}},
        {"metadata": {"name": 1}, "spec": {}},
        {"metadata": {"annotations": ["a"]}, "spec": {}},
        {"metadata": {"labels": "a"}, "spec": {}},
        {"spec": {"serviceAccountName": {"a": 1}}},
    ],
)
def test_what_is_no_pod_is_refused(raw: Any) -> None:
    with pytest.raises(MalformedPod) as caught:
        read_pod(raw, "ns")
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "value", ["x", {}, 1, ["a"], [{}, None], [{"name": ["a"]}], [{"name": []}]]
)
def test_a_list_of_other_things_than_named_objects_is_refused(value: Any) -> None:
    with pytest.raises(MalformedPod) as caught:
        objects({"env": value}, "env")
    assert caught.value.facts == {"field": "env"}
    with pytest.raises(MalformedPod) as caught:
        names_in({"env": value}, "env")
    assert caught.value.facts == {"field": "env"}


def test_a_missing_or_null_list_is_empty() -> None:
    assert list(objects({}, "env")) == list(objects({"env": None}, "env")) == []
    assert names_in({}, "env") == names_in({"env": None}, "env") == set()


def test_a_pods_repr_does_not_show_its_spec() -> None:
    raw = {"spec": {"containers": [{"env": [{"name": "PASSWORD", "value": "hunter2"}]}]}}
    assert "hunter2" not in repr(read_pod(raw, "ns"))
