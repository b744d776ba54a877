"""Managed identities, request by request."""

import uuid
from typing import Any

import pytest

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
SUB = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590"
ALL = f"{SUB}/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities"


async def test_an_identity_is_made_with_ids_of_its_own(world: Any) -> None:
    await world.group("RG")
    status, body, _ = await world.ask(
        "PUT", f"{ALL}/web", {"location": "eastus", "tags": {"a": "b"}}
    )
    assert status == 201
    # Real ids have `resourcegroups` in lower case; the group is named as it was made.
    path = ALL.replace("/resourceGroups/rg/", "/resourcegroups/RG/")
    assert body["id"] == f"{path}/web"
    assert (body["name"], body["location"], body["tags"]) == ("web", "eastus", {"a": "b"})
    assert body["type"] == "Microsoft.ManagedIdentity/userAssignedIdentities"
    properties = body["properties"]
    assert properties["tenantId"] == TENANT
    assert uuid.UUID(properties["clientId"]) != uuid.UUID(properties["principalId"])
    found = await world.directory.find_identity(TENANT, properties["clientId"])
    assert (found.object_id, found.resource_id) == (properties["principalId"], body["id"])


async def test_writing_it_again_keeps_its_ids(world: Any) -> None:
    await world.group()
    made = await world.identity()
    path = f"{ALL}/WEB"
    status, body, _ = await world.ask("PUT", path, {"location": "eastus", "tags": {"x": "y"}})
    assert (status, body["properties"], body["name"]) == (200, made["properties"], "web")
    assert body["tags"] == {"x": "y"}
    status, body, _ = await world.ask("PATCH", path, {"tags": {"only": "this"}})
    assert (status, body["tags"]) == (200, {"only": "this"})
    _, body, _ = await world.ask("PATCH", path, {})
    assert body["tags"] == {"only": "this"}


async def test_isolation_is_kept_as_new_versions_send_it(world: Any) -> None:
    await world.group()
    body = {"location": "eastus", "properties": {"isolationScope": "Regional"}}
    await world.ask("PUT", f"{ALL}/web", body)
    _, body, _ = await world.ask("GET", f"{ALL}/web")
    assert body["properties"]["isolationScope"] == "Regional"
    body = {"location": "eastus", "properties": {"isolationScope": "Galactic"}}
    assert (await world.ask("PUT", f"{ALL}/web", body))[0] == 400


@pytest.mark.parametrize("name", ["ab", "-web", "_web", "we.b", "w%20eb", "x" * 129])
async def test_a_name_no_identity_can_have_is_refused(world: Any, name: str) -> None:
    await world.group()
    status, body, _ = await world.ask("PUT", f"{ALL}/{name}", {"location": "eastus"})
    assert (status, body["error"]["code"]) == (400, "InvalidResourceName")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 400, "LocationRequired"),
        ({"location": "atlantis"}, 400, "LocationNotAvailableForResourceType"),
        ({"location": "westus"}, 409, "InvalidResourceLocation"),
        ({"location": "eastus", "tags": "x"}, 400, "InvalidRequestContent"),
        ({"location": "eastus", "properties": []}, 400, "InvalidRequestContent"),
    ],
)
async def test_a_bad_body_changes_nothing(world: Any, body: Any, status: int, code: str) -> None:
    await world.group()
    made = await world.identity()
    found, answer, _ = await world.ask("PUT", f"{ALL}/web", body)
    assert (found, answer["error"]["code"]) == (status, code)
    assert (await world.ask("GET", f"{ALL}/web"))[1] == made


async def test_without_its_group_there_is_none(world: Any) -> None:
    for method, body in (("PUT", {"location": "eastus"}), ("GET", None), ("DELETE", None)):
        status, answer, _ = await world.ask(method, f"{ALL}/web", body)
        assert (status, answer["error"]["code"]) == (404, "ResourceGroupNotFound")
    await world.group()
    status, answer, _ = await world.ask("GET", f"{ALL}/web")
    assert (status, answer["error"]["code"]) == (404, "ResourceNotFound")
    assert (await world.ask("PATCH", f"{ALL}/web", {}))[0] == 404


async def test_deleting_takes_credentials_and_roles_along(world: Any) -> None:
    scope = await world.group()
    made = await world.identity()
    principal = made["properties"]["principalId"]
    role = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
    assignment = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    properties = {
        "roleDefinitionId": f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/{role}",
        "principalId": principal,
    }
    assert (await world.ask("PUT", assignment, {"properties": properties}))[0] == 201
    status, body, _ = await world.ask("DELETE", f"{ALL}/web")
    assert (status, body) == (200, None)
    assert (await world.ask("DELETE", f"{ALL}/web"))[0] == 204
    assert (await world.ask("GET", assignment))[0] == 404
    again = await world.identity()
    assert again["properties"]["clientId"] != made["properties"]["clientId"]


async def test_identities_are_listed_by_group_and_subscription(world: Any) -> None:
    await world.group()
    await world.group("other")
    for name in ("web1", "web2", "web3"):
        await world.identity(name)
    await world.identity("far", "other")
    _, body, _ = await world.ask("GET", f"{ALL}?$top=2")
    assert [one["name"] for one in body["value"]] == ["web1", "web2"]
    following = body["nextLink"].removeprefix("https://management.azure.com")
    _, body, _ = await world.ask("GET", following, version=None)
    assert ([one["name"] for one in body["value"]], "nextLink" in body) == (["web3"], False)
    provider = "providers/Microsoft.ManagedIdentity/userAssignedIdentities"
    _, body, _ = await world.ask("GET", f"{SUB}/{provider}")
    assert sorted(one["name"] for one in body["value"]) == ["far", "web1", "web2", "web3"]


async def test_a_page_of_a_group_with_a_foreign_name_has_a_next_one(world: Any) -> None:
    await world.group("Gr%C3%B6%C3%9Fe")
    for name in ("web1", "web2"):
        await world.identity(name, "Gr%C3%B6%C3%9Fe")
    pages = await world.pages(ALL.replace("/rg/", "/Gr%C3%B6%C3%9Fe/") + "?$top=1")
    assert pages == [["web1"], ["web2"]]


async def test_an_application_is_no_managed_identity(world: Any) -> None:
    await world.group()
    await world.caller("some-app")
    assert (await world.ask("GET", ALL))[1]["value"] == []
