import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeling.apiserver import kinds
from kubeling.apiserver.patch import json_patch
from kubeling.apiserver.status import StatusError
from tests.apiserver.recorded import recorded_body, step

ACCOUNT = kinds.kind_by_name("ServiceAccount")


@pytest.mark.parametrize(
    ("obj", "change", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_examples_of_rfc_7386_give_the_expected_results(obj: Any, change: Any, merged: Any) -> None:
    assert json_patch.merge_patch(obj, change) == merged


@pytest.mark.parametrize(
    ("obj", "operations", "patched"),
    [
        (
            {"foo": "bar"},
            [{"op": "add", "path": "/baz", "value": "qux"}],
            {"foo": "bar", "baz": "qux"},
        ),
        (
            {"foo": ["bar", "baz"]},
            [{"op": "add", "path": "/foo/1", "value": "qux"}],
            {"foo": ["bar", "qux", "baz"]},
        ),
        ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
        ({"foo": ["a", "b", "c"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["a", "c"]}),
        ({"baz": "qux"}, [{"op": "replace", "path": "/baz", "value": "boo"}], {"baz": "boo"}),
        (
            {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
            [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
            {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
        ),
        (
            {"foo": ["all", "grass", "cows", "eat"]},
            [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
            {"foo": ["all", "cows", "eat", "grass"]},
        ),
        ({"baz": "qux"}, [{"op": "test", "path": "/baz", "value": "qux"}], {"baz": "qux"}),
        (
            {"foo": "bar"},
            [{"op": "add", "path": "/child", "value": {"grandchild": {}}}],
            {"foo": "bar", "child": {"grandchild": {}}},
        ),
        (
            {"foo": "bar"},
            [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}],
            {"foo": "bar", "baz": "qux"},
        ),
        ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
        (
            {"foo": ["bar"]},
            [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}],
            {"foo": ["bar", ["abc", "def"]]},
        ),
        (
            {"a": {"b": 1}},
            [{"op": "copy", "from": "/a", "path": "/c"}],
            {"a": {"b": 1}, "c": {"b": 1}},
        ),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
        ({"a": 1}, [{"op": "replace", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": 1}, [{"op": "test", "path": "/nope", "value": None}], {"a": 1}),
    ],
)
def test_examples_of_rfc_6902_give_the_expected_results(
    obj: Any, operations: Any, patched: Any
) -> None:
    before = copy.deepcopy(obj)
    assert json_patch.json_patch(obj, operations) == patched
    assert obj == before


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/baz", "value": "bar"},
        {"op": "test", "path": "/n", "value": True},
        {"op": "test", "path": "/n", "value": "1"},
        {"op": "test", "path": "/nope", "value": 1},
        {"op": "add", "path": "/x/y", "value": 1},
        {"op": "add", "path": "/list/5", "value": 1},
        {"op": "add", "path": "/list/01", "value": 1},
        {"op": "add", "path": "/list/-1", "value": 1},
        {"op": "replace", "path": "/nope/below", "value": 1},
        {"op": "replace", "path": "/list/1", "value": 1},
        {"op": "replace", "path": "/list/-", "value": 1},
        {"op": "remove", "path": "/nope"},
        {"op": "remove", "path": "/baz/qux"},
        {"op": "add", "path": "/baz/qux", "value": 1},
        {"op": "move", "from": "/obj", "path": "/obj/inside"},
        {"op": "copy", "from": "/nope", "path": "/x"},
    ],
)
def test_operation_that_cannot_be_applied_is_a_422(operation: Any) -> None:
    obj = {"baz": "qux", "n": 1, "list": ["a"], "obj": {}}
    with pytest.raises(StatusError) as caught:
        json_patch.json_patch(obj, [operation])
    assert (caught.value.status, caught.value.reason) == (422, "Invalid")


@pytest.mark.parametrize(
    "operations",
    [
        {},
        "x",
        [1],
        [{"op": "nope", "path": "/a"}],
        [{"op": "add", "path": "/a"}],
        [{"op": "add", "path": "a", "value": 1}],
        [{"op": "add", "value": 1}],
        [{"op": "move", "path": "/a"}],
    ],
)
def test_malformed_patch_is_a_400(operations: Any) -> None:
    with pytest.raises(StatusError) as caught:
        json_patch.json_patch({}, operations)
    assert (caught.value.status, caught.value.reason) == (400, "BadRequest")


def test_patch_with_too_many_operations_is_a_413() -> None:
    with pytest.raises(StatusError) as caught:
        json_patch.json_patch({}, [{"op": "test", "path": "", "value": {}}] * 10_001)
    assert (caught.value.status, caught.value.reason) == (413, "RequestEntityTooLarge")


def test_recorded_failed_test_gives_the_recorded_response() -> None:
    live = recorded_body("json patch")
    with pytest.raises(StatusError) as caught:
        json_patch.json_patch(live, step("json patch test fails")["body"])
    body = caught.value.body() | {"message": "<message>"}
    assert body == recorded_body("json patch test fails")


def test_recorded_patches_give_the_recorded_objects() -> None:
    live = recorded_body("create account")
    merged = json_patch.merge_patch(live, step("merge patch adds and deletes annotations")["body"])
    assert merged == recorded_body("merge patch adds and deletes annotations")
    patched = json_patch.json_patch(merged, step("json patch")["body"])
    assert patched == recorded_body("json patch")
    once = json_patch.strategic_patch(ACCOUNT, patched, step("strategic patch")["body"])
    assert once == recorded_body("strategic patch")


def test_strategic_patch_that_is_not_an_object_is_a_400() -> None:
    with pytest.raises(StatusError, match="JSON object"):
        json_patch.strategic_patch(ACCOUNT, {}, [])


def test_json_values_are_compared_as_json_and_not_as_python() -> None:
    assert json_patch.json_equal({"a": [1, {"b": None}]}, {"a": [1.0, {"b": None}]})
    assert not json_patch.json_equal(True, 1)
    assert not json_patch.json_equal([1, 2], [2, 1])
    assert not json_patch.json_equal({"a": 1}, {"a": 1, "b": 1})


KEYS = st.sampled_from("abc")
SCALARS = st.integers(0, 3) | st.text("xy", max_size=2) | st.booleans()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=3)
PATCHES = st.dictionaries(
    KEYS,
    st.recursive(SCALARS | st.none(), lambda inner: st.dictionaries(KEYS, inner, max_size=3)),
    max_size=3,
)


@given(obj=OBJECTS, change=PATCHES)
def test_merge_patch_is_idempotent(obj: Any, change: Any) -> None:
    once = json_patch.merge_patch(obj, change)
    assert json_patch.merge_patch(once, change) == once


@given(obj=OBJECTS, first=PATCHES, second=PATCHES)
def test_later_merge_patch_takes_precedence(obj: Any, first: Any, second: Any) -> None:
    both = json_patch.merge_patch(json_patch.merge_patch(obj, first), second)
    for name, value in second.items():
        if value is None:
            assert name not in both
        elif not isinstance(value, dict):
            assert both[name] == value


@given(obj=OBJECTS, name=KEYS, value=VALUES)
def test_added_value_can_be_tested_and_removed(obj: Any, name: str, value: Any) -> None:
    path = f"/{name}"
    operations = [
        {"op": "add", "path": path, "value": value},
        {"op": "test", "path": path, "value": value},
        {"op": "remove", "path": path},
    ]
    gone = {key: each for key, each in obj.items() if key != name}
    assert json_patch.json_patch(obj, operations) == gone
