"""Requests to one API: pages, refusals, tokens, long-running operations, propagation."""

from pathlib import Path

import pytest

from podpass.directory.roles import is_permitted
from podpass.provision.api_client import quote_literal, quote_segment
from podpass.provision.errors import ApiError
from podpass.provision.graph import GraphClient
from podpass.provision.resource_manager import ManagerClient
from tests.provision.api_server import ScriptedResponse, in_order, scripted_api

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2ln"


async def test_all_pages_of_a_collection_are_read(tmp_path: Path) -> None:
    pages: dict[str, ScriptedResponse] = {}
    async with scripted_api(tmp_path, lambda _method, target: pages[target]) as api:
        pages["/v1.0/x?a=b%20c"] = ScriptedResponse(
            body={"value": [{"n": 1}], "@odata.nextLink": f"{api.origin}/v1.0/x?page=2"}
        )
        pages["/v1.0/x?page=2"] = ScriptedResponse(
            body={"value": [{"n": 2}], "nextLink": f"{api.origin}/v1.0/x?page=3"}
        )
        pages["/v1.0/x?page=3"] = ScriptedResponse(body={"value": [{"n": 3}]})
        found = await api.client.list("/v1.0/x", {"a": "b c"})
    assert found == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert {fields["Authorization"] for _, _, fields, _ in api.requests} == {"Bearer token-1"}


@pytest.mark.parametrize(
    "address", ["https://other.example/x", "http://localhost/x", "https://localhost:1/x", "/x"]
)
async def test_token_is_not_sent_to_an_address_of_another_host(
    tmp_path: Path, address: str
) -> None:
    page = ScriptedResponse(body={"value": [], "nextLink": address})
    async with scripted_api(tmp_path, in_order(page)) as api:
        with pytest.raises(ApiError, match="returned an address of another host"):
            await api.client.list("/x")
    accepted = ScriptedResponse(status=202, headers={"Location": address})
    async with scripted_api(tmp_path, in_order(accepted)) as api:
        with pytest.raises(ApiError, match="returned an address of another host"):
            await api.client.send("DELETE", "/x")
    assert len(api.requests) == 1


async def test_endless_pages_are_stopped(tmp_path: Path) -> None:
    address: list[str] = []
    async with scripted_api(
        tmp_path,
        lambda _method, _target: ScriptedResponse(body={"value": [], "nextLink": address[0]}),
    ) as api:
        address.append(f"{api.origin}/x")
        with pytest.raises(ApiError, match="more than 200 pages"):
            await api.client.list("/x")


async def test_refusal_has_status_code_and_message_without_tokens(tmp_path: Path) -> None:
    body = {"error": {"code": "Denied", "message": f"no\nrights for {JWT} \x1b[31m"}}
    async with scripted_api(tmp_path, in_order(ScriptedResponse(status=403, body=body))) as api:
        with pytest.raises(ApiError) as caught:
            await api.client.send("POST", "/v1.0/x", {"a": 1}, {"q": "secret"})
    assert caught.value.message == (
        "the API refused POST /v1.0/x with status 403: Denied: no rights for [token] ?[31m"
    )
    assert (caught.value.api_status, caught.value.api_code) == (403, "Denied")


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b'{"error": "x"}', b"[" * 5000])
async def test_refusal_without_an_error_object_has_only_its_status(
    tmp_path: Path, body: bytes
) -> None:
    async with scripted_api(tmp_path, in_order(ScriptedResponse(status=400, body=body))) as api:
        with pytest.raises(ApiError, match=r"with status 400\Z"):
            await api.client.get("/x")


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b"[" * 5000])
async def test_response_that_is_no_object_is_an_error(tmp_path: Path, body: bytes) -> None:
    async with scripted_api(tmp_path, in_order(ScriptedResponse(body=body))) as api:
        with pytest.raises(ApiError, match="the response of the API is not"):
            await api.client.get("/x")


async def test_object_without_its_id_is_an_error(tmp_path: Path) -> None:
    page = ScriptedResponse(body={"value": [{"name": "web", "displayName": "web"}]})
    async with scripted_api(tmp_path, in_order(*[page] * 3)) as api:
        graph = GraphClient(api.client)
        roles = ManagerClient(api.client, "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0")
        for request in (
            graph.find_applications("web"),
            roles.find_roles("/subscriptions/s", "Reader"),
            roles.list_vaults(),
        ):
            with pytest.raises(ApiError, match="an object without 'id'"):
                await request


async def test_refused_token_is_replaced_once(tmp_path: Path) -> None:
    async with scripted_api(tmp_path, in_order(ScriptedResponse(status=401))) as api:
        with pytest.raises(ApiError, match="status 401"):
            await api.client.get("/x")
    sent = [fields["Authorization"] for _, _, fields, _ in api.requests]
    assert sent == ["Bearer token-1", "Bearer token-2"]


async def test_missing_object_is_none(tmp_path: Path) -> None:
    async with scripted_api(tmp_path, in_order(ScriptedResponse(status=404))) as api:
        assert await api.client.find("/x") is None


@pytest.mark.parametrize("name", ["Azure-AsyncOperation", "Location"])
async def test_long_running_operation_is_polled_until_it_ends(tmp_path: Path, name: str) -> None:
    origin: list[str] = []
    polls = [
        ScriptedResponse(status=202, headers={"Retry-After": "2"}),
        ScriptedResponse(body={"status": "InProgress"}),
        ScriptedResponse(body={"status": "Succeeded"}),
    ]

    def respond(method: str, target: str) -> ScriptedResponse:
        if method == "PUT":
            headers = {name: f"{origin[0]}/operations/1", "Retry-After": "9"}
            return ScriptedResponse(status=202, headers=headers)
        if target == "/operations/1":
            return polls.pop(0)
        return ScriptedResponse(body={"name": "done"})

    async with scripted_api(tmp_path, respond) as api:
        origin.append(api.origin)
        made = await api.client.send("PUT", "/x", {}, {"api-version": "1"})
    assert made == {"name": "done"}
    assert api.pauses == [9.0, 2.0, 5.0]
    assert api.targets == [
        "PUT /x?api-version=1",
        *["GET /operations/1"] * 3,
        "GET /x?api-version=1",
    ]


async def test_failed_operation_is_an_error_with_its_cause(tmp_path: Path) -> None:
    origin: list[str] = []

    def respond(method: str, _target: str) -> ScriptedResponse:
        if method == "PUT":
            return ScriptedResponse(
                status=201, headers={"Azure-AsyncOperation": f"{origin[0]}/o"}, body={}
            )
        error = {"code": "Quota", "message": "none is left"}
        return ScriptedResponse(body={"status": "Failed", "error": error})

    async with scripted_api(tmp_path, respond) as api:
        origin.append(api.origin)
        with pytest.raises(ApiError, match="PUT /x failed: Quota none is left"):
            await api.client.send("PUT", "/x", {})


async def test_new_object_is_awaited_with_a_report_of_each_wait(tmp_path: Path) -> None:
    results = iter([None, None, "found"])

    async def attempt() -> str | None:
        return next(results)

    async with scripted_api(tmp_path, in_order(ScriptedResponse())) as api:
        assert await api.client.until(attempt, reason="waiting for X") == "found"
    assert api.pauses == [1.0, 2.0]
    assert api.reports[0] == "waiting for X; trying again in 1 seconds"


async def test_wait_for_a_new_object_ends_with_the_last_error(tmp_path: Path) -> None:
    async def attempt() -> None:
        raise ApiError("still missing", api_status=404)

    async with scripted_api(tmp_path, in_order(ScriptedResponse())) as api:
        with pytest.raises(ApiError, match="still missing"):
            await api.client.until(attempt, reason="x", retry=lambda exc: exc.api_status == 404)
        assert sum(api.pauses) == 119.0
        api.pauses.clear()
        with pytest.raises(ApiError, match="still missing"):
            await api.client.until(attempt, reason="x", retry=lambda exc: exc.api_status == 400)
        assert api.pauses == []


def test_quotes_and_slashes_are_escaped() -> None:
    assert quote_literal("it's a 'name'") == "'it''s a ''name'''"
    assert quote_segment("../a?b#c/d%") == "..%2Fa%3Fb%23c%2Fd%25"


@pytest.mark.parametrize(
    "value",
    ["abc", {"a": 1}, [1], [None], 5, True],
    ids=["text", "object", "number", "null", "5", "bool"],
)
async def test_page_that_is_no_list_of_objects_is_an_error(tmp_path: Path, value: object) -> None:
    async with scripted_api(tmp_path, in_order(ScriptedResponse(body={"value": value}))) as api:
        with pytest.raises(ApiError, match="the response of the API is not a list of objects"):
            await api.client.list("/x")


async def test_address_of_the_next_page_that_is_no_url_is_an_error(tmp_path: Path) -> None:
    page = ScriptedResponse(body={"value": [], "nextLink": "https://[::1"})
    async with scripted_api(tmp_path, in_order(page)) as api:
        with pytest.raises(ApiError, match="returned an address that is not a URL"):
            await api.client.list("/x")


async def test_collection_has_a_limited_size(tmp_path: Path) -> None:
    """Attack: an API sends large pages without end, until the memory is full."""
    address: list[str] = []
    filler = "x" * (6 * 1024 * 1024)
    async with scripted_api(
        tmp_path,
        lambda _method, _target: ScriptedResponse(
            body={"value": [], "x": filler, "nextLink": address[0]}
        ),
    ) as api:
        address.append(f"{api.origin}/x")
        with pytest.raises(ApiError, match="returned more than 16777216 bytes"):
            await api.client.list("/x")
    assert len(api.requests) == 3


@pytest.mark.parametrize(("retry_after", "polls"), [("0", 120), ("60", 2)])
async def test_operation_that_never_ends_is_followed_for_a_limited_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retry_after: str, polls: int
) -> None:
    monkeypatch.setattr("podpass.provision.api_client._MAX_OPERATION_SECONDS", 120.0)

    def running(_method: str, _target: str) -> ScriptedResponse:
        headers = {"Location": f"{api.origin}/operation", "Retry-After": retry_after}
        return ScriptedResponse(status=202, headers=headers)

    async with scripted_api(tmp_path, running) as api:
        with pytest.raises(ApiError, match="did not complete in half an hour"):
            await api.client.send("DELETE", "/x")
    assert (sum(api.pauses), len(api.pauses)) == (120, polls)


async def test_permission_blocks_of_a_role_stay_apart(tmp_path: Path) -> None:
    properties = {
        "roleName": "custom",
        "type": "CustomRole",
        "permissions": [{"actions": ["*"], "notActions": ["a/write"]}, {"actions": ["a/write"]}, 7],
    }
    page = ScriptedResponse(body={"value": [{"name": "R", "properties": properties}]})
    async with scripted_api(tmp_path, in_order(page)) as api:
        found = await ManagerClient(api.client, "s").list_roles()
    assert [(each.id, each.name, each.actions) for each in found] == [
        ("r", "custom", ("*",)),
        ("r", "custom", ("a/write",)),
    ]
    assert is_permitted(found, "a/write")


async def test_assignments_of_policies_are_read_with_scope_and_parameters(tmp_path: Path) -> None:
    properties = {
        "policyDefinitionId": "/providers/Microsoft.Authorization/policyDefinitions/d",
        "scope": "/subscriptions/s",
        "notScopes": ["/subscriptions/s/resourceGroups/g"],
        "parameters": {"allowAKS": {"value": True}, "broken": 1},
    }
    page = ScriptedResponse(body={"value": [{"properties": properties}, {}]})
    async with scripted_api(tmp_path, in_order(page)) as api:
        found, empty = await ManagerClient(api.client, "s").list_policy_assignments()
        [target] = api.targets
    assert target == (
        "GET /subscriptions/s/providers/Microsoft.Authorization/policyAssignments?api-version=2022-06-01"
    )
    assert (found.definition_id, found.scope, found.excluded) == (
        properties["policyDefinitionId"],
        "/subscriptions/s",
        ("/subscriptions/s/resourceGroups/g",),
    )
    assert found.parameters == {"allowAKS": True, "broken": None}
    assert (empty.definition_id, empty.parameters) == ("", {})


@pytest.mark.parametrize(
    ("status", "code", "is_read"),
    [(404, "InvalidResourceType", True), (403, "AuthorizationFailed", False)],
)
async def test_cloud_without_policies_has_no_assignments(
    tmp_path: Path, status: int, code: str, is_read: bool
) -> None:
    refused = ScriptedResponse(status=status, body={"error": {"code": code, "message": "no"}})
    async with scripted_api(tmp_path, in_order(refused)) as api:
        manager = ManagerClient(api.client, "s")
        if is_read:
            assert await manager.list_policy_assignments() == []
            return
        with pytest.raises(ApiError):
            await manager.list_policy_assignments()
