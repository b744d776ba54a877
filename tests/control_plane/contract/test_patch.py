"""The three patch types, their effect on lists, and when they are refused."""

from typing import Any

import pytest

from tests.control_plane.contract.api import (
    APPLY,
    JSON,
    MERGE,
    STRATEGIC,
    Api,
    check_refused,
    config_map,
    deployment,
)

NAMES = ["a", "b"]


@pytest.fixture
async def path(api: Api) -> str:
    await api.create("configmaps", config_map(a="1", b="2"))
    return api.path("configmaps", "m")


async def test_a_merge_patch_sets_and_null_removes(api: Api, path: str) -> None:
    reply = await api.patch(path, {"data": {"a": None, "c": "3"}}, MERGE)
    assert reply.body["data"] == {"b": "2", "c": "3"}


async def test_json_patch_applies_its_operations_in_order(api: Api, path: str) -> None:
    steps = [
        {"op": "test", "path": "/data/a", "value": "1"},
        {"op": "move", "from": "/data/a", "path": "/data/z"},
        {"op": "replace", "path": "/data/b", "value": "9"},
    ]
    assert (await api.patch(path, steps, JSON)).body["data"] == {"z": "1", "b": "9"}


@pytest.mark.parametrize(
    "step",
    [
        {"op": "test", "path": "/data/a", "value": "2"},
        {"op": "remove", "path": "/data/none"},
        {"op": "add", "path": "/data/none/below", "value": "x"},
    ],
    ids=["test", "remove", "below"],
)
async def test_json_patch_that_cannot_be_applied_changes_nothing(
    api: Api, path: str, step: dict[str, Any]
) -> None:
    steps = [{"op": "add", "path": "/data/new", "value": "x"}, step]
    check_refused(await api.patch(path, steps, JSON), 422, "Invalid")
    assert (await api.get(path))["data"] == {"a": "1", "b": "2"}


async def test_json_patch_replace_of_a_missing_member_adds_it(api: Api, path: str) -> None:
    """RFC 6902 requires an error; the real server's library accepts it."""
    step = {"op": "replace", "path": "/data/none", "value": "x"}
    reply = await api.patch(path, [step], JSON)
    assert reply.body["data"] == {"a": "1", "b": "2", "none": "x"}


async def test_invalid_json_patch_is_refused(api: Api, path: str) -> None:
    check_refused(await api.patch(path, {"not": "a list"}, JSON), 400, "BadRequest")


async def test_another_kind_of_patch_is_refused(api: Api, path: str) -> None:
    check_refused(await api.patch(path, {}, "application/json"), 415, "UnsupportedMediaType")


async def test_a_patch_of_an_old_version_is_a_conflict(api: Api, path: str) -> None:
    before = (await api.get(path))["metadata"]["resourceVersion"]
    assert (await api.patch(path, {"data": {"a": "2"}})).status == 200
    change = {"metadata": {"resourceVersion": before}, "data": {"a": "3"}}
    check_refused(await api.patch(path, change), 409, "Conflict")


async def test_a_replacement_of_an_old_version_is_a_conflict(api: Api, path: str) -> None:
    found = await api.get(path)
    assert (await api.patch(path, {"data": {"a": "2"}})).status == 200
    check_refused(await api.call("PUT", path, found), 409, "Conflict")


async def test_change_without_effect_creates_no_version(api: Api, path: str) -> None:
    before = (await api.get(path))["metadata"]["resourceVersion"]
    reply = await api.patch(path, {"data": {"a": "1"}})
    assert reply.body["metadata"]["resourceVersion"] == before


@pytest.mark.parametrize("change", [{"name": "other"}, {"name": None}, {"namespace": "other"}])
async def test_patch_of_name_or_namespace_is_refused(
    api: Api, path: str, change: dict[str, Any]
) -> None:
    check_refused(await api.patch(path, {"metadata": change}), 400, "BadRequest")


@pytest.mark.parametrize("change", [{"namespace": None}, {"uid": None}, {"uid": ""}])
async def test_patch_that_removes_server_fields_changes_nothing(
    api: Api, path: str, change: dict[str, Any]
) -> None:
    before = await api.get(path)
    reply = await api.patch(path, {"metadata": change})
    assert (reply.status, reply.body) == (200, before)


async def test_the_uid_cannot_be_patched(api: Api, path: str) -> None:
    uid = "00000000-0000-4000-8000-000000000000"
    check_refused(await api.patch(path, {"metadata": {"uid": uid}}), 422, "Invalid", "metadata.uid")


def _containers(made: Any) -> dict[str, Any]:
    return {each["name"]: each for each in made["spec"]["template"]["spec"]["containers"]}


def _change(*containers: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": list(containers)}}}}


async def test_a_strategic_patch_merges_containers_by_name(api: Api) -> None:
    await api.create("deployments", deployment(replicas=0))
    path = api.path("deployments", "d")
    env = [{"name": "A", "value": "1"}]
    change = _change({"name": "c", "env": env}, {"name": "new", "image": "n"})
    found = _containers((await api.patch(path, change, STRATEGIC)).body)
    assert found["c"]["image"] == "i"
    assert found["c"]["env"] == env
    assert found.keys() == {"c", "new"}
    gone = _change({"name": "new", "$patch": "delete"})
    assert _containers((await api.patch(path, gone, STRATEGIC)).body).keys() == {"c"}


async def test_merge_patch_replaces_the_container_list(api: Api) -> None:
    await api.create("deployments", deployment(replicas=0))
    change = _change({"name": "new", "image": "n"})
    reply = await api.patch(api.path("deployments", "d"), change, MERGE)
    assert _containers(reply.body).keys() == {"new"}


async def test_a_strategic_patch_can_replace_a_map(api: Api, path: str) -> None:
    change = {"metadata": {"labels": {"$patch": "replace", "only": "this"}}}
    await api.patch(path, {"metadata": {"labels": {"old": "x"}}})
    reply = await api.patch(path, change, STRATEGIC)
    assert reply.body["metadata"]["labels"] == {"only": "this"}


async def test_patch_of_status_changes_only_the_status(api: Api) -> None:
    await api.create("deployments", deployment(replicas=0))
    change = {
        "spec": {"replicas": 5},
        "metadata": {"labels": {"a": "b"}},
        "status": {"conditions": [{"type": "Mine", "status": "True"}]},
    }
    reply = await api.patch(api.path("deployments", "d", "status"), change, MERGE)
    assert reply.body["spec"]["replicas"] == 0
    assert [each["type"] for each in reply.body["status"]["conditions"]] == ["Mine"]


async def test_finalizers_are_added_once(api: Api, path: str) -> None:
    change = {"metadata": {"finalizers": ["example.com/a"]}}
    await api.patch(path, change, STRATEGIC)
    reply = await api.patch(path, change, STRATEGIC)
    assert reply.body["metadata"]["finalizers"] == ["example.com/a"]
    change = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a"]}}
    reply = await api.patch(path, change, STRATEGIC)
    assert "finalizers" not in reply.body["metadata"]


async def test_only_apply_creates_a_missing_object(api: Api) -> None:
    path = api.path("configmaps", "none")
    check_refused(await api.patch(path, {"data": {}}, MERGE), 404, "NotFound")
    body = config_map("none")
    reply = await api.patch(path + "?fieldManager=me", body, APPLY)
    assert reply.status == 201
