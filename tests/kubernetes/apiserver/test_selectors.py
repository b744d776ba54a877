from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from podpass.kubernetes.apiserver import kinds, selectors
from podpass.kubernetes.apiserver.status import StatusError
from tests.kubernetes.apiserver.recorded import step

PODS, EVENTS, NODES = kinds.named("Pod"), kinds.named("Event"), kinds.named("Node")


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
def test_a_label_selector_takes_what_it_says(
    text: str, takes: list[dict[str, str]], leaves: list[dict[str, str]]
) -> None:
    test = selectors.labels(text)
    assert all(test(labelled(**each)) for each in takes)
    assert not any(test(labelled(**each)) for each in leaves)


@pytest.mark.parametrize(
    "text", ["==", "a=b,,c", "a in b", "a in (b", "a=b c", "-a=b", "a=b)", "!"]
)
def test_a_bad_label_selector_is_a_400(text: str) -> None:
    with pytest.raises(StatusError) as caught:
        selectors.labels(text)
    assert (caught.value.status, caught.value.reason) == (400, "BadRequest")


def test_the_recorded_bad_selectors_are_400() -> None:
    assert step("list by bad label")["expect"]["status"] == 400
    assert step("list by unknown field")["expect"]["status"] == 400
    with pytest.raises(StatusError, match=r"spec\.nope"):
        selectors.fields(PODS, "spec.nope=1")


def test_an_object_without_labels_is_no_trouble() -> None:
    assert not selectors.labels("app")({"metadata": {"labels": None}})
    assert not selectors.labels("app")({})


def test_a_field_selector_compares_text() -> None:
    pod = {"metadata": {"name": "a", "namespace": "one"}, "status": {"phase": "Running"}}
    assert selectors.fields(PODS, "metadata.name=a,status.phase!=Failed")(pod)
    assert selectors.fields(PODS, "metadata.namespace==one")(pod)
    assert not selectors.fields(PODS, "metadata.name=b")(pod)
    assert selectors.fields(PODS, "")(pod)


def test_a_field_that_is_not_set_counts_as_its_zero() -> None:
    assert selectors.fields(PODS, "spec.nodeName=")({"spec": {}})
    assert selectors.fields(PODS, "spec.hostNetwork=false")({"spec": {}})
    assert selectors.fields(PODS, "spec.hostNetwork=true")({"spec": {"hostNetwork": True}})
    assert selectors.fields(NODES, "spec.unschedulable=false")({})


def test_cluster_kinds_cannot_be_selected_by_namespace() -> None:
    with pytest.raises(StatusError):
        selectors.fields(NODES, "metadata.namespace=one")


def test_a_field_selector_without_a_sign_is_a_400() -> None:
    with pytest.raises(StatusError, match="want path=value"):
        selectors.fields(PODS, "metadata.name")


def test_an_event_is_selected_by_whoever_reports_it() -> None:
    by_kubelet = selectors.fields(EVENTS, "source=kubelet")
    assert by_kubelet({"source": {"component": "kubelet"}})
    assert by_kubelet({"source": {}, "reportingComponent": "kubelet"})
    assert not by_kubelet({"source": {}})


def test_events_by_object_are_found() -> None:
    event = step("event")["expect"]["body"]
    text = "involvedObject.name=rich,involvedObject.kind=Pod"
    assert selectors.fields(EVENTS, text)(event)


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
def test_a_label_selector_object_fits(selector: Any, labels: Any, fits: bool) -> None:
    assert selectors.matches(selector, labels) is fits


WORDS = st.text("abc", min_size=1, max_size=3)


@given(labels=st.dictionaries(WORDS, WORDS), key=WORDS, values=st.lists(WORDS, min_size=1))
def test_in_and_notin_are_opposites(labels: Any, key: str, values: Any) -> None:
    obj = {"metadata": {"labels": labels}}
    among = ",".join(values)
    inside = selectors.labels(f"{key} in ({among})")(obj)
    assert inside is not selectors.labels(f"{key} notin ({among})")(obj)


@given(text=st.text(max_size=40))
def test_any_text_is_a_selector_or_a_400(text: str) -> None:
    for read in (selectors.labels, lambda each: selectors.fields(PODS, each)):
        try:
            read(text)({"metadata": {"labels": {}}})
        except StatusError as error:
            assert error.status == 400
