"""Parsing of raw pods: identity, account, and invalid structures."""

from typing import Any

import pytest

from podpass.account.model import (
    MalformedPod,
    NamespaceMismatch,
    collect_names,
    list_objects,
    parse_pod,
    quote,
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
def test_pod_is_identified_by_name_or_generate_name(metadata: Any, identity: str) -> None:
    assert parse_pod({"metadata": metadata, "spec": {}}, "ns").identity == identity


@pytest.mark.parametrize(
    ("spec", "account"), [({}, "default"), ({"serviceAccountName": ""}, "default")]
)
def test_pod_without_service_account_uses_default(spec: Any, account: str) -> None:
    assert parse_pod({"spec": spec}, "ns").account == account
    assert parse_pod({"spec": {"serviceAccountName": "web"}}, "ns").account == "web"


def test_pod_with_another_namespace_than_the_request_is_refused() -> None:
    """Otherwise a pod could use the identity of an account in another namespace."""
    raw = {"metadata": {"name": "app", "namespace": "rich"}, "spec": {}}
    with pytest.raises(NamespaceMismatch) as caught:
        parse_pod(raw, "poor")
    assert (caught.value.code, caught.value.status) == ("namespace_mismatch", 400)
    assert caught.value.facts == {"object": "Pod poor/app", "value": "rich"}
    assert parse_pod(raw, "rich").namespace == "rich"


@pytest.mark.parametrize("metadata", [{}, {"namespace": ""}, {"namespace": None}])
def test_pod_without_namespace_gets_that_of_the_request(metadata: dict[str, Any]) -> None:
    assert (
        str(parse_pod({"metadata": {"name": "app", **metadata}, "spec": {}}, "ns")) == "Pod ns/app"
    )


def test_pod_without_namespace_is_refused() -> None:
    with pytest.raises(MalformedPod) as caught:
        parse_pod({"metadata": {"name": "app"}, "spec": {}}, "")
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
def test_quoted_value_is_one_short_line(value: Any, shown: str) -> None:
    assert quote(value) == shown


def test_deeply_nested_value_is_quoted() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert quote(deep) == "a list"
    with pytest.raises(MalformedPod):
        parse_pod({"kind": deep, "spec": {}}, "ns")


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
def test_object_that_is_not_a_pod_is_refused(raw: Any) -> None:
    with pytest.raises(MalformedPod) as caught:
        parse_pod(raw, "ns")
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "value", ["x", {}, 1, ["a"], [{}, None], [{"name": ["a"]}], [{"name": []}]]
)
def test_list_with_unnamed_items_is_refused(value: Any) -> None:
    with pytest.raises(MalformedPod) as caught:
        list_objects({"env": value}, "env")
    assert caught.value.facts == {"field": "env"}
    with pytest.raises(MalformedPod) as caught:
        collect_names({"env": value}, "env")
    assert caught.value.facts == {"field": "env"}


def test_missing_or_null_list_is_empty() -> None:
    assert list(list_objects({}, "env")) == list(list_objects({"env": None}, "env")) == []
    assert collect_names({}, "env") == collect_names({"env": None}, "env") == set()


def test_repr_of_a_pod_does_not_show_its_spec() -> None:
    raw = {"spec": {"containers": [{"env": [{"name": "PASSWORD", "value": "hunter2"}]}]}}
    assert "hunter2" not in repr(parse_pod(raw, "ns"))
