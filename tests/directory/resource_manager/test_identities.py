"""Managed identities, over HTTP."""

import uuid
from typing import Any

import pytest

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
SUB = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590"
ALL = f"{SUB}/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities"


async def test_identity_is_created_with_unique_ids(manager: Any) -> None:
    await manager.group("RG")
    status, body, _ = await manager.send(
        "PUT", f"{ALL}/web", {"location": "eastus", "tags": {"a": "b"}}
    )
    assert status == 201
    # IDs of Azure have `resourcegroups` in lower case; the group keeps its spelling.
    path = ALL.replace("/resourceGroups/rg/", "/resourcegroups/RG/")
    assert body["id"] == f"{path}/web"
    assert (body["name"], body["location"], body["tags"]) == ("web", "eastus", {"a": "b"})
    assert body["type"] == "Microsoft.ManagedIdentity/userAssignedIdentities"
    properties = body["properties"]
    assert properties["tenantId"] == TENANT
    assert uuid.UUID(properties["clientId"]) != uuid.UUID(properties["principalId"])
    found = await manager.directory.find_identity(TENANT, properties["clientId"])
    assert (found.object_id, found.resource_id) == (properties["principalId"], body["id"])


async def test_second_put_keeps_the_ids_of_an_identity(manager: Any) -> None:
    await manager.group()
    made = await manager.identity()
    path = f"{ALL}/WEB"
    status, body, _ = await manager.send("PUT", path, {"location": "eastus", "tags": {"x": "y"}})
    assert (status, body["properties"], body["name"]) == (200, made["properties"], "web")
    assert body["tags"] == {"x": "y"}
    status, body, _ = await manager.send("PATCH", path, {"tags": {"only": "this"}})
    assert (status, body["tags"]) == (200, {"only": "this"})
    _, body, _ = await manager.send("PATCH", path, {})
    assert body["tags"] == {"only": "this"}


async def test_isolation_scope_is_stored(manager: Any) -> None:
    await manager.group()
    body = {"location": "eastus", "properties": {"isolationScope": "Regional"}}
    await manager.send("PUT", f"{ALL}/web", body)
    _, body, _ = await manager.send("GET", f"{ALL}/web")
    assert body["properties"]["isolationScope"] == "Regional"
    body = {"location": "eastus", "properties": {"isolationScope": "Galactic"}}
    assert (await manager.send("PUT", f"{ALL}/web", body))[0] == 400


@pytest.mark.parametrize("name", ["ab", "-web", "_web", "we.b", "w%20eb", "x" * 129])
async def test_invalid_identity_name_is_rejected(manager: Any, name: str) -> None:
    await manager.group()
    status, body, _ = await manager.send("PUT", f"{ALL}/{name}", {"location": "eastus"})
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
async def test_invalid_body_does_not_change_an_identity(
    manager: Any, body: Any, status: int, code: str
) -> None:
    await manager.group()
    made = await manager.identity()
    assert await manager.refused("PUT", f"{ALL}/web", body) == f"{status} {code}"
    assert (await manager.send("GET", f"{ALL}/web"))[1] == made


async def test_identity_in_a_missing_resource_group_is_not_found(manager: Any) -> None:
    for method, body in (("PUT", {"location": "eastus"}), ("GET", None), ("DELETE", None)):
        status, answer, _ = await manager.send(method, f"{ALL}/web", body)
        assert (status, answer["error"]["code"]) == (404, "ResourceGroupNotFound")
    await manager.group()
    assert await manager.refused("GET", f"{ALL}/web") == "404 ResourceNotFound"
    assert (await manager.send("PATCH", f"{ALL}/web", {}))[0] == 404


async def test_deleting_an_identity_deletes_its_credentials_and_roles(manager: Any) -> None:
    scope = await manager.group()
    made = await manager.identity()
    principal = made["properties"]["principalId"]
    role = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
    assignment = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    properties = {
        "roleDefinitionId": f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/{role}",
        "principalId": principal,
    }
    assert (await manager.send("PUT", assignment, {"properties": properties}))[0] == 201
    status, body, _ = await manager.send("DELETE", f"{ALL}/web")
    assert (status, body) == (200, None)
    assert (await manager.send("DELETE", f"{ALL}/web"))[0] == 204
    assert (await manager.send("GET", assignment))[0] == 404
    again = await manager.identity()
    assert again["properties"]["clientId"] != made["properties"]["clientId"]


async def test_identities_are_listed_by_group_and_subscription(manager: Any) -> None:
    await manager.group()
    await manager.group("other")
    for name in ("web1", "web2", "web3"):
        await manager.identity(name)
    await manager.identity("far", "other")
    _, body, _ = await manager.send("GET", f"{ALL}?$top=2")
    assert [one["name"] for one in body["value"]] == ["web1", "web2"]
    following = body["nextLink"].removeprefix("https://management.azure.com")
    _, body, _ = await manager.send("GET", following, version=None)
    assert ([one["name"] for one in body["value"]], "nextLink" in body) == (["web3"], False)
    provider = "providers/Microsoft.ManagedIdentity/userAssignedIdentities"
    _, body, _ = await manager.send("GET", f"{SUB}/{provider}")
    assert sorted(one["name"] for one in body["value"]) == ["far", "web1", "web2", "web3"]


async def test_next_link_of_a_group_with_a_non_ascii_name_works(manager: Any) -> None:
    await manager.group("Gr%C3%B6%C3%9Fe")
    for name in ("web1", "web2"):
        await manager.identity(name, "Gr%C3%B6%C3%9Fe")
    pages = await manager.pages(ALL.replace("/rg/", "/Gr%C3%B6%C3%9Fe/") + "?$top=1")
    assert pages == [["web1"], ["web2"]]


async def test_application_is_not_listed_as_a_managed_identity(manager: Any) -> None:
    await manager.group()
    await manager.add_caller("some-app")
    assert (await manager.send("GET", ALL))[1]["value"] == []
