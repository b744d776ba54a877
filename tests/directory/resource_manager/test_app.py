"""Rules for every request: versions, tokens, paths, filters, ETags, bodies, headers, roles, audit."""

import logging
import re
from dataclasses import replace
from typing import Any

import pytest

from podpass.directory.resource_manager import filters, paths, wire
from podpass.directory.resource_manager.app import list_routes
from podpass.directory.resource_manager.errors import ManagerError
from podpass.directory.resource_manager.filters import Filter
from podpass.lab.services import list_providers
from tests.http.coded_bodies import ACCEPTED, CODERS, REFUSED

ROUTES = list_routes(list_providers())

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
async def test_missing_or_invalid_api_version_is_rejected(
    manager: Any, version: str | None, code: str
) -> None:
    assert await manager.refused("GET", "/subscriptions", version=version) == f"400 {code}"


@pytest.mark.parametrize(
    "query",
    [
        "api-version=2016-06-01",
        "API-Version=2030-01-01",
        "api%2Dversion=2025-05-31-preview",
        "api-version=2020-04-01-preview.1",
    ],
)
async def test_every_valid_api_version_is_accepted(manager: Any, query: str) -> None:
    assert (await manager.send("GET", f"/subscriptions?{query}", version=None))[0] == 200


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
async def test_invalid_query_is_rejected(manager: Any, query: str, code: str) -> None:
    assert await manager.refused("GET", f"{SUB}/resourcegroups?{query}") == f"400 {code}"


@pytest.mark.parametrize(
    ("caller", "status", "code"),
    [
        (None, 401, "AuthenticationFailed"),
        ("invalid", 401, "InvalidAuthenticationToken"),
        ("expired", 401, "ExpiredAuthenticationToken"),
        ("audience", 401, "InvalidAuthenticationTokenAudience"),
        ("tenant", 401, "InvalidAuthenticationTokenTenant"),
        ("unavailable", 503, "ServiceUnavailable"),
    ],
)
async def test_rejected_token_gets_a_challenge_with_the_tenant(
    manager: Any, caller: str | None, status: int, code: str
) -> None:
    found, body, headers = await manager.send("GET", SUB, caller=caller)
    assert (found, body["error"]["code"]) == (status, code)
    if status == 401:
        challenge = headers["WWW-Authenticate"]
        # azwi finds the tenant of a subscription in this way.
        match = re.search(r'authorization_uri=".*/([0-9a-f\-]+)"', challenge)
        assert match is not None
        assert match[1] == TENANT
        assert challenge.startswith('Bearer authorization_uri="https://login.windows.net/')
        assert 'error="invalid_token", error_description="' in challenge


async def test_challenge_has_the_loopback_authority_for_clients_without_the_gateway(
    manager: Any,
) -> None:
    _, _, headers = await manager.send("GET", SUB, caller=None, host=f"localhost:{manager.port}")
    assert f'authorization_uri="https://localhost:18443/{TENANT}"' in headers["WWW-Authenticate"]


async def test_claims_of_a_rejected_token_cannot_inject_a_header(manager: Any) -> None:
    """Attack: a line break or a quote in a claim that the error repeats."""
    status, _, headers = await manager.send("GET", SUB, caller="forged")
    assert status == 401
    assert "X-Forged" not in headers
    said = headers["WWW-Authenticate"].partition("error_description=")[2]
    assert said.strip('"') == "audience 'x'''X-Forged: '."


async def test_caller_of_another_tenant_is_rejected(manager: Any) -> None:
    """The token check may accept several tenants; the subscription belongs to one tenant."""
    other = replace(manager.callers["admin"], tenant_id="99999999-9999-4999-8999-999999999999")
    manager.callers["foreign"] = other
    status, body, headers = await manager.send("GET", SUB, caller="foreign")
    assert (status, body["error"]["code"]) == (401, "InvalidAuthenticationTokenTenant")
    assert "WWW-Authenticate" in headers


@pytest.mark.parametrize("path", ["", "/resourcegroups", "/providers/Microsoft.KeyVault/vaults"])
async def test_other_subscription_is_not_found(manager: Any, path: str) -> None:
    strange = f"/subscriptions/22222222-2222-4222-8222-222222222222{path}"
    assert await manager.refused("GET", strange) == "404 SubscriptionNotFound"


@pytest.mark.parametrize("name", ["podpass", "0b1f6471", "0b1f6471-1bf0-4dda-aec3-cb9272f0959g"])
async def test_subscription_id_that_is_not_a_guid_is_rejected(manager: Any, name: str) -> None:
    status, body, _ = await manager.send("GET", f"/subscriptions/{name}/resourcegroups")
    assert (status, body["error"]["code"]) == (400, "InvalidSubscriptionId")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nothing",
        f"{SUB}/nothing",
        f"{GROUP}/providers/Microsoft.Network/virtualNetworks/x",
        f"{GROUP}/providers/Microsoft.KeyVault/vaults/v/keys",
    ],
)
async def test_unserved_path_is_not_found(manager: Any, path: str) -> None:
    status, body, _ = await manager.send("GET", path)
    assert (status, body["error"]["code"]) == (404, "NotFound")
    assert "podpass does not serve" in body["error"]["message"]


async def test_unsupported_method_is_refused(manager: Any) -> None:
    assert await manager.refused("POST", GROUP, {}) == "405 MethodNotAllowed"


@pytest.mark.parametrize(
    "name", ["a%2Fb", "..%2F..", "%2E%2E", "a%00b", "a%0Ab", "%FF", "%E2%80%AE", "."]
)
async def test_name_that_could_be_another_path_is_rejected(manager: Any, name: str) -> None:
    assert await manager.refused("GET", f"{SUB}/resourcegroups/{name}") == "400 InvalidResourceName"


async def test_double_slashes_in_a_path_are_accepted(manager: Any) -> None:
    await manager.group()
    path = f"/{GROUP}//providers/Microsoft.Authorization/roleAssignments"
    assert (await manager.send("GET", path))[0] == 200


async def test_body_over_limit_is_refused_with_413(manager: Any) -> None:
    assert await manager.refused("PUT", GROUP, b" " * 600_000) == "413 RequestContentTooLarge"


@pytest.mark.parametrize("coding", sorted(CODERS))
async def test_compressed_body_is_read(manager: Any, coding: str) -> None:
    body = CODERS[coding](b'{"location":"eastus"}')
    answer = await manager.send("PUT", GROUP, body, headers={"Content-Encoding": coding})
    assert (answer[0], answer[1].get("location")) == (201, "eastus")


@pytest.mark.parametrize(("coding", "body", "status"), REFUSED)
async def test_invalid_compressed_body_is_refused(
    manager: Any, coding: str, body: bytes, status: int
) -> None:
    got, answer, headers = await manager.send(
        "PUT", GROUP, body, headers={"Content-Encoding": coding}
    )
    codes = {400: "InvalidRequestContent", 413: "RequestContentTooLarge"}
    code = codes.get(status, "UnsupportedMediaType")
    assert (got, answer["error"]["code"]) == (status, code)
    assert headers.get("Accept-Encoding") == (ACCEPTED if status == 415 else None)
    assert (await manager.send("GET", GROUP))[0] == 404


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_body_without_a_json_content_type_is_rejected(manager: Any, kind: str) -> None:
    answer = await manager.send(
        "PUT", GROUP, {"location": "eastus"}, headers={"Content-Type": kind}
    )
    assert (answer[0], answer[1]["error"]["code"]) == (415, "UnsupportedMediaType")


async def test_every_response_has_the_request_ids(manager: Any) -> None:
    request_headers = {"x-ms-client-request-id": "abc-123"}
    _, _, headers = await manager.send("GET", "/subscriptions", headers=request_headers)
    assert headers["x-ms-client-request-id"] == "abc-123"
    assert headers["x-ms-request-id"] == headers["x-ms-correlation-request-id"]
    assert headers["x-ms-request-id"] in headers["x-ms-routing-request-id"]
    forged = {"x-ms-client-request-id": "a b"}
    _, _, headers = await manager.send("GET", "/nothing", headers=forged)
    assert "x-ms-client-request-id" not in headers
    assert "x-ms-request-id" in headers


async def test_authorization_error_names_caller_action_and_scope(manager: Any) -> None:
    await manager.group()
    unprivileged = await manager.add_caller("unprivileged", "Key Vault Secrets User")
    status, body, _ = await manager.send(
        "PUT", GROUP, {"location": "eastus"}, caller="unprivileged"
    )
    assert (status, body["error"]["code"]) == (403, "AuthorizationFailed")
    for fact in (
        f"'{unprivileged.client_id}'",
        f"'{unprivileged.object_id}'",
        "'Microsoft.Resources/subscriptions/resourceGroups/write'",
        f"'{GROUP}'",
    ):
        assert fact in body["error"]["message"]


async def test_body_is_not_parsed_before_authorization(manager: Any) -> None:
    await manager.add_caller("unprivileged")
    assert (await manager.send("PUT", GROUP, b"{", caller="unprivileged"))[0] == 403


def _example(path: str) -> str:
    """Return a path with names filled in, and with the scope of a group."""
    path = path.replace("{scope}", GROUP).replace("/subscriptions/{subscription}", SUB)
    return re.sub(r"\{\w+\}", "44444444-4444-4444-8444-444444444444", path)


_GUARDED = [
    pytest.param(route, id=f"{route.method} {route.path}")
    for route in ROUTES
    if route.operation.action is not None
]


@pytest.mark.parametrize("route", _GUARDED)
async def test_caller_without_a_role_is_denied_every_operation(manager: Any, route: Any) -> None:
    await manager.group()
    await manager.add_caller("unprivileged")
    body: dict[str, Any] | None = {} if route.operation.reads_body else None
    status, answer, _ = await manager.send(
        route.method, _example(route.path), body, caller="unprivileged"
    )
    assert status == 403
    if route.method != "HEAD":
        assert answer["error"]["code"] == "AuthorizationFailed"


def test_operations_without_an_action_are_listed_explicitly() -> None:
    """A new operation without an action must be added here on purpose."""
    assert {route.operation.title for route in ROUTES if route.operation.action is None} == {
        *("list tenants", "list subscriptions", "list own permissions", "list providers"),
        *("show provider", "list operations", "show operation", "show result of operation"),
    }


async def test_reader_can_read_and_cannot_write(manager: Any) -> None:
    await manager.group()
    await manager.add_caller("reader", "Reader")
    assert (await manager.send("GET", GROUP, caller="reader"))[0] == 200
    for method, path, body in (
        ("PUT", GROUP, {"location": "eastus"}),
        ("DELETE", GROUP, None),
        ("PUT", f"{GROUP}/providers/Microsoft.KeyVault/vaults/v12", {}),
        ("POST", f"{SUB}/providers/Microsoft.KeyVault/register", None),
    ):
        assert (await manager.send(method, path, body, caller="reader"))[0] == 403
    assert (await manager.send("HEAD", GROUP))[0] == 204


async def test_contributor_cannot_assign_roles(manager: Any) -> None:
    scope = await manager.group()
    maker = await manager.add_caller("maker", "Contributor")
    role = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
    path = f"{scope}/providers/Microsoft.Authorization/roleAssignments"
    body = {
        "properties": {
            "roleDefinitionId": f"{SUB}/providers/Microsoft.Authorization/roleDefinitions/{role}",
            "principalId": maker.object_id,
        }
    }
    name = "55555555-5555-4555-8555-555555555555"
    status, _, _ = await manager.send("PUT", f"{path}/{name}", body, caller="maker")
    assert status == 403
    assert await manager.directory.assignments.get(name) is None


async def test_every_change_is_audited_with_actor_and_action(manager: Any) -> None:
    await manager.add_caller("maker", "Contributor")
    request_headers = {"x-ms-client-request-id": "the-request"}
    await manager.send(
        "PUT", GROUP, {"location": "eastus"}, caller="maker", headers=request_headers
    )
    await manager.send("PUT", GROUP, {"location": "atlantis"})
    [latest] = await manager.directory.audit.list(limit=1)
    assert latest.action == "Microsoft.Resources/subscriptions/resourceGroups/write"
    assert latest.target.lower() == GROUP.lower()
    assert latest.actor == manager.callers["maker"].object_id
    assert (latest.actor_name, latest.correlation_id) == ("maker", "the-request")


async def test_request_is_logged_in_one_line_without_a_body(
    manager: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="podpass"):
        await manager.send("PUT", GROUP, {"location": "eastus", "tags": {"a": "very-private"}})
        await manager.send("GET", f"{SUB}/resourceGroups/nope")
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


async def test_unexpected_error_is_500_without_details(
    manager: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(manager.directory.groups, "get", broken)
    with caplog.at_level(logging.ERROR, logger="podpass"):
        status, body, headers = await manager.send("GET", GROUP)
    assert (status, body["error"]["code"]) == (500, "InternalServerError")
    assert "secret detail" not in str(body)
    assert headers["x-ms-request-id"] in body["error"]["message"]
    assert "secret detail" in caplog.text


@pytest.mark.parametrize(
    ("text", "equal", "calls"),
    [
        ("", {}, {}),
        ("  ", {}, {}),
        ("name eq 'a'", {"name": "a"}, {}),
        ("Name EQ 'it''s'", {"name": "it's"}, {}),
        ("a eq 'x' and b/c eq ''", {"a": "x", "b/c": ""}, {}),
        ("a eq 'b and c eq (d)'", {"a": "b and c eq (d)"}, {}),
        ("atScope()", {}, {"atscope": ()}),
        ("atScope() and assignedTo('x')", {}, {"atscope": (), "assignedto": ("x",)}),
        ("f('a','b')", {}, {"f": ("a", "b")}),
    ],
)
def test_filter_is_parsed(
    text: str, equal: dict[str, str], calls: dict[str, tuple[str, ...]]
) -> None:
    assert filters.parse(text) == Filter(equal=equal, calls=calls)


@pytest.mark.parametrize(
    "text",
    [
        *("a", "a eq", "a eq b", "a ne 'b'", "a eq 'b' or c eq 'd'", "a eq 'b' and"),
        *("a eq 'b' c eq 'd'", "a eq 'b' and a eq 'c'", "a eq 'b", "f('a'", "f('a' 'b')", "f("),
        *("'a' eq 'b'", "not (a eq 'b')", "(a eq 'b')", "a eq 'b';", f"a eq '{'x' * 3000}'"),
    ],
)
def test_unsupported_filter_is_rejected_and_not_ignored(text: str) -> None:
    with pytest.raises(ManagerError) as caught:
        filters.parse(text)
    assert (caught.value.status, caught.value.wire_code) == (400, "InvalidFilterInQueryString")


@pytest.mark.parametrize(
    ("path", "method", "scope", "params"),
    [
        ("/subscriptions/S/RESOURCEGROUPS/g", "GET", "/subscriptions/S/RESOURCEGROUPS/g", "S g"),
        ("/subscriptions/s/resourcegroups", "GET", "/subscriptions/s", "s"),
        ("/subscriptions/s/providers/Microsoft.KeyVault/vaults", "GET", "/subscriptions/s", "s"),
        (
            "/a/b/c/d/providers/microsoft.authorization/roleassignments/n",
            "PUT",
            "/a/b/c/d",
            "n /a/b/c/d",
        ),
        ("/providers/Microsoft.Authorization/roleDefinitions", "GET", "/", "/"),
    ],
)
def test_path_is_matched_case_insensitively(
    path: str, method: str, scope: str, params: str
) -> None:
    found = paths.RouteTable(ROUTES).find(method, paths.split_path(path.encode()))
    assert (found.scope, " ".join(found.params.values())) == (scope, params)


def test_authorization_scope_is_the_whole_resource_path() -> None:
    """A role at a scope applies to everything below it, so the scope of a route must not be too short."""
    for route in ROUTES:
        if route.path.startswith("{scope}") or not route.path.endswith("}"):
            continue
        path = route.path.replace("{", "").replace("}", "")
        found = paths.RouteTable([route]).find(route.method, paths.split_path(path.encode()))
        assert found.scope == path


@pytest.mark.parametrize(
    "path", [b"/a%2Fb", b"/..", b"/a/%2e%2e", b"/a%00", b"/\xff", b"/%ff", b"/a" * 41]
)
def test_ambiguous_path_is_rejected(path: bytes) -> None:
    with pytest.raises(ManagerError):
        paths.split_path(path)


def test_etag_depends_on_content_and_not_on_member_order() -> None:
    assert wire.etag({"a": 1, "b": {"c": 2}}) == wire.etag({"b": {"c": 2}, "a": 1})
    assert wire.etag({"a": 1}) != wire.etag({"a": 2})
