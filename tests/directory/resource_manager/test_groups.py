"""Resource groups, over HTTP."""

from typing import Any

import pytest

SUB = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590"


async def test_resource_group_is_created_tagged_and_listed(manager: Any) -> None:
    path = f"{SUB}/resourcegroups/My-Group"
    status, body, _ = await manager.send("PUT", path, {"location": "East US", "tags": {"a": "b"}})
    assert (status, body["location"], body["tags"]) == (201, "eastus", {"a": "b"})
    assert body["id"] == f"{SUB}/resourceGroups/My-Group"
    assert body["type"] == "Microsoft.Resources/resourceGroups"
    assert body["properties"] == {"provisioningState": "Succeeded"}
    assert (await manager.send("PUT", path, {"location": "eastus"}))[0] == 200
    status, body, _ = await manager.send("PATCH", path, {"tags": {"team": "x"}})
    assert (status, body["tags"]) == (200, {"team": "x"})
    # Names are case-insensitive and keep their first spelling.
    status, body, _ = await manager.send(
        "GET", path.upper().replace("/SUBSCRIPTIONS", "/Subscriptions")
    )
    assert (status, body["name"]) == (200, "My-Group")
    _, body, _ = await manager.send("GET", f"{SUB}/resourceGroups")
    assert [one["name"] for one in body["value"]] == ["My-Group"]


async def test_head_reports_if_a_resource_group_exists(manager: Any) -> None:
    path = await manager.group()
    assert (await manager.send("HEAD", path))[0] == 204
    assert (await manager.send("HEAD", f"{SUB}/resourceGroups/other"))[0] == 404


@pytest.mark.parametrize("name", ["a.", "a%20b", "a%23b", "x" * 91, "%C2%A7", "a*b"])
async def test_invalid_resource_group_name_is_rejected(manager: Any, name: str) -> None:
    path = f"{SUB}/resourcegroups/{name}"
    assert await manager.refused("PUT", path, {"location": "eastus"}) == "400 InvalidResourceGroup"


async def test_location_of_a_resource_group_cannot_be_changed(manager: Any) -> None:
    path = await manager.group()
    status, body, _ = await manager.send("PUT", path, {"location": "westeurope"})
    assert (status, body["error"]["code"]) == (409, "InvalidResourceGroupLocation")
    assert (await manager.send("GET", path))[1]["location"] == "eastus"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "LocationRequired"),
        ({"location": ""}, "LocationRequired"),
        ({"location": "atlantis"}, "LocationNotAvailableForResourceGroup"),
        ({"location": 7}, "InvalidRequestContent"),
        ({"location": "eastus", "tags": []}, "InvalidRequestContent"),
        ({"location": "eastus", "tags": {"a": 1}}, "InvalidRequestContent"),
        ({"location": "eastus", "tags": {"a?b": ""}}, "InvalidTag"),
        ({"location": "eastus", "tags": {"a": "x" * 257}}, "InvalidTag"),
        ({"location": "eastus", "tags": {str(n): "" for n in range(51)}}, "InvalidTag"),
        (b"{", "InvalidRequestContent"),
        (b"[]", "InvalidRequestContent"),
        (b"", "InvalidRequestContent"),
        (b'{"location":"eastus","location":"westus"}', "InvalidRequestContent"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "InvalidRequestContent"),
    ],
)
async def test_invalid_resource_group_is_rejected_and_not_created(
    manager: Any, body: Any, code: str
) -> None:
    path = f"{SUB}/resourcegroups/rg"
    assert await manager.refused("PUT", path, body) == f"400 {code}"
    assert (await manager.send("HEAD", path))[0] == 404


async def test_missing_resource_group_is_named_in_the_error(manager: Any) -> None:
    for method, body in (("GET", None), ("PATCH", {}), ("DELETE", None)):
        status, answer, _ = await manager.send(method, f"{SUB}/resourceGroups/nope", body)
        assert (status, answer["error"]["code"]) == (404, "ResourceGroupNotFound")
        assert "nope" in answer["error"]["message"]


async def test_deleting_a_resource_group_is_asynchronous_and_deletes_its_resources(
    manager: Any,
) -> None:
    path = await manager.group()
    identity, vault = await manager.identity(), await manager.vault()
    status, body, headers = await manager.send("DELETE", path)
    assert (status, body, headers["Retry-After"]) == (202, None, "1")
    location = headers["Location"].removeprefix("https://management.azure.com")
    assert location.startswith(f"{SUB}/operationresults/")
    assert (await manager.send("GET", location, version=None))[0] == 200
    for gone in (path, identity["id"], vault):
        status, body, _ = await manager.send("GET", gone)
        assert (status, body["error"]["code"]) == (404, "ResourceGroupNotFound")
    _, body, _ = await manager.send("GET", f"{SUB}/providers/Microsoft.KeyVault/deletedVaults")
    assert [one["name"] for one in body["value"]] == ["demo-vault"]


async def test_unknown_asynchronous_operation_is_not_found(manager: Any) -> None:
    path = f"{SUB}/operationresults/33333333-3333-4333-8333-333333333333"
    assert await manager.refused("GET", path) == "404 NotFound"


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("tagName eq 'team'", ["a", "b"]),
        ("tagName eq 'TEAM' and tagValue eq 'x'", ["a"]),
        ("tagName eq 'other'", []),
        ("tagValue eq 'y'", ["b"]),
        ("", ["a", "b", "c"]),
    ],
)
async def test_groups_are_found_by_tag(manager: Any, wanted: str, found: list[str]) -> None:
    await manager.group("a", tags={"team": "x"})
    await manager.group("b", tags={"team": "y"})
    await manager.group("c")
    query = wanted.replace(" ", "%20")
    _, body, _ = await manager.send("GET", f"{SUB}/resourcegroups?$filter={query}")
    assert [one["name"] for one in body["value"]] == found


async def test_list_is_returned_in_pages(manager: Any) -> None:
    for name in "abcde":
        await manager.group(name)
    pages = await manager.pages(f"{SUB}/resourcegroups?$top=2")
    assert pages == [["a", "b"], ["c", "d"], ["e"]]


async def test_caller_lists_only_the_resource_groups_that_it_may_read(manager: Any) -> None:
    mine = await manager.group("mine")
    await manager.group("other")
    await manager.add_caller("reader", "Reader", mine)
    await manager.add_caller("unprivileged")
    _, body, _ = await manager.send("GET", f"{SUB}/resourcegroups", caller="reader")
    assert [one["name"] for one in body["value"]] == ["mine"]
    status, body, _ = await manager.send("GET", f"{SUB}/resourcegroups", caller="unprivileged")
    assert (status, body["error"]["code"]) == (403, "AuthorizationFailed")
