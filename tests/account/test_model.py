"""Reading a raw pod: what it is called, which account it runs as, and shapes that are no pod's."""

from typing import Any

import pytest

from podpass.account.model import MalformedPod, objects, read_pod


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


def test_the_requests_namespace_wins_over_the_objects() -> None:
    """Else a pod could borrow the identity of an account in another namespace."""
    raw = {"metadata": {"name": "app", "namespace": "rich"}, "spec": {}}
    assert read_pod(raw, "poor").namespace == "poor"
    assert str(read_pod(raw, "poor")) == "Pod poor/app"


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
        {"spec": {"serviceAccountName": {"a": 1}}},
    ],
)
def test_what_is_no_pod_is_refused(raw: Any) -> None:
    with pytest.raises(MalformedPod) as caught:
        read_pod(raw, "ns")
    assert caught.value.status == 400


@pytest.mark.parametrize("value", ["x", {}, 1, ["a"], [{}, None], [{"name": ["a"]}]])
def test_a_list_of_other_things_than_named_objects_is_refused(value: Any) -> None:
    with pytest.raises(MalformedPod) as caught:
        objects({"env": value}, "env")
    assert caught.value.facts == {"field": "env"}


def test_a_missing_or_null_list_is_empty() -> None:
    assert list(objects({}, "env")) == list(objects({"env": None}, "env")) == []


def test_a_pods_repr_does_not_show_its_spec() -> None:
    raw = {"spec": {"containers": [{"env": [{"name": "PASSWORD", "value": "hunter2"}]}]}}
    assert "hunter2" not in repr(read_pod(raw, "ns"))
