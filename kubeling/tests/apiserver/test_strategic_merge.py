import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeling.apiserver import kinds
from kubeling.apiserver.patch import json_patch, strategic_merge
from kubeling.apiserver.status import StatusError
from tests.apiserver.recorded import recorded_body, step

ACCOUNT, POD = kinds.kind_by_name("ServiceAccount"), kinds.kind_by_name("Pod")


def spec_of(change: Any, **spec: Any) -> Any:
    before = copy.deepcopy(spec)
    merged = strategic_merge.merge("PodSpec", spec, change)
    assert spec == before, "the live object must not be changed"
    return merged


def names(items: Any) -> Any:
    return [each["name"] for each in items]


def test_list_without_a_merge_key_is_replaced() -> None:
    live = recorded_body("strategic patch")
    merged = json_patch.strategic_patch(
        ACCOUNT, live, step("strategic patch merges by name")["body"]
    )
    assert merged == recorded_body("strategic patch merges by name")


def test_directive_in_a_list_without_a_merge_key_is_data() -> None:
    live = recorded_body("strategic patch merges by name")
    merged = json_patch.strategic_patch(
        ACCOUNT, live, step("strategic patch deletes by name")["body"]
    )
    # The recorded warning is about the unknown field; decoding drops it.
    assert merged["imagePullSecrets"] == [{"$patch": "delete", "name": "p1"}]


def test_containers_merge_by_name() -> None:
    live = recorded_body("plain pod, defaults")
    merged = json_patch.strategic_patch(POD, live, step("pod image may change")["body"])
    assert merged["spec"] == recorded_body("pod image may change")["spec"]


def test_recorded_workloads_merge_containers_in_the_recorded_order() -> None:
    live = recorded_body("deployment observed")["spec"]
    change = step("strategic merge of containers by name")["body"]["spec"]
    merged = strategic_merge.merge("DeploymentSpec", live, change)
    recorded = recorded_body("strategic merge of containers by name")["spec"]["template"]["spec"]
    containers = merged["template"]["spec"]["containers"]
    assert names(containers) == names(recorded["containers"])
    assert containers[0] == {**recorded["containers"][0]}


def test_conditions_merge_by_type() -> None:
    live = {"conditions": [{"type": "A", "status": "True"}, {"type": "B", "status": "True"}]}
    change = {"conditions": [{"type": "B", "status": "False"}]}
    assert strategic_merge.merge("PodStatus", live, change)["conditions"] == [
        {"type": "A", "status": "True"},
        {"type": "B", "status": "False"},
    ]


def test_new_item_is_placed_before_live_items() -> None:
    merged = spec_of({"containers": [{"name": "new"}]}, containers=[{"name": "old"}])
    assert names(merged["containers"]) == ["new", "old"]


def test_item_is_deleted_by_its_key() -> None:
    merged = spec_of(
        {"containers": [{"$patch": "delete", "name": "a"}]},
        containers=[{"name": "a"}, {"name": "b"}],
    )
    assert names(merged["containers"]) == ["b"]


def test_list_is_replaced_by_the_replace_directive() -> None:
    change = {"containers": [{"name": "c"}, {"$patch": "replace"}]}
    assert spec_of(change, containers=[{"name": "a"}])["containers"] == [{"name": "c"}]


def test_object_is_replaced_deleted_or_merged_by_directive() -> None:
    live = {"securityContext": {"runAsUser": 1, "fsGroup": 2}}
    replace = {"securityContext": {"$patch": "replace", "runAsUser": 3}}
    assert spec_of(replace, **live) == {"securityContext": {"runAsUser": 3}}
    assert spec_of({"securityContext": {"$patch": "delete"}}, **live) == {"securityContext": {}}
    merge = {"securityContext": {"$patch": "merge", "runAsUser": 3}}
    assert spec_of(merge, **live) == {"securityContext": {"runAsUser": 3, "fsGroup": 2}}


def test_null_deletes_a_field() -> None:
    assert spec_of({"hostname": None, "nope": None}, hostname="x", subdomain="y") == {
        "subdomain": "y"
    }


def test_nulls_in_a_new_object_are_dropped() -> None:
    assert spec_of({"securityContext": {"runAsUser": None, "fsGroup": 1}}) == {
        "securityContext": {"fsGroup": 1}
    }


def test_values_of_a_set_are_added_once_and_removed() -> None:
    live = {"finalizers": ["a/b"]}
    merged = strategic_merge.merge("ObjectMeta", live, {"finalizers": ["c/d", "a/b", "c/d"]})
    assert sorted(merged["finalizers"]) == ["a/b", "c/d"]
    gone = strategic_merge.merge(
        "ObjectMeta", merged, {"$deleteFromPrimitiveList/finalizers": ["a/b"]}
    )
    assert gone["finalizers"] == ["c/d"]


def test_element_order_is_applied_and_live_items_keep_their_position() -> None:
    merged = spec_of(
        {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
            "containers": [{"name": "c", "image": "new"}],
        },
        containers=[{"name": "a"}, {"name": "server"}, {"name": "c"}],
    )
    assert names(merged["containers"]) == ["server", "c", "a"]
    assert merged["containers"][1] == {"name": "c", "image": "new"}


def test_element_order_directive_without_items_reorders_the_list() -> None:
    change = {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}
    merged = spec_of(change, containers=[{"name": "a"}, {"name": "b"}])
    assert names(merged["containers"]) == ["b", "a"]
    assert spec_of({"$setElementOrder/containers": []}) == {}


def test_element_order_with_a_deletion_is_applied() -> None:
    change = {
        "$setElementOrder/containers": [{"name": "b"}],
        "containers": [{"$patch": "delete", "name": "a"}],
    }
    merged = spec_of(change, containers=[{"name": "a"}, {"name": "b"}])
    assert names(merged["containers"]) == ["b"]


def test_retain_keys_directive_removes_all_other_keys() -> None:
    change = {"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {}}]}
    merged = spec_of(change, volumes=[{"name": "v", "emptyDir": {}}])
    assert merged["volumes"] == [{"name": "v", "configMap": {}}]


@pytest.mark.parametrize(
    "change",
    [
        {"$patch": "nope"},
        {"containers": [{"$patch": "nope", "name": "a"}]},
        {"containers": [{"image": "x"}]},
        {"containers": ["x"]},
        {"$retainKeys": ["hostname"], "subdomain": "x"},
        {"$retainKeys": "hostname"},
        {"$deleteFromPrimitiveList/x": "y"},
        {"$setElementOrder/containers": "x"},
        {"$setElementOrder/tolerations": []},
        {"$setElementOrder/containers": [], "containers": [{"name": "a"}]},
        {
            "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
            "containers": [{"name": "b"}, {"name": "a"}],
        },
    ],
)
def test_contradictory_patch_is_a_400(change: Any) -> None:
    with pytest.raises(StatusError) as caught:
        spec_of(change, containers=[{"name": "a"}])
    assert (caught.value.status, caught.value.reason) == (400, "BadRequest")


def test_maps_of_strings_merge_by_key() -> None:
    live = {"labels": {"a": "1", "b": "2"}}
    merged = strategic_merge.merge("ObjectMeta", live, {"labels": {"a": None, "c": "3"}})
    assert merged == {"labels": {"b": "2", "c": "3"}}


ITEMS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from("abcd")}, optional={"image": st.sampled_from("xy")}
    ),
    max_size=4,
    unique_by=lambda each: each["name"],
)


@given(live=ITEMS, change=ITEMS)
def test_strategic_patch_is_idempotent(live: Any, change: Any) -> None:
    once = strategic_merge.merge("PodSpec", {"containers": live}, {"containers": change})
    assert strategic_merge.merge("PodSpec", once, {"containers": change}) == once


@given(live=ITEMS, change=ITEMS)
def test_merged_list_has_every_item_once_in_the_order_of_the_patch(live: Any, change: Any) -> None:
    merged = strategic_merge.merge("PodSpec", {"containers": live}, {"containers": change})
    found = names(merged["containers"])
    assert sorted(found) == sorted({*names(live), *names(change)})
    assert [each for each in found if each in names(change)] == names(change)


@given(live=ITEMS, change=ITEMS)
def test_explicit_element_order_takes_precedence(live: Any, change: Any) -> None:
    directive = {"$setElementOrder/containers": [{"name": each["name"]} for each in change]}
    merged = strategic_merge.merge(
        "PodSpec", {"containers": live}, directive | {"containers": change}
    )
    found = names(merged.get("containers", []))
    assert [each for each in found if each in names(change)] == names(change)
