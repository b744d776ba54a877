import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeling.apiserver import kinds, schema
from tests.apiserver.recorded import STEPS, kind_of, step

POD = kinds.kind_by_name("Pod")


def pod(**spec: Any) -> Any:
    return {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "a"}], **spec}}


@pytest.mark.parametrize(
    ("spec", "output"),
    [
        ({"hostNetwork": "yes"}, "spec.hostNetwork: want a boolean, found a string"),
        ({"containers": {}}, "spec.containers: want a list, found an object"),
        ({"containers": [1]}, "spec.containers[0]: want an object, found an integer"),
        ({"nodeSelector": {"a": 1}}, "spec.nodeSelector[a]: want a string, found an integer"),
        ({"priority": True}, "spec.priority: want an integer, found a boolean"),
        ({"priority": 1.5}, "spec.priority: want an integer, found a number"),
        ({"priority": 2**63}, "spec.priority: want an integer, found an integer"),
        ({"nodeSelector": []}, "spec.nodeSelector: want an object, found a list"),
    ],
)
def test_wrong_type_is_reported_with_its_path(spec: Any, output: str) -> None:
    assert schema.check(POD, pod(**spec)).type_errors == [output]


@pytest.mark.parametrize(
    ("kind", "body", "fits"),
    [
        ("ServicePort", {"targetPort": 1}, True),
        ("ServicePort", {"targetPort": "http"}, True),
        ("ServicePort", {"targetPort": True}, False),
        ("ResourceRequirements", {"limits": {"cpu": "100m", "memory": "1Gi"}}, True),
        ("ResourceRequirements", {"limits": {"cpu": 1, "memory": 0.5}}, True),
        ("ResourceRequirements", {"limits": {"cpu": "much"}}, False),
        ("ResourceRequirements", {"limits": {"cpu": True}}, False),
        ("Secret", {"data": {"k": "dg=="}}, True),
        ("Secret", {"data": {"k": "dg=\n="}}, True),
        ("Secret", {"data": {"k": "%%%"}}, False),
        ("Secret", {"data": {"k": None}}, True),
        ("LeaseSpec", {"renewTime": "2026-01-01T00:00:00.000000Z"}, True),
        ("ObjectMeta", {"creationTimestamp": "2026-01-01T00:00:00+01:00"}, True),
        ("ObjectMeta", {"creationTimestamp": None}, True),
        ("ObjectMeta", {"creationTimestamp": "yesterday"}, False),
        ("ObjectMeta", {"creationTimestamp": "2026-13-01T00:00:00Z"}, False),
        ("ObjectMeta", {"managedFields": [{"fieldsV1": {"f:a": {".": {}}}}]}, True),
    ],
)
def test_special_types_are_checked_like_the_real_api(kind: Any, body: Any, fits: bool) -> None:
    report = schema.check(kind, body)
    assert (report.type_errors == []) is fits
    assert report.unknown == []


def test_unknown_fields_are_reported_and_pruned() -> None:
    body = step("pod with an unknown field, ignored")["body"]
    assert schema.check(POD, body).unknown == ["spec.nope"]
    assert "nope" not in schema.prune(POD, body)["spec"]
    deep = pod(containers=[{"name": "a"}, {"name": "b", "nope": {"x": 1}}])
    assert schema.check(POD, deep).unknown == ["spec.containers[1].nope"]


@pytest.mark.parametrize("value", [[], "x", 1, None])
def test_body_that_is_not_an_object_is_reported(value: Any) -> None:
    report = schema.check(POD, value)
    assert report.unknown == []
    assert bool(report.type_errors) is (value is not None)


def test_pruning_drops_nulls_and_empty_lists_and_keeps_empty_objects() -> None:
    body = pod(volumes=[{"name": "e", "emptyDir": {}}], securityContext={}, tolerations=[])
    body["metadata"] |= {"labels": {}, "annotations": None}
    pruned = schema.prune(POD, body)
    assert pruned["metadata"] == {"name": "x"}
    assert pruned["spec"]["volumes"] == [{"name": "e", "emptyDir": {}}]
    assert pruned["spec"]["securityContext"] == {}
    assert "tolerations" not in pruned["spec"]


def test_pruning_keeps_an_empty_required_list() -> None:
    assert schema.prune(POD, {"spec": {"containers": []}}) == {"spec": {"containers": []}}


def test_pruning_keeps_untyped_values() -> None:
    fields: Any = {"f:metadata": {"f:labels": {".": {}, "f:a": {}}}}
    entry = {"manager": "m", "fieldsV1": fields}
    assert schema.prune("ManagedFieldsEntry", entry) == entry


def test_recorded_objects_match_the_schema() -> None:
    seen = 0
    for each in copy.deepcopy(STEPS):
        body = each["expect"].get("body")
        kind = isinstance(body, dict) and kind_of(body)
        if not kind or not kind.stored:
            continue
        seen += 1
        for masked in ("creationTimestamp", "deletionTimestamp", "managedFields"):
            body["metadata"].pop(masked, None)
        text = json.dumps(body).replace('"<time>"', "null")
        report = schema.check(kind, json.loads(text))
        assert (report.type_errors, report.unknown) == ([], [])
    assert seen > 50


def test_null_in_a_list_or_map_is_the_zero_value() -> None:
    metadata = {"annotations": {"a": None}, "finalizers": [None], "ownerReferences": [None]}
    assert schema.prune("ObjectMeta", metadata) == {
        "annotations": {"a": ""},
        "finalizers": [""],
        "ownerReferences": [{}],
    }


def test_every_type_of_a_field_is_defined() -> None:
    plain = {"object", "string", "integer", "boolean", "bytes", "time", "microTime"}
    plain |= {"quantity", "intOrString", "int32", "number"}
    for fields in schema.types().values():
        for kind in fields.values():
            assert kind.strip("[]{}") in plain | schema.types().keys()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["spec", "containers", "name", "env", "x"]), inner, max_size=3
        )
    ),
)


@given(body=st.dictionaries(st.sampled_from(["metadata", "spec", "x"]), JSON))
def test_any_json_is_checked_and_pruned_without_a_crash(body: Any) -> None:
    schema.check(POD, body)
    pruned = schema.prune(POD, body)
    assert schema.prune(POD, pruned) == pruned
    assert schema.check(POD, pruned).unknown == []
