"""Managed fields over HTTP: conflicts, transfers, removals, merging lists, status, old copies."""

import json
from typing import Any

import pytest

CORE = "/api/v1/namespaces/default"
KINDS = {"pods": "Pod", "configmaps": "ConfigMap", "serviceaccounts": "ServiceAccount"}
PODS, MAPS = f"{CORE}/pods", f"{CORE}/configmaps"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


async def apply(live: Any, path: str, manager: str, body: Any, query: str = "") -> Any:
    kind = next(kind for part, kind in KINDS.items() if f"/{part}/" in path)
    whole = {"apiVersion": "v1", "kind": kind, **body}
    where = f"{path}?fieldManager={manager}{query}"
    return await live.call("PATCH", where, whole, content_type=APPLY)


def container(name: str = "c", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "i", **fields}


def pod(*containers: Any, **metadata: Any) -> dict[str, Any]:
    return {"metadata": metadata, "spec": {"containers": list(containers)}}


def owners(obj: Any) -> dict[tuple[str, str, str], Any]:
    return {
        (each["manager"], each["operation"], each.get("subresource", "")): each["fieldsV1"]
        for each in obj["metadata"].get("managedFields") or ()
    }


async def test_conflict_names_each_field_and_its_manager(live: Any) -> None:
    await apply(live, f"{MAPS}/m", "one", {"data": {"a": "1", "b": "1"}})
    change = {"data": {"b": "2"}}
    await live.call("PATCH", f"{MAPS}/m?fieldManager=two", change, content_type=MERGE)
    refused = await apply(live, f"{MAPS}/m", "three", {"data": {"a": "9", "b": "9"}})
    assert (refused.status, refused.body["reason"]) == (409, "Conflict")
    assert refused.body["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.a"},
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "two" using v1',
            "field": ".data.b",
        },
    ]
    assert (await live.call("GET", f"{MAPS}/m")).body["data"] == {"a": "1", "b": "2"}


async def test_forced_apply_takes_over_fields(live: Any) -> None:
    await apply(live, f"{MAPS}/m", "one", {"data": {"a": "1", "b": "1"}})
    taken = await apply(live, f"{MAPS}/m", "two", {"data": {"a": "2"}}, "&force=true")
    assert taken.status == 200
    found = owners(taken.body)
    assert found["one", "Apply", ""] == {"f:data": {"f:b": {}}}
    assert found["two", "Apply", ""] == {"f:data": {"f:a": {}}}
    # The next apply of the old manager does not remove the field.
    again = await apply(live, f"{MAPS}/m", "one", {"data": {"b": "1"}})
    assert again.body["data"] == {"a": "2", "b": "1"}


async def test_field_of_two_managers_is_removed_with_the_last_one(live: Any) -> None:
    for manager in ("one", "two"):
        await apply(live, f"{MAPS}/m", manager, {"data": {"a": "1", "b": "1"}})
    assert (await apply(live, f"{MAPS}/m", "one", {"data": {"b": "1"}})).body["data"]["a"] == "1"
    last = await apply(live, f"{MAPS}/m", "two", {"data": {"b": "1"}})
    assert last.body["data"] == {"b": "1"}


async def test_manager_that_applies_nothing_is_removed(live: Any) -> None:
    await apply(live, f"{MAPS}/m", "one", {"data": {"a": "1"}})
    await apply(live, f"{MAPS}/m", "two", {"data": {"b": "1"}})
    left = await apply(live, f"{MAPS}/m", "one", {})
    assert (left.body["data"], list(owners(left.body))) == ({"b": "1"}, [("two", "Apply", "")])


async def test_lists_merge_by_their_keys(live: Any) -> None:
    ports = [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}]
    first = container(ports=ports, env=[{"name": "A", "value": "1"}])
    await apply(live, f"{PODS}/p", "one", pod(first))
    await live.call("PATCH", f"{PODS}/p", {"metadata": {"labels": {"x": "y"}}}, content_type=MERGE)
    again = await apply(live, f"{PODS}/p", "one", pod(first))
    assert again.status == 200
    assert again.body["metadata"]["generation"] == 1
    fields = owners(again.body)["one", "Apply", ""]
    inside = fields["f:spec"]["f:containers"]['k:{"name":"c"}']
    assert 'k:{"containerPort":80,"protocol":"TCP"}' in inside["f:ports"]
    assert 'k:{"containerPort":80,"protocol":"UDP"}' in inside["f:ports"]
    assert 'k:{"name":"A"}' in inside["f:env"]


async def test_atomic_list_is_one_field_with_one_manager(live: Any) -> None:
    account = f"{CORE}/serviceaccounts/sa"
    await apply(live, account, "one", {"imagePullSecrets": [{"name": "a"}]})
    refused = await apply(live, account, "two", {"imagePullSecrets": [{"name": "b"}]})
    assert [each["field"] for each in refused.body["details"]["causes"]] == [".imagePullSecrets"]
    await apply(live, account, "two", {"imagePullSecrets": [{"name": "b"}]}, "&force=true")
    found = (await live.call("GET", account)).body
    assert found["imagePullSecrets"] == [{"name": "b"}]
    assert list(owners(found)) == [("two", "Apply", "")]


async def test_finalizers_are_a_set_of_all_managers(live: Any) -> None:
    for manager, name in (("one", "x.example/a"), ("two", "x.example/b")):
        made = await apply(live, f"{MAPS}/m", manager, {"metadata": {"finalizers": [name]}})
    assert made.body["metadata"]["finalizers"] == ["x.example/a", "x.example/b"]
    left = await apply(live, f"{MAPS}/m", "one", {})
    assert left.body["metadata"]["finalizers"] == ["x.example/b"]


async def test_status_has_its_own_managers(live: Any) -> None:
    await apply(live, f"{PODS}/p", "one", pod(container()))
    ready = {"type": "Ready", "status": "True"}
    status = {"status": {"conditions": [ready]}}
    made = await apply(live, f"{PODS}/p/status", "kubelet", status)
    assert made.status == 200
    found = owners(made.body)
    assert "f:status" in found["kubelet", "Apply", "status"]
    assert "f:spec" in found["one", "Apply", ""]
    status["status"]["conditions"] = [{**ready, "status": "False"}]
    refused = await apply(live, f"{PODS}/p/status", "other", status)
    cause = refused.body["details"]["causes"][0]
    assert cause["message"] == 'conflict with "kubelet" with subresource "status"'
    assert cause["field"] == '.status.conditions[type="Ready"].status'


async def test_update_and_apply_of_one_manager_are_two_entries(live: Any) -> None:
    await live.call(
        "POST", f"{MAPS}?fieldManager=me", {"metadata": {"name": "m"}, "data": {"a": "1"}}
    )
    made = await apply(live, f"{MAPS}/m", "me", {"data": {"a": "1"}})
    assert set(owners(made.body)) == {("me", "Apply", ""), ("me", "Update", "")}
    # The manager that applies no longer owns the field; the manager that updates still does.
    left = await apply(live, f"{MAPS}/m", "me", {})
    assert left.body["data"] == {"a": "1"}


@pytest.mark.parametrize("cleared", [[], [{}]])
async def test_managed_fields_can_be_cleared(live: Any, cleared: Any) -> None:
    await apply(live, f"{MAPS}/m", "one", {"data": {"a": "1"}})
    change = {"metadata": {"managedFields": cleared}}
    done = await live.call("PATCH", f"{MAPS}/m", change, content_type=MERGE)
    assert "managedFields" not in done.body["metadata"]
    later = await live.call("PATCH", f"{MAPS}/m", {"data": {"b": "1"}}, content_type=MERGE)
    assert "managedFields" not in later.body["metadata"]
    taken = await apply(live, f"{MAPS}/m", "two", {"data": {"a": "2"}})
    assert taken.status == 409
    assert "before-first-apply" in taken.body["details"]["causes"][0]["message"]


async def test_update_managers_are_capped_at_ten(live: Any) -> None:
    """Fails without the cap: every build of a client is a manager, so the object would grow indefinitely."""
    await live.call("POST", MAPS, {"metadata": {"name": "m"}, "data": {"a": "1"}})
    for number in range(14):
        change = {"data": {f"k{number}": "v"}}
        where = f"{MAPS}/m?fieldManager=client-{number}"
        done = await live.call("PATCH", where, change, content_type=MERGE)
    names = [name for name, _, _ in owners(done.body)]
    assert len(names) == 10
    assert "ancient-changes" in names
    assert "client-13" in names
    held = owners(done.body)["ancient-changes", "Update", ""]["f:data"]
    assert {"f:k0", "f:k1"} <= set(held)


async def test_update_with_an_old_copy_is_refused(live: Any) -> None:
    made = await live.call("POST", MAPS, {"metadata": {"name": "m"}, "data": {"a": "1"}})
    await live.call("PATCH", f"{MAPS}/m", {"data": {"a": "2"}}, content_type=MERGE)
    refused = await live.call("PUT", f"{MAPS}/m", made.body)
    assert (refused.status, refused.body["reason"]) == (409, "Conflict")
    assert "has been modified" in refused.body["message"]
    assert refused.body["details"] == {"name": "m", "kind": "configmaps"}
    old = {"metadata": {"resourceVersion": made.body["metadata"]["resourceVersion"]}}
    patched = await live.call("PATCH", f"{MAPS}/m", {**old, "data": {"a": "3"}}, content_type=MERGE)
    assert patched.status == 409
    assert (await apply(live, f"{MAPS}/m", "one", {**old, "data": {"b": "3"}})).status == 409


async def test_deletion_checks_its_preconditions(live: Any) -> None:
    made = (await live.call("POST", MAPS, {"metadata": {"name": "m"}})).body["metadata"]
    for wrong in ({"uid": "0" * 36}, {"resourceVersion": "1"}):
        refused = await live.call("DELETE", f"{MAPS}/m", {"preconditions": wrong})
        assert (refused.status, refused.body["reason"]) == (409, "Conflict")
    right = {"uid": made["uid"], "resourceVersion": made["resourceVersion"]}
    assert (await live.call("DELETE", f"{MAPS}/m", {"preconditions": right})).status == 200


async def test_apply_with_a_uid_does_not_create_an_object(live: Any) -> None:
    gone = {"metadata": {"uid": "0" * 36}, "data": {"a": "1"}}
    assert (await apply(live, f"{MAPS}/m", "one", gone)).status == 409
    assert (await live.call("GET", f"{MAPS}/m")).status == 404


async def test_dry_run_of_an_apply_changes_nothing(live: Any) -> None:
    await apply(live, f"{MAPS}/m", "one", {"data": {"a": "1"}})
    shown = await apply(live, f"{MAPS}/m", "one", {"data": {"a": "2"}}, "&dryRun=All")
    assert shown.body["data"] == {"a": "2"}
    assert (await live.call("GET", f"{MAPS}/m")).body["data"] == {"a": "1"}


LAST = "kubectl.kubernetes.io/last-applied-configuration"


async def test_client_side_applied_fields_are_taken_over_without_conflict(live: Any) -> None:
    """Fails if the annotation is ignored: the field belongs to a manager with another name."""
    said = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "1"}}
    body = {"metadata": {"name": "m", "annotations": {LAST: json.dumps(said)}}, "data": {"a": "1"}}
    await live.call("POST", f"{MAPS}?fieldManager=old-tool", body)
    change = {"data": {"a": "2"}}
    assert (await apply(live, f"{MAPS}/m", "other", change)).status == 409
    taken = await apply(live, f"{MAPS}/m", "kubectl", change)
    assert (taken.status, taken.body["data"]) == (200, {"a": "2"})
    now = json.loads(taken.body["metadata"]["annotations"][LAST])
    assert now["data"] == {"a": "2"}
    await live.call("PATCH", f"{MAPS}/m", {"data": {"a": "3"}}, content_type=MERGE)
    assert (await apply(live, f"{MAPS}/m", "kubectl", change)).status == 409


@pytest.mark.parametrize("text", ["", "nonsense", "[]", '{"apiVersion":"v1","data":[1]}'])
async def test_invalid_last_applied_annotation_is_ignored(live: Any, text: str) -> None:
    body = {"metadata": {"name": "m", "annotations": {LAST: text}}, "data": {"a": "1"}}
    await live.call("POST", f"{MAPS}?fieldManager=old-tool", body)
    assert (await apply(live, f"{MAPS}/m", "kubectl", {"data": {"a": "2"}})).status == 409
