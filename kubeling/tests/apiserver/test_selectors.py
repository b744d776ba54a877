from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeling.apiserver import kinds, selectors
from kubeling.apiserver.status import StatusError
from tests.apiserver.recorded import step

PODS, EVENTS, NODES = (
    kinds.kind_by_name("Pod"),
    kinds.kind_by_name("Event"),
    kinds.kind_by_name("Node"),
)


def labelled(**labels: Any) -> Any:
    return {"metadata": {"labels": labels}}


@pytest.mark.parametrize(
    ("text", "takes", "leaves"),
    [
        ("app=web", [{"app": "web"}], [{"app": "db"}, {}]),
        ("app==web", [{"app": "web"}], [{}]),
        ("app = web", [{"app": "web"}], [{}]),
        ("app!=web", [{"app": "db"}, {}], [{"app": "web"}]),
        ("app in (web, db)", [{"app": "web"}, {"app": "db"}], [{"app": "x"}, {}]),
        ("app notin (web,db)", [{"app": "x"}, {}], [{"app": "web"}]),
        ("app", [{"app": ""}], [{}]),
        ("!app", [{}], [{"app": "web"}]),
        ("app=web,tier in (a,b)", [{"app": "web", "tier": "a"}], [{"app": "web"}]),
        ("azure.workload.identity/use=true", [{"azure.workload.identity/use": "true"}], [{}]),
        ("app=", [{"app": ""}], [{"app": "x"}]),
        ("", [{}, {"app": "web"}], []),
    ],
)
def test_label_selector_matches(
    text: str, takes: list[dict[str, str]], leaves: list[dict[str, str]]
) -> None:
    test = selectors.parse_label_selector(text)
    assert all(test(labelled(**each)) for each in takes)
    assert not any(test(labelled(**each)) for each in leaves)


@pytest.mark.parametrize(
    "text", ["==", "a=b,,c", "a in b", "a in (b", "a=b c", "-a=b", "a=b)", "!"]
)
def test_invalid_label_selector_is_a_400(text: str) -> None:
    with pytest.raises(StatusError) as caught:
        selectors.parse_label_selector(text)
    assert (caught.value.status, caught.value.reason) == (400, "BadRequest")


def test_recorded_invalid_selectors_are_400() -> None:
    assert step("list by bad label")["expect"]["status"] == 400
    assert step("list by unknown field")["expect"]["status"] == 400
    with pytest.raises(StatusError, match=r"spec\.nope"):
        selectors.parse_field_selector(PODS, "spec.nope=1")


def test_object_without_labels_can_be_selected() -> None:
    assert not selectors.parse_label_selector("app")({"metadata": {"labels": None}})
    assert not selectors.parse_label_selector("app")({})


def test_field_selector_compares_text() -> None:
    pod = {"metadata": {"name": "a", "namespace": "one"}, "status": {"phase": "Running"}}
    assert selectors.parse_field_selector(PODS, "metadata.name=a,status.phase!=Failed")(pod)
    assert selectors.parse_field_selector(PODS, "metadata.namespace==one")(pod)
    assert not selectors.parse_field_selector(PODS, "metadata.name=b")(pod)
    assert selectors.parse_field_selector(PODS, "")(pod)


def test_unset_field_has_its_zero_value() -> None:
    assert selectors.parse_field_selector(PODS, "spec.nodeName=")({"spec": {}})
    assert selectors.parse_field_selector(PODS, "spec.hostNetwork=false")({"spec": {}})
    assert selectors.parse_field_selector(PODS, "spec.hostNetwork=true")(
        {"spec": {"hostNetwork": True}}
    )
    assert selectors.parse_field_selector(NODES, "spec.unschedulable=false")({})


def test_cluster_scoped_kind_cannot_be_selected_by_namespace() -> None:
    with pytest.raises(StatusError):
        selectors.parse_field_selector(NODES, "metadata.namespace=one")


def test_field_selector_without_an_operator_is_a_400() -> None:
    with pytest.raises(StatusError, match="want path=value"):
        selectors.parse_field_selector(PODS, "metadata.name")


def test_event_is_selected_by_its_reporter() -> None:
    by_kubelet = selectors.parse_field_selector(EVENTS, "source=kubelet")
    assert by_kubelet({"source": {"component": "kubelet"}})
    assert by_kubelet({"source": {}, "reportingComponent": "kubelet"})
    assert not by_kubelet({"source": {}})


def test_events_are_selected_by_object() -> None:
    event = step("event")["expect"]["body"]
    text = "involvedObject.name=rich,involvedObject.kind=Pod"
    assert selectors.parse_field_selector(EVENTS, text)(event)


@pytest.mark.parametrize(
    ("selector", "labels", "fits"),
    [
        ({}, {}, True),
        (None, {}, False),
        ({"matchLabels": {"a": "b"}}, {"a": "b"}, True),
        ({"matchLabels": {"a": "b"}}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}, {"a": "b"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {}, True),
    ],
)
def test_label_selector_object_matches(selector: Any, labels: Any, fits: bool) -> None:
    assert selectors.matches(selector, labels) is fits


WORDS = st.text("abc", min_size=1, max_size=3)


@given(labels=st.dictionaries(WORDS, WORDS), key=WORDS, values=st.lists(WORDS, min_size=1))
def test_selectors_in_and_notin_never_agree(labels: Any, key: str, values: Any) -> None:
    obj = {"metadata": {"labels": labels}}
    among = ",".join(values)
    inside = selectors.parse_label_selector(f"{key} in ({among})")(obj)
    assert inside is not selectors.parse_label_selector(f"{key} notin ({among})")(obj)


@given(text=st.text(max_size=40))
def test_any_text_is_a_valid_selector_or_a_400(text: str) -> None:
    for read in (
        selectors.parse_label_selector,
        lambda each: selectors.parse_field_selector(PODS, each),
    ):
        try:
            read(text)({"metadata": {"labels": {}}})
        except StatusError as error:
            assert error.status == 400
