"""What holds for every request: versions, tokens, subscriptions, paths, bodies, headers, roles, the audit."""

import logging
import re
from typing import Any

import pytest

from podpass.directory.resource_manager.routes import ROUTES

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
SUB = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590"
GROUP = f"{SUB}/resourcegroups/rg"
ADMIN = "11111111-1111-4111-8111-111111111111"


@pytest.mark.parametrize(
    ("version", "code"),
    [
        (None, "MissingApiVersionParameter"),
        ("", "MissingApiVersionParameter"),
        ("latest", "InvalidApiVersionParameter"),
        ("2024-13-01", "InvalidApiVersionParameter"),
        ("2024-02-30", "InvalidApiVersionParameter"),
        ("2024-01-01-nightly", "InvalidApiVersionParameter"),
        ("2024-01-01%00", "InvalidApiVersionParameter"),
    ],
)
async def test_no_or_no_such_api_version_is_refused(
    world: Any, version: str | None, code: str
) -> None:
    status, body, _ = await world.ask("GET", "/subscriptions", version=version)
    assert (status, body["error"]["code"]) == (400, code)


@pytest.mark.parametrize(
    "query",
    [
        "api-version=2016-06-01",
        "API-Version=2030-01-01",
        "api%2Dversion=2025-05-31-preview",
        "api-version=2020-04-01-preview.1",
    ],
)
async def test_every_well_formed_version_is_served(world: Any, query: str) -> None:
    assert (await world.ask("GET", f"/subscriptions?{query}", version=None))[0] == 200


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("$top=0", "InvalidTopInQueryString"),
        ("$top=1001", "InvalidTopInQueryString"),
        ("$top=two", "InvalidTopInQueryString"),
        ("$skiptoken=***", "InvalidSkipTokenInQueryString"),
        ("$skiptoken=AAAA", "InvalidSkipTokenInQueryString"),
        ("$skiptoken=" + "QUFB" * 1100, "InvalidSkipTokenInQueryString"),
        ("$top=1&$top=2", "InvalidRequestUri"),
        ("a=&b=" + "&c=" * 30, "InvalidRequestUri"),
        ("$filter=a%20ne%20'b'", "InvalidFilterInQueryString"),
        ("$filter=color%20eq%20'b'", "InvalidFilterInQueryString"),
    ],
)
async def test_a_query_that_is_none_is_refused(world: Any, query: str, code: str) -> None:
    status, body, _ = await world.ask("GET", f"{SUB}/resourcegroups?{query}")
    assert (status, body["error"]["code"]) == (400, code)


@pytest.mark.parametrize(
    ("who", "status", "code"),
    [
        (None, 401, "AuthenticationFailed"),
        ("invalid", 401, "InvalidAuthenticationToken"),
        ("expired", 401, "ExpiredAuthenticationToken"),
        ("audience", 401, "InvalidAuthenticationTokenAudience"),
        ("tenant", 401, "InvalidAuthenticationTokenTenant"),
        ("unavailable", 503, "ServiceUnavailable"),
    ],
)
async def test_whoever_brings_no_good_token_is_told_where_to_get_one(
    world: Any, who: str | None, status: int, code: str
) -> None:
    found, body, headers = await world.ask("GET", SUB, who=who)
    assert (found, body["error"]["code"]) == (status, code)
    if status == 401:
        challenge = headers["WWW-Authenticate"]
        # This is how azwi finds the tenant of a subscription.
        match = re.search(r'authorization_uri=".*/([0-9a-f\-]+)"', challenge)
        assert match is not None
        assert match[1] == TENANT
        assert challenge.startswith('Bearer authorization_uri="https://login.windows.net/')
        assert 'error="invalid_token", error_description="' in challenge


async def test_the_challenge_names_the_instances_own_authority_to_those_without_the_gateway(
    world: Any,
) -> None:
    _, _, headers = await world.ask("GET", SUB, who=None, host=f"localhost:{world.port}")
    assert f'authorization_uri="https://localhost:18443/{TENANT}"' in headers["WWW-Authenticate"]


async def test_what_stands_in_a_refused_token_writes_no_header(world: Any) -> None:
    """Attack: a line break or a quote in a claim that the refusal repeats."""
    status, _, headers = await world.ask("GET", SUB, who="forged")
    assert status == 401
    assert "X-Forged" not in headers
    said = headers["WWW-Authenticate"].partition("error_description=")[2]
    assert said.strip('"') == "audience 'x'''X-Forged: '."


async def test_a_caller_of_another_tenant_is_refused(world: Any) -> None:
    """Whoever checks tokens may serve several tenants; this subscription belongs to one."""
    from dataclasses import replace

    other = replace(world.callers["admin"], tenant_id="99999999-9999-4999-8999-999999999999")
    world.callers["stranger"] = other
    status, body, headers = await world.ask("GET", SUB, who="stranger")
    assert (status, body["error"]["code"]) == (401, "InvalidAuthenticationTokenTenant")
    assert "WWW-Authenticate" in headers


@pytest.mark.parametrize("path", ["", "/resourcegroups", "/providers/Microsoft.KeyVault/vaults"])
async def test_a_foreign_subscription_is_not_there(world: Any, path: str) -> None:
    strange = f"/subscriptions/22222222-2222-4222-8222-222222222222{path}"
    status, body, _ = await world.ask("GET", strange)
    assert (status, body["error"]["code"]) == (404, "SubscriptionNotFound")


@pytest.mark.parametrize("name", ["podpass", "0b1f6471", "0b1f6471-1bf0-4dda-aec3-cb9272f0959g"])
async def test_a_subscription_id_is_a_guid(world: Any, name: str) -> None:
    status, body, _ = await world.ask("GET", f"/subscriptions/{name}/resourcegroups")
    assert (status, body["error"]["code"]) == (400, "InvalidSubscriptionId")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nothing",
        f"{SUB}/nothing",
        f"{GROUP}/providers/Microsoft.Storage/storageAccounts/x",
        f"{GROUP}/providers/Microsoft.KeyVault/vaults/v/keys",
    ],
)
async def test_a_path_that_is_not_served_is_said_to_be(world: Any, path: str) -> None:
    status, body, _ = await world.ask("GET", path)
    assert (status, body["error"]["code"]) == (404, "NotFound")
    assert "podpass does not serve" in body["error"]["message"]


async def test_a_method_that_is_not_served_is_refused(world: Any) -> None:
    status, body, _ = await world.ask("POST", GROUP, {})
    assert (status, body["error"]["code"]) == (405, "MethodNotAllowed")


@pytest.mark.parametrize(
    "name", ["a%2Fb", "..%2F..", "%2E%2E", "a%00b", "a%0Ab", "%FF", "%E2%80%AE", "."]
)
async def test_no_name_in_a_path_can_stand_for_another_path(world: Any, name: str) -> None:
    status, body, _ = await world.ask("GET", f"{SUB}/resourcegroups/{name}")
    assert (status, body["error"]["code"]) == (400, "InvalidResourceName")


async def test_doubled_slashes_are_tolerated_as_clients_send_them(world: Any) -> None:
    await world.group()
    path = f"/{GROUP}//providers/Microsoft.Authorization/roleAssignments"
    assert (await world.ask("GET", path))[0] == 200


async def test_a_body_over_its_limit_is_refused(world: Any) -> None:
    status, body, _ = await world.ask("PUT", GROUP, b" " * 600_000)
    assert (status, body["error"]["code"]) == (413, "RequestContentTooLarge")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_a_body_has_to_be_json_by_name(world: Any, kind: str) -> None:
    answer = await world.ask("PUT", GROUP, {"location": "eastus"}, headers={"Content-Type": kind})
    assert (answer[0], answer[1]["error"]["code"]) == (415, "UnsupportedMediaType")


async def test_every_answer_carries_the_ids_that_clients_log(world: Any) -> None:
    asked = {"x-ms-client-request-id": "abc-123"}
    _, _, headers = await world.ask("GET", "/subscriptions", headers=asked)
    assert headers["x-ms-client-request-id"] == "abc-123"
    assert headers["x-ms-request-id"] == headers["x-ms-correlation-request-id"]
    assert headers["x-ms-request-id"] in headers["x-ms-routing-request-id"]
    forged = {"x-ms-client-request-id": "a b"}
    _, _, headers = await world.ask("GET", "/nothing", headers=forged)
    assert "x-ms-client-request-id" not in headers
    assert "x-ms-request-id" in headers


async def test_a_refusal_for_want_of_a_role_names_who_what_and_where(world: Any) -> None:
    await world.group()
    nobody = await world.caller("nobody", "Key Vault Secrets User")
    status, body, _ = await world.ask("PUT", GROUP, {"location": "eastus"}, who="nobody")
    assert (status, body["error"]["code"]) == (403, "AuthorizationFailed")
    for fact in (
        f"'{nobody.client_id}'",
        f"'{nobody.object_id}'",
        "'Microsoft.Resources/subscriptions/resourceGroups/write'",
        f"'{GROUP}'",
    ):
        assert fact in body["error"]["message"]


async def test_a_body_is_not_looked_at_before_the_caller_may(world: Any) -> None:
    await world.caller("nobody")
    assert (await world.ask("PUT", GROUP, b"{", who="nobody"))[0] == 403


def _example(path: str) -> str:
    """Fill in the names of a path, and put one group's scope before an extension."""
    path = path.replace("{scope}", GROUP).replace("/subscriptions/{subscription}", SUB)
    return re.sub(r"\{\w+\}", "44444444-4444-4444-8444-444444444444", path)


_GUARDED = [
    pytest.param(route, id=f"{route.method} {route.path}")
    for route in ROUTES
    if route.operation.action is not None
]


@pytest.mark.parametrize("route", _GUARDED)
async def test_no_operation_is_open_to_a_caller_without_a_role(world: Any, route: Any) -> None:
    await world.group()
    await world.caller("nobody")
    body: dict[str, Any] | None = {} if route.operation.reads_body else None
    status, answer, _ = await world.ask(route.method, _example(route.path), body, who="nobody")
    assert status == 403
    if route.method != "HEAD":
        assert answer["error"]["code"] == "AuthorizationFailed"


def test_what_is_open_to_every_caller_is_known_by_name() -> None:
    """A new operation without an action has to be put here on purpose."""
    assert {route.operation.title for route in ROUTES if route.operation.action is None} == {
        "list tenants",
        "list subscriptions",
        "list own permissions",
        "list providers",
        "show provider",
        "list operations",
        "show operation",
        "show result of operation",
    }


async def test_a_reader_reads_and_writes_nothing(world: Any) -> None:
    await world.group()
    await world.caller("reader", "Reader")
    assert (await world.ask("GET", GROUP, who="reader"))[0] == 200
    for method, path, body in (
        ("PUT", GROUP, {"location": "eastus"}),
        ("DELETE", GROUP, None),
        ("PUT", f"{GROUP}/providers/Microsoft.KeyVault/vaults/v12", {}),
        ("POST", f"{SUB}/providers/Microsoft.KeyVault/register", None),
    ):
        assert (await world.ask(method, path, body, who="reader"))[0] == 403
    assert (await world.ask("HEAD", GROUP))[0] == 204


async def test_a_contributor_gives_no_roles(world: Any) -> None:
    scope = await world.group()
    maker = await world.caller("maker", "Contributor")
    role = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
    path = f"{scope}/providers/Microsoft.Authorization/roleAssignments"
    body = {
        "properties": {
            "roleDefinitionId": f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/{role}",
            "principalId": maker.object_id,
        }
    }
    name = "55555555-5555-4555-8555-555555555555"
    status, _, _ = await world.ask("PUT", f"{path}/{name}", body, who="maker")
    assert status == 403
    assert await world.directory.assignments.get(name) is None


async def test_every_change_is_recorded_with_who_and_what(world: Any) -> None:
    await world.caller("maker", "Contributor")
    asked = {"x-ms-client-request-id": "the-request"}
    await world.ask("PUT", GROUP, {"location": "eastus"}, who="maker", headers=asked)
    await world.ask("PUT", GROUP, {"location": "atlantis"})
    [latest] = await world.directory.audit.list(limit=1)
    assert latest.action == "Microsoft.Resources/subscriptions/resourceGroups/write"
    assert latest.target.lower() == GROUP.lower()
    assert latest.actor == world.callers["maker"].object_id
    assert (latest.actor_name, latest.correlation_id) == ("maker", "the-request")


async def test_the_log_has_one_line_an_answer_and_never_a_body(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="podpass"):
        await world.ask("PUT", GROUP, {"location": "eastus", "tags": {"a": "very-private"}})
        await world.ask("GET", f"{SUB}/resourceGroups/nope")
    lines = [record for record in caplog.records if record.message == "manager_request_answered"]
    facts = [(vars(one)["status"], vars(one)["outcome"], vars(one)["object_id"]) for one in lines]
    assert facts == [(201, "ok", ADMIN), (404, "ResourceGroupNotFound", ADMIN)]
    assert vars(lines[0])["action"].endswith("resourceGroups/write")
    assert vars(lines[0])["target"] == GROUP
    action = "Microsoft.Resources/subscriptions/resourceGroups"
    assert [vars(one)["checked"] for one in lines] == [
        ["access token", f"action {action}/write"],
        ["access token", f"action {action}/read"],
    ]
    assert "very-private" not in str([vars(one) for one in caplog.records])


async def test_a_bug_is_answered_without_telling_what_it_was(
    world: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(world.directory.groups, "get", broken)
    with caplog.at_level(logging.ERROR, logger="podpass"):
        status, body, headers = await world.ask("GET", GROUP)
    assert (status, body["error"]["code"]) == (500, "InternalServerError")
    assert "secret detail" not in str(body)
    assert headers["x-ms-request-id"] in body["error"]["message"]
    assert "secret detail" in caplog.text
