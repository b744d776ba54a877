"""Server-side apply: field ownership and conflicts."""

import json
from typing import Any

import pytest

from tests.control_plane.contract.api import Api, check_refused, config_map, deployment


@pytest.fixture
async def path(api: Api) -> str:
    path = api.path("configmaps", "m")
    assert (await api.apply(path, config_map(a="1"), "one")).status == 201
    return path


def _managers(body: Any) -> dict[str, str]:
    return {entry["manager"]: entry["operation"] for entry in body["metadata"]["managedFields"]}


async def test_first_apply_creates_and_the_next_updates(api: Api, path: str) -> None:
    reply = await api.apply(path, config_map(a="2"), "one")
    assert reply.status == 200
    assert reply.body["data"] == {"a": "2"}
    assert _managers(reply.body) == {"one": "Apply"}


async def test_field_that_is_no_longer_applied_is_removed(api: Api, path: str) -> None:
    reply = await api.apply(path, config_map(b="2"), "one")
    assert reply.body["data"] == {"b": "2"}


async def test_two_managers_keep_their_fields(api: Api, path: str) -> None:
    reply = await api.apply(path, config_map(b="2"), "two")
    assert reply.body["data"] == {"a": "1", "b": "2"}
    assert _managers(reply.body) == {"one": "Apply", "two": "Apply"}


async def test_other_value_of_an_owned_field_is_a_conflict_that_names_the_field(
    api: Api, path: str
) -> None:
    body = check_refused(
        await api.apply(path, config_map(a="2"), "two"), 409, "Conflict", ".data.a"
    )
    (cause,) = body["details"]["causes"]
    assert cause["reason"] == "FieldManagerConflict"
    assert '"one"' in cause["message"]


async def test_force_changes_the_field_owner(api: Api, path: str) -> None:
    reply = await api.apply(path, config_map(a="2"), "two", "&force=true")
    assert reply.body["data"] == {"a": "2"}
    assert _managers(reply.body) == {"two": "Apply"}


async def test_field_applied_with_the_same_value_has_both_managers(api: Api, path: str) -> None:
    assert (await api.apply(path, config_map(a="1"), "two")).status == 200
    left = await api.apply(path, config_map(), "one")
    assert left.body["data"] == {"a": "1"}


async def test_apply_conflicts_with_fields_that_an_update_has_set(api: Api, path: str) -> None:
    await api.patch(path + "?fieldManager=editor", {"data": {"a": "9"}})
    body = check_refused(
        await api.apply(path, config_map(a="1"), "one"), 409, "Conflict", ".data.a"
    )
    assert "editor" in body["details"]["causes"][0]["message"]


async def test_apply_without_field_manager_is_refused(api: Api) -> None:
    path = api.path("configmaps", "m")
    reply = await api.patch(path, config_map(), "application/apply-patch+yaml")
    check_refused(reply, 422, "Invalid", "fieldManager")


async def test_apply_with_managed_fields_is_refused(api: Api, path: str) -> None:
    found = await api.get(path)
    check_refused(
        await api.apply(path, found | {"kind": "ConfigMap", "apiVersion": "v1"}, "one"),
        400,
        "BadRequest",
    )


async def test_apply_accepts_yaml(api: Api) -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yaml}\ndata:\n  a: b\n"
    reply = await api.apply(api.path("configmaps", "yaml"), text, "one")
    assert (reply.status, reply.body["data"]) == (201, {"a": "b"})


def _applied(*containers: dict[str, Any]) -> dict[str, Any]:
    body = deployment(replicas=0)
    body["spec"]["template"]["spec"]["containers"] = list(containers)
    return body


async def test_lists_with_keys_are_owned_item_by_item(api: Api) -> None:
    path = api.path("deployments", "d")
    await api.apply(path, _applied({"name": "c", "image": "i"}), "one")
    side = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"template": {"spec": {"containers": [{"name": "side", "image": "s"}]}}},
    }
    reply = await api.apply(path, side, "two")
    assert reply.status == 200, reply.text
    reply = await api.apply(path, _applied({"name": "c", "image": "i2"}), "one")
    found = reply.body["spec"]["template"]["spec"]["containers"]
    assert [(each["name"], each["image"]) for each in found] == [("c", "i2"), ("side", "s")]


async def test_owned_fields_are_sorted_with_the_dot_first(api: Api) -> None:
    """Clients may compare `fieldsV1` as text."""
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}
    ports = [{"protocol": "UDP", "port": 8080, "name": "b"}, {"port": 80, "name": "a"}]
    sent = service | {"spec": {"ports": ports}}
    made = (await api.apply(api.path("services", "s"), sent, "me")).body
    first = r'"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:name":{},"f:port":{}}'
    second = (
        r'"k:{\"port\":8080,\"protocol\":\"UDP\"}":{".":{},"f:name":{},"f:port":{},"f:protocol":{}}'
    )
    assert _fields(made) == f'{{"f:spec":{{"f:ports":{{{first},{second}}}}}}}'
    labelled = config_map(z="1", a="2") | {
        "metadata": {"name": "m", "labels": {"b": "1", "a": "2"}}
    }
    made = await api.create("configmaps", labelled)
    both = '".":{},"f:a":{},'
    wanted = f'{{"f:data":{{{both}"f:z":{{}}}},"f:metadata":{{"f:labels":{{{both}"f:b":{{}}}}}}}}'
    assert _fields(made) == wanted


def _fields(made: Any) -> str:
    (entry,) = made["metadata"]["managedFields"]
    return json.dumps(entry["fieldsV1"], separators=(",", ":"))


async def test_a_conflict_in_a_list_names_the_item_by_its_key(api: Api) -> None:
    path = api.path("deployments", "d")
    await api.apply(path, _applied({"name": "c", "image": "i"}), "one")
    reply = await api.apply(path, _applied({"name": "c", "image": "other"}), "two")
    field = '.spec.template.spec.containers[name="c"].image'
    check_refused(reply, 409, "Conflict", field)


async def test_dry_run_of_apply_stores_nothing(api: Api, path: str) -> None:
    reply = await api.apply(path, config_map(a="2"), "one", "&dryRun=All")
    assert reply.body["data"] == {"a": "2"}
    assert (await api.get(path))["data"] == {"a": "1"}
