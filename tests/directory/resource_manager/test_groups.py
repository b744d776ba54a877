"""Resource groups, request by request."""

from typing import Any

import pytest

SUB = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590"


async def test_a_group_is_made_shown_tagged_and_listed(world: Any) -> None:
    path = f"{SUB}/resourcegroups/My-Group"
    status, body, _ = await world.ask("PUT", path, {"location": "East US", "tags": {"a": "b"}})
    assert (status, body["location"], body["tags"]) == (201, "eastus", {"a": "b"})
    assert body["id"] == f"{SUB}/resourceGroups/My-Group"
    assert body["type"] == "Microsoft.Resources/resourceGroups"
    assert body["properties"] == {"provisioningState": "Succeeded"}
    assert (await world.ask("PUT", path, {"location": "eastus"}))[0] == 200
    status, body, _ = await world.ask("PATCH", path, {"tags": {"team": "x"}})
    assert (status, body["tags"]) == (200, {"team": "x"})
    # Names are compared without case, and stay as they were first written.
    status, body, _ = await world.ask(
        "GET", path.upper().replace("/SUBSCRIPTIONS", "/Subscriptions")
    )
    assert (status, body["name"]) == (200, "My-Group")
    _, body, _ = await world.ask("GET", f"{SUB}/resourceGroups")
    assert [one["name"] for one in body["value"]] == ["My-Group"]


async def test_existence_is_asked_for_with_head(world: Any) -> None:
    path = await world.group()
    assert (await world.ask("HEAD", path))[0] == 204
    assert (await world.ask("HEAD", f"{SUB}/resourceGroups/other"))[0] == 404


@pytest.mark.parametrize("name", ["a.", "a%20b", "a%23b", "x" * 91, "%C2%A7", "a*b"])
async def test_a_name_no_group_can_have_is_refused(world: Any, name: str) -> None:
    path = f"{SUB}/resourcegroups/{name}"
    status, body, _ = await world.ask("PUT", path, {"location": "eastus"})
    assert (status, body["error"]["code"]) == (400, "InvalidResourceGroup")


async def test_a_group_stays_where_it_is(world: Any) -> None:
    path = await world.group()
    status, body, _ = await world.ask("PUT", path, {"location": "westeurope"})
    assert (status, body["error"]["code"]) == (409, "InvalidResourceGroupLocation")
    assert (await world.ask("GET", path))[1]["location"] == "eastus"


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
async def test_a_body_that_is_no_group_is_refused_and_makes_none(
    world: Any, body: Any, code: str
) -> None:
    path = f"{SUB}/resourcegroups/rg"
    status, answer, _ = await world.ask("PUT", path, body)
    assert (status, answer["error"]["code"]) == (400, code)
    assert (await world.ask("HEAD", path))[0] == 404


async def test_a_missing_group_is_named(world: Any) -> None:
    for method, body in (("GET", None), ("PATCH", {}), ("DELETE", None)):
        status, answer, _ = await world.ask(method, f"{SUB}/resourceGroups/nope", body)
        assert (status, answer["error"]["code"]) == (404, "ResourceGroupNotFound")
        assert "nope" in answer["error"]["message"]


async def test_deleting_takes_its_time_and_everything_in_the_group(world: Any) -> None:
    path = await world.group()
    identity, vault = await world.identity(), await world.vault()
    status, body, headers = await world.ask("DELETE", path)
    assert (status, body, headers["Retry-After"]) == (202, None, "1")
    location = headers["Location"].removeprefix("https://management.azure.com")
    assert location.startswith(f"{SUB}/operationresults/")
    assert (await world.ask("GET", location, version=None))[0] == 200
    for gone in (path, identity["id"], vault):
        status, body, _ = await world.ask("GET", gone)
        assert (status, body["error"]["code"]) == (404, "ResourceGroupNotFound")
    _, body, _ = await world.ask("GET", f"{SUB}/providers/Microsoft.KeyVault/deletedVaults")
    assert [one["name"] for one in body["value"]] == ["demo-vault"]


async def test_an_operation_nobody_began_is_not_there(world: Any) -> None:
    path = f"{SUB}/operationresults/33333333-3333-4333-8333-333333333333"
    status, body, _ = await world.ask("GET", path)
    assert (status, body["error"]["code"]) == (404, "NotFound")


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
async def test_groups_are_found_by_tag(world: Any, wanted: str, found: list[str]) -> None:
    await world.group("a", tags={"team": "x"})
    await world.group("b", tags={"team": "y"})
    await world.group("c")
    query = wanted.replace(" ", "%20")
    _, body, _ = await world.ask("GET", f"{SUB}/resourcegroups?$filter={query}")
    assert [one["name"] for one in body["value"]] == found


async def test_a_list_is_read_page_by_page(world: Any) -> None:
    for name in "abcde":
        await world.group(name)
    pages = await world.pages(f"{SUB}/resourcegroups?$top=2")
    assert pages == [["a", "b"], ["c", "d"], ["e"]]


async def test_a_caller_is_shown_the_groups_it_may_read(world: Any) -> None:
    mine = await world.group("mine")
    await world.group("other")
    await world.caller("reader", "Reader", mine)
    await world.caller("nobody")
    _, body, _ = await world.ask("GET", f"{SUB}/resourcegroups", who="reader")
    assert [one["name"] for one in body["value"]] == ["mine"]
    status, body, _ = await world.ask("GET", f"{SUB}/resourcegroups", who="nobody")
    assert (status, body["error"]["code"]) == (403, "AuthorizationFailed")
