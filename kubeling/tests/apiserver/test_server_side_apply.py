import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeling.apiserver import kinds
from kubeling.apiserver.patch import managed_fields, server_side_apply
from kubeling.apiserver.status import CauseType, StatusError
from tests.apiserver.recorded import new_object, recorded_body, step

ACCOUNT, POD, SERVICE = (
    kinds.kind_by_name("ServiceAccount"),
    kinds.kind_by_name("Pod"),
    kinds.kind_by_name("Service"),
)
NOW, LATER = 1_000_000_000.0, 1_000_000_060.0
NOW_TEXT, LATER_TEXT = "2001-09-09T01:46:40Z", "2001-09-09T01:47:40Z"


def annotated(**annotations: Any) -> Any:
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "applied", "annotations": annotations},
    }


def pod(*containers: Any, **spec: Any) -> Any:
    metadata = {"name": "p", "namespace": "one"}
    return {"metadata": metadata, "spec": {"containers": list(containers), **spec}}


def applied(kind: Any, live: Any, config: Any, manager: Any, now: Any = NOW, **how: Any) -> Any:
    before = copy.deepcopy(live)
    new = server_side_apply.apply(kind, live, config, manager, now=now, **how)
    assert live == before, "the live object must not be changed"
    return new


def fields(obj: Any, manager: Any) -> Any:
    return next(
        each["fieldsV1"] for each in obj["metadata"]["managedFields"] if each["manager"] == manager
    )


def conflict_of(kind: Any, live: Any, config: Any, manager: Any) -> Any:
    with pytest.raises(StatusError) as caught:
        applied(kind, live, config, manager)
    return caught.value


def masked(obj: Any) -> Any:
    """Mask values as in the recording."""
    obj = copy.deepcopy(obj)
    for entry in obj["metadata"].get("managedFields", ()):
        entry["time"] = "<time>"
    return obj


def recorded(title: str) -> Any:
    obj = recorded_body(title)
    for name in ("uid", "namespace", "resourceVersion", "creationTimestamp"):
        obj["metadata"].pop(name)
    return obj


def test_recorded_applies_of_an_account_give_the_recorded_objects() -> None:
    first = applied(ACCOUNT, None, step("apply creates")["body"], "me")
    assert masked(first) == recorded("apply creates")
    again = applied(ACCOUNT, first, step("apply again, same")["body"], "me", now=LATER)
    assert again == first
    error = conflict_of(ACCOUNT, first, step("apply by another, conflict")["body"], "you")
    body = error.body() | {"message": "<message>"}
    body["details"]["causes"][0]["message"] = "<message>"
    assert body == recorded_body("apply by another, conflict")
    forced = applied(
        ACCOUNT, first, step("apply by another, forced")["body"], "you", force=True, now=LATER
    )
    assert masked(forced) == recorded("apply by another, forced")
    dropped = applied(ACCOUNT, forced, step("apply drops an owned field")["body"], "you")
    assert masked(dropped) == recorded("apply drops an owned field")


def test_conflict_names_manager_and_field() -> None:
    live = applied(POD, None, pod({"name": "web", "image": "a:1"}), "me")
    error = conflict_of(POD, live, pod({"name": "web", "image": "a:2"}), "you")
    assert (error.status, error.reason) == (409, "Conflict")
    assert error.causes[0].reason == CauseType.MANAGER_CONFLICT
    assert error.causes[0].field == '.spec.containers[name="web"].image'
    assert '"me"' in error.causes[0].message


def test_managers_that_agree_on_a_field_both_own_it() -> None:
    live = applied(ACCOUNT, None, annotated(a="1"), "me")
    both = applied(ACCOUNT, live, annotated(a="1"), "you")
    assert {each["manager"] for each in both["metadata"]["managedFields"]} == {"me", "you"}
    left = applied(ACCOUNT, both, annotated(), "me")
    assert left["metadata"]["annotations"] == {"a": "1"}
    assert [each["manager"] for each in left["metadata"]["managedFields"]] == ["you"]


def test_fields_of_several_managers_are_merged() -> None:
    live = applied(ACCOUNT, None, annotated(a="1"), "me")
    both = applied(ACCOUNT, live, annotated(b="2"), "you")
    assert both["metadata"]["annotations"] == {"a": "1", "b": "2"}
    assert fields(both, "you") == {"f:metadata": {"f:annotations": {"f:b": {}}}}


def test_container_that_is_no_longer_applied_is_removed_with_its_defaults() -> None:
    live = applied(POD, None, pod({"name": "a", "image": "x"}, {"name": "b", "image": "x"}), "me")
    live = new_object(POD, live)
    less = applied(POD, live, pod({"name": "a", "image": "x"}), "me")
    assert [each["name"] for each in less["spec"]["containers"]] == ["a"]


def test_probe_that_is_no_longer_applied_is_removed_with_its_defaults() -> None:
    probe = {"httpGet": {"port": 80}}
    live = new_object(POD, applied(POD, None, pod({"name": "a", "readinessProbe": probe}), "me"))
    less = applied(POD, live, pod({"name": "a"}), "me")
    assert "readinessProbe" not in less["spec"]["containers"][0]


def test_container_with_a_field_of_another_manager_is_preserved() -> None:
    live = applied(POD, None, pod({"name": "a", "image": "x"}, {"name": "b", "image": "x"}), "me")
    both = applied(POD, live, pod({"name": "b", "command": ["c"]}), "you")
    less = applied(POD, both, pod({"name": "a", "image": "x"}), "me")
    kept = next(each for each in less["spec"]["containers"] if each["name"] == "b")
    assert kept == {"name": "b", "command": ["c"]}


def test_atomic_list_is_one_field() -> None:
    tolerations = [{"key": "a", "operator": "Exists"}]
    live = applied(POD, None, pod({"name": "a"}, tolerations=tolerations), "me")
    assert fields(live, "me")["f:spec"]["f:tolerations"] == {}
    other = pod({"name": "a"}, tolerations=[{"key": "b", "operator": "Exists"}])
    assert conflict_of(POD, live, other, "you").causes[0].field == ".spec.tolerations"


def test_set_contains_the_items_of_every_manager() -> None:
    def finalized(*found: Any) -> Any:
        return {"metadata": {"name": "x", "finalizers": list(found)}}

    live = applied(ACCOUNT, None, finalized("a/b"), "me")
    both = applied(ACCOUNT, live, finalized("c/d"), "you")
    assert both["metadata"]["finalizers"] == ["a/b", "c/d"]
    assert fields(both, "you") == {"f:metadata": {"f:finalizers": {'v:"c/d"': {}}}}
    less = applied(ACCOUNT, both, finalized(), "me")
    assert less["metadata"]["finalizers"] == ["c/d"]


def test_ports_merge_by_number_and_protocol() -> None:
    def ports(*found: Any) -> Any:
        return {"metadata": {"name": "s"}, "spec": {"ports": list(found)}}

    live = applied(SERVICE, None, ports({"port": 53}), "me")
    both = applied(SERVICE, live, ports({"port": 53, "protocol": "UDP"}), "you")
    assert [each.get("protocol") for each in both["spec"]["ports"]] == [None, "UDP"]
    key = 'k:{"port":53,"protocol":"TCP"}'
    assert key in fields(both, "me")["f:spec"]["f:ports"]


@pytest.mark.parametrize(
    "config",
    [
        pod({"name": "a"}, {"name": "a"}),
        pod({"image": "x"}),
        {"metadata": {"name": "p", "managedFields": [{"manager": "me"}]}},
    ],
)
def test_invalid_apply_body_is_a_400(config: Any) -> None:
    with pytest.raises(StatusError) as caught:
        applied(POD, None, config, "me")
    assert caught.value.status == 400


def test_main_path_ignores_status_and_status_path_ignores_spec() -> None:
    config = pod({"name": "a"}) | {"status": {"phase": "Running"}}
    assert "status" not in applied(POD, None, config, "me")
    live = applied(POD, None, pod({"name": "a"}), "me")
    new = applied(POD, live, config, "kubelet", subresource="status")
    assert new["spec"] == live["spec"]
    assert new["status"] == {"phase": "Running"}
    entry = next(each for each in new["metadata"]["managedFields"] if each["manager"] == "kubelet")
    assert entry["subresource"] == "status"
    assert entry["fieldsV1"] == {"f:status": {"f:phase": {}}}


def test_fields_from_before_the_first_apply_have_a_manager() -> None:
    live = annotated(a="1")
    error = conflict_of(ACCOUNT, live, annotated(a="2"), "me")
    assert '"before-first-apply"' in error.causes[0].message
    new = applied(ACCOUNT, live, annotated(a="1"), "me")
    assert {each["manager"] for each in new["metadata"]["managedFields"]} == {
        "before-first-apply",
        "me",
    }


def test_merged_list_has_the_applied_order_and_live_items_keep_their_position() -> None:
    live = pod({"name": "a"}, {"name": "live"}, {"name": "b"})
    new = applied(POD, live, pod({"name": "b"}, {"name": "new"}, {"name": "a"}), "me")
    assert [each["name"] for each in new["spec"]["containers"]] == ["b", "new", "a", "live"]


def test_duplicate_item_of_a_live_list_is_preserved() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
    live = pod({"name": "a", "env": env})
    new = applied(POD, live, pod({"name": "a", "env": [{"name": "B", "value": "3"}]}), "me")
    assert new["spec"]["containers"][0]["env"][:2] == env


def tracked(kind: Any, old: Any, new: Any, manager: Any, now: Any = NOW, **how: Any) -> Any:
    new = copy.deepcopy(new)
    entries = server_side_apply.track_update(kind, old, new, manager, now=now, **how)
    new["metadata"].pop("managedFields", None)
    if entries:
        new["metadata"]["managedFields"] = entries
    return new


def test_updated_field_is_released_by_its_manager() -> None:
    live = applied(ACCOUNT, None, annotated(a="1", b="1"), "me")
    changed = copy.deepcopy(live)
    changed["metadata"]["annotations"]["a"] = "2"
    changed = tracked(ACCOUNT, live, changed, "edit", now=LATER)
    assert fields(changed, "me") == {"f:metadata": {"f:annotations": {"f:b": {}}}}
    assert fields(changed, "edit") == {"f:metadata": {"f:annotations": {"f:a": {}}}}
    times = {each["manager"]: each["time"] for each in changed["metadata"]["managedFields"]}
    assert times == {"me": NOW_TEXT, "edit": LATER_TEXT}
    error = conflict_of(ACCOUNT, changed, annotated(a="1", b="1"), "me")
    assert error.causes[0].field == ".metadata.annotations.a"


def test_removed_field_has_no_manager() -> None:
    live = applied(ACCOUNT, None, annotated(a="1"), "me")
    changed = copy.deepcopy(live)
    del changed["metadata"]["annotations"]
    changed = tracked(ACCOUNT, live, changed, "edit")
    assert "managedFields" not in changed["metadata"]


def test_fields_of_a_new_object_belong_to_its_creator() -> None:
    made = tracked(ACCOUNT, None, annotated(a="1"), "kubectl")
    assert made["metadata"]["managedFields"] == [
        {
            "manager": "kubectl",
            "operation": "Update",
            "apiVersion": "v1",
            "time": NOW_TEXT,
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": {"f:annotations": {".": {}, "f:a": {}}}},
        }
    ]


def test_new_object_without_fields_has_no_manager() -> None:
    assert "managedFields" not in recorded_body("node")["metadata"]
    node = kinds.kind_by_name("Node")
    made = tracked(node, None, new_object(node, step("node")["body"]), "admin")
    assert "managedFields" not in made["metadata"]


def test_object_without_managed_fields_gets_none_until_an_apply() -> None:
    assert (
        server_side_apply.track_update(ACCOUNT, annotated(), annotated(a="1"), "edit", now=NOW)
        == []
    )


@pytest.mark.parametrize("cleared", [[], [{}]])
def test_client_can_clear_managed_fields(cleared: Any) -> None:
    live = applied(ACCOUNT, None, annotated(a="1"), "me")
    changed = copy.deepcopy(live)
    changed["metadata"]["managedFields"] = cleared
    assert server_side_apply.track_update(ACCOUNT, live, changed, "edit", now=NOW) == []


def test_client_can_transfer_ownership() -> None:
    live = applied(ACCOUNT, None, annotated(a="1"), "me")
    changed = copy.deepcopy(live)
    changed["metadata"]["managedFields"][0]["manager"] = "you"
    entries = server_side_apply.track_update(ACCOUNT, live, changed, "edit", now=NOW)
    assert [each["manager"] for each in entries] == ["you"]


def test_update_without_changes_keeps_every_time() -> None:
    live = tracked(ACCOUNT, None, annotated(a="1"), "edit")
    assert tracked(ACCOUNT, live, live, "edit", now=LATER) == live


def test_write_to_status_owns_only_status() -> None:
    live = tracked(POD, None, pod({"name": "a"}), "kubectl")
    changed = copy.deepcopy(live) | {"status": {"phase": "Running"}}
    new = tracked(POD, live, changed, "kubelet", subresource="status")
    assert fields(new, "kubelet") == {"f:status": {"f:phase": {}}}
    assert "f:status" not in fields(new, "kubectl")


def test_fields_set_by_the_api_server_have_no_manager() -> None:
    paths = managed_fields.field_paths(ACCOUNT, recorded_body("create account"))
    assert paths == {
        ("f:metadata", "f:annotations", "f:azure.workload.identity/client-id"),
    }


@pytest.mark.parametrize(
    ("path", "written"),
    [
        (
            ("f:spec", "f:containers", 'k:{"name":"web"}', "f:image"),
            '.spec.containers[name="web"].image',
        ),
        (
            ("f:spec", "f:ports", 'k:{"port":1,"protocol":"TCP"}'),
            '.spec.ports[port=1,protocol="TCP"]',
        ),
        (("f:metadata", "f:finalizers", 'v:"a/b"'), '.metadata.finalizers[="a/b"]'),
    ],
)
def test_path_is_formatted_for_messages(path: Any, written: str) -> None:
    assert managed_fields.format_path(path) == written


def test_recorded_field_sets_round_trip() -> None:
    tree = {
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {"f:containers": {'k:{"name":"a"}': {".": {}, "f:image": {}}}},
    }
    paths = frozenset(managed_fields.decode(tree))
    assert ("f:metadata", "f:labels") in paths
    assert ("f:spec", "f:containers") not in paths
    assert managed_fields.encode(paths) == tree


WORDS: Any = st.sampled_from(["a", "b", "c"])


def _name(item: Any) -> Any:
    return item["name"]


CONTAINERS: Any = st.lists(
    st.fixed_dictionaries(
        {"name": WORDS},
        optional={
            "image": WORDS,
            "command": st.lists(WORDS, min_size=1, max_size=2),
            "env": st.lists(
                st.fixed_dictionaries({"name": WORDS, "value": WORDS}),
                max_size=2,
                unique_by=_name,
            ),
        },
    ),
    max_size=3,
    unique_by=_name,
)
CONFIGS = st.builds(lambda found: pod(*found), CONTAINERS)
PATHS = st.frozensets(
    st.lists(st.sampled_from(["f:a", "f:b", 'k:{"n":1}', 'v:"x"']), min_size=1, max_size=4).map(
        tuple
    ),
    max_size=6,
)


@given(paths=PATHS)
def test_any_field_set_round_trips(paths: Any) -> None:
    assert frozenset(managed_fields.decode(managed_fields.encode(paths))) == paths


@given(first=CONFIGS, second=CONFIGS)
def test_apply_is_idempotent(first: Any, second: Any) -> None:
    live = applied(POD, applied(POD, None, first, "me"), second, "you", force=True)
    assert applied(POD, live, second, "you", force=True, now=LATER) == live


@given(config=CONFIGS, change=CONFIGS)
def test_object_of_one_manager_has_only_the_applied_fields(config: Any, change: Any) -> None:
    live = applied(POD, None, config, "me")
    new = applied(POD, live, change, "me", now=LATER)
    found = {each["name"]: each for each in new["spec"]["containers"]}
    wanted = {each["name"]: each for each in change["spec"]["containers"]}
    assert found.keys() == wanted.keys()
    for name, container in wanted.items():
        assert {k: v for k, v in found[name].items() if v != []} == {
            k: v for k, v in container.items() if v != []
        }


@given(first=CONFIGS, second=CONFIGS)
def test_missing_fields_have_no_manager(first: Any, second: Any) -> None:
    live = applied(POD, applied(POD, None, first, "me"), second, "you", force=True)
    there = managed_fields.field_paths(POD, live)
    for entry in live["metadata"].get("managedFields", ()):
        for path in managed_fields.decode(entry["fieldsV1"]):
            assert any(each[: len(path)] == path for each in there)
