"""Requests to the vault over TLS, and their responses."""

import json
import logging
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from tests.http.coded_bodies import ACCEPTED, CODERS, REFUSED

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
GREETING = "/secrets/greeting?api-version=7.4"


async def test_missing_role_error_has_caller_action_resource_and_resolution(
    world: Any,
) -> None:
    reader = await world.identity("reader", "Key Vault Reader")
    status, body, _ = await world.send("GET", GREETING, token=world.authority.mint(reader))
    error = body["error"]
    assert (status, error["code"]) == (403, "Forbidden")
    assert error["innererror"] == {"code": "ForbiddenByRbac"}
    lines = error["message"].split("\r\n")
    assert lines[0] == "No role of the caller permits this."
    assert lines[1] == (
        f"Caller: appid={reader.client_id};oid={reader.object_id};"
        f"iss=https://sts.windows.net/{TENANT}/"
    )
    assert lines[2] == "Action: 'Microsoft.KeyVault/vaults/secrets/getSecret/action'"
    assert lines[3].endswith(
        "/resourcegroups/rg/providers/microsoft.keyvault/vaults/demo-vault/secrets/greeting'"
    )
    assert lines[7] == "Vault: demo-vault;location=eastus"
    assert "'Key Vault Secrets User' on vault demo-vault for reader" in lines[8]


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("Key Vault Secrets User", {"GET", "LIST"}),
        ("Key Vault Reader", {"LIST"}),
        ("Key Vault Secrets Officer", {"GET", "LIST", "PUT", "PATCH", "DELETE"}),
        ("Key Vault Administrator", {"GET", "LIST", "PUT", "PATCH", "DELETE"}),
    ],
)
async def test_role_allows_only_its_operations(
    world: Any, token: str, role: str, allowed: set[str]
) -> None:
    await world.send("PUT", GREETING, token=token, body={"value": "hello"})
    holder = world.authority.mint(await world.identity("holder", role))
    asked = {
        "GET": ("GET", GREETING, None),
        "LIST": ("GET", "/secrets?api-version=7.4", None),
        "PUT": ("PUT", GREETING, {"value": "x"}),
        "PATCH": ("PATCH", "/secrets/greeting/?api-version=7.4", {}),
        "DELETE": ("DELETE", GREETING, None),
    }
    answers = {
        name: (await world.send(method, path, token=holder, body=body))[0]
        for name, (method, path, body) in asked.items()
    }
    assert {name for name, status in answers.items() if status == 200} == allowed
    assert {name for name, status in answers.items() if status == 403} == set(asked) - allowed


async def test_role_is_valid_for_its_vault_only(world: Any) -> None:
    from_elsewhere = await world.identity("elsewhere", "Key Vault Administrator", "demo-vault2")
    status, _, _ = await world.send("GET", GREETING, token=world.authority.mint(from_elsewhere))
    assert status == 403


async def test_error_names_unknown_vault(world: Any, token: str) -> None:
    status, body, _ = await world.send("GET", GREETING, host="nope.vault.azure.net", token=token)
    assert (status, body["error"]["code"]) == (404, "VaultNotFound")
    assert "nope" in body["error"]["message"]


@pytest.mark.parametrize("host", ["evil.example", "vault.azure.net", "a.b.vault.azure.net", ".x"])
async def test_unknown_host_is_not_echoed(world: Any, host: str) -> None:
    status, body, headers = await world.send("GET", GREETING, host=host)
    assert (status, body["error"]["code"]) == (404, "VaultNotFound")
    assert host not in json.dumps(body).replace(": *.vault", "")
    assert "WWW-Authenticate" not in headers


async def test_loopback_host_requires_a_single_vault(world: Any, token: str) -> None:
    await world.vaults.put(world.vault_of("second-vault"))
    status, body, _ = await world.send("GET", GREETING, host="localhost", token=token)
    assert (status, body["error"]["code"]) == (404, "VaultNotFound")


@pytest.mark.parametrize(
    "query",
    [
        "api-version=7.4",
        "api%2Dversion=2025-07-01",
        "api-version=2026-04-01",
        "api-version=7.6-preview.1",
    ],
)
async def test_api_versions_of_clients_are_accepted(world: Any, token: str, query: str) -> None:
    assert (await world.send("PUT", f"/secrets/a?{query}", token=token, body={"value": "v"}))[
        0
    ] == 200


@pytest.mark.parametrize(
    "query",
    [
        "",
        "api-version=",
        "api-version=latest",
        "api-version=7.4&api-version=7.5",
        "x=" + "&y=" * 30,
    ],
)
async def test_missing_or_invalid_api_version_is_refused(
    world: Any, token: str, query: str
) -> None:
    status, body, _ = await world.send("GET", f"/secrets/a?{query}", token=token)
    assert (status, body["error"]["code"]) == (400, "BadParameter")


@pytest.mark.parametrize(
    ("version", "served"),
    [
        ("7.6", None),
        ("2026-04-01", None),
        ("2026-04-01-preview", None),
        ("7.7", "2026-04-01"),
        ("2026-04-02", "2026-04-01"),
        ("2031-01-01-preview", "2026-04-01"),
    ],
)
async def test_newer_api_version_is_served_as_the_newest_that_is_known(
    world: Any, token: str, version: str, served: str | None
) -> None:
    status, _, headers = await world.send("GET", f"/secrets?api-version={version}", token=token)
    assert (status, headers.get("x-podpass-api-version")) == (200, served)


async def test_error_names_missing_api_version(world: Any, token: str) -> None:
    _, body, _ = await world.send("GET", "/secrets/a", token=token)
    assert "api-version" in body["error"]["message"]


@pytest.mark.parametrize(
    "name",
    [
        "a_b",
        "..%2f..%2fetc",
        "%2e%2e",
        "a%00b",
        "x" * 128,
        "a%2Fversions",
        "caf%C3%A9",
        "a.b",
        "%20",
    ],
)
async def test_invalid_secret_name_is_refused(world: Any, token: str, name: str) -> None:
    """Attack group 31: names are letters, digits and '-', so a name cannot contain a path."""
    path = f"/secrets/{name}?api-version=7.4"
    status, body, _ = await world.send("PUT", path, token=token, body={"value": "v"})
    assert (status, body["error"]["code"]) == (400, "BadParameter")


async def test_trailing_slash_of_python_client_is_accepted(world: Any, token: str) -> None:
    await world.send("PUT", "/secrets/Greeting/?api-version=7.4", token=token, body={"value": "v"})
    status, body, _ = await world.send("GET", "/secrets/greeting/?api-version=7.4", token=token)
    assert (status, body["value"]) == (200, "v")
    # The response has the original spelling of the name; the lookup ignores case.
    assert body["id"].startswith("https://demo-vault.vault.azure.net/secrets/Greeting/")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"value":"a","value":"b"}',
        b'{"value":null}',
        b'{"value":7}',
        b'{"value":"\xff"}',
        b'{"value":"x","tags":{"a":1}}',
        b'{"value":"x","tags":[]}',
        b'{"value":"x","attributes":[1]}',
        b'{"value":"x","attributes":{"enabled":"yes"}}',
        b'{"value":"x","attributes":{"exp":"tomorrow"}}',
        b'{"value":"x","attributes":{"nbf":true}}',
        b'{"value":"x","contentType":7}',
        b'{"value":"x","contentType":"a\\u0000"}',
        json.dumps({"value": "x" * (25 * 1024 + 1)}).encode(),
        json.dumps({"value": "é" * (13 * 1024)}).encode(),
        json.dumps({"value": "x", "tags": {str(n): "" for n in range(16)}}).encode(),
    ],
)
async def test_invalid_secret_body_is_refused(world: Any, token: str, body: bytes) -> None:
    status, answer, _ = await world.send("PUT", GREETING, token=token, body=body)
    assert (status, answer["error"]["code"]) == (400, "BadParameter")


async def test_value_of_exactly_25_kb_is_stored(world: Any, token: str) -> None:
    value = "\n" * (25 * 1024)
    assert (await world.send("PUT", GREETING, token=token, body={"value": value}))[0] == 200
    assert (await world.send("GET", GREETING, token=token))[1]["value"] == value


async def test_body_over_limit_is_refused_with_413(world: Any, token: str) -> None:
    status, body, _ = await world.send("PUT", GREETING, token=token, body=b"x" * 300_000)
    assert (status, body["error"]["code"]) == (413, "BadParameter")


@pytest.mark.parametrize("coding", sorted(CODERS))
async def test_compressed_body_is_read(world: Any, token: str, coding: str) -> None:
    coded = {"Content-Encoding": coding}
    # The longest value, of one character: its ratio is that of a decompression bomb.
    body = CODERS[coding](orjson.dumps({"value": "x" * 25 * 1024}))
    status, made, _ = await world.send("PUT", GREETING, token=token, body=body, headers=coded)
    assert (status, made.get("value")) == (200, "x" * 25 * 1024)


@pytest.mark.parametrize(("coding", "body", "status"), REFUSED)
async def test_invalid_compressed_body_is_refused(
    world: Any, token: str, coding: str, body: bytes, status: int
) -> None:
    coded = {"Content-Encoding": coding}
    got, answer, headers = await world.send("PUT", GREETING, token=token, body=body, headers=coded)
    assert (got, answer["error"]["code"]) == (status, "BadParameter")
    assert headers.get("Accept-Encoding") == (ACCEPTED if status == 415 else None)
    assert (await world.send("GET", GREETING, token=token))[0] == 404


async def test_disabled_secret_is_refused_with_error_of_azure(world: Any, token: str) -> None:
    hidden = {"value": "v", "attributes": {"enabled": False, "exp": 99, "nbf": 9}}
    _, made, _ = await world.send("PUT", GREETING, token=token, body=hidden)
    assert {name: made["attributes"][name] for name in ("enabled", "exp", "nbf")} == {
        "enabled": False,
        "exp": 99,
        "nbf": 9,
    }
    status, body, _ = await world.send("GET", GREETING, token=token)
    assert (status, body["error"]["code"]) == (403, "Forbidden")
    assert body["error"]["innererror"] == {"code": "SecretDisabled"}


async def test_expired_secret_is_readable(world: Any, token: str) -> None:
    await world.send("PUT", GREETING, token=token, body={"value": "v", "attributes": {"exp": 1}})
    assert (await world.send("GET", GREETING, token=token))[0] == 200


@pytest.mark.parametrize("skip", ["x", "!!", "L2V0Yy9wYXNzd2Q", "4oKs"])
async def test_forged_skiptoken_is_refused(world: Any, token: str, skip: str) -> None:
    for path in ("/secrets", "/secrets/a/versions"):
        where = f"{path}?api-version=7.4&$skiptoken={skip}"
        status, body, _ = await world.send("GET", where, token=token)
        assert (status, body["error"]["code"]) == (400, "BadParameter")


@pytest.mark.parametrize("count", ["0", "26", "-1", "x", "9" * 30, "٣", f"{1999:012}", "05"])
async def test_page_size_out_of_range_is_refused(world: Any, token: str, count: str) -> None:
    path = f"/secrets?api-version=7.4&maxresults={quote(count)}"
    assert (await world.send("GET", path, token=token))[0] == 400


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/storage", 501, "NotImplemented"),
        ("GET", "/keys/x/versions/more", 404, "NotFound"),
        ("POST", "/secrets/x/backup", 404, "SecretNotFound"),
        ("POST", "/secrets/restore", 400, "BadParameter"),
        ("POST", "/secrets/other", 405, "MethodNotAllowed"),
        ("GET", "/secrets/x/backup", 405, "MethodNotAllowed"),
        ("GET", "/deletedsecrets/x", 404, "SecretNotFound"),
        ("DELETE", "/deletedsecrets/x", 404, "SecretNotFound"),
        ("POST", "/deletedsecrets/x/recover", 404, "SecretNotFound"),
        ("POST", "/deletedsecrets/x/backup", 404, "NotFound"),
        ("DELETE", "/deletedsecrets", 405, "MethodNotAllowed"),
        ("POST", "/secrets", 405, "MethodNotAllowed"),
        ("PUT", "/secrets/a/00000000000000000000000000000000", 405, "MethodNotAllowed"),
        ("GET", "/secrets/a/not-a-version", 400, "BadParameter"),
        ("GET", "/secrets/a/00000000000000000000000000000000", 404, "SecretNotFound"),
        ("PATCH", "/secrets/a", 404, "SecretNotFound"),
        ("DELETE", "/secrets/a", 404, "SecretNotFound"),
        ("GET", "/", 404, "NotFound"),
        ("GET", "/elsewhere", 404, "NotFound"),
        ("GET", "/secrets/a/versions/b", 404, "NotFound"),
        ("GET", "/secrets//versions", 400, "BadParameter"),
    ],
)
async def test_missing_object_and_missing_path_have_different_errors(
    world: Any, token: str, method: str, path: str, status: int, code: str
) -> None:
    body: dict[str, str] | None = {} if method == "PATCH" else None
    got, answer, _ = await world.send(method, f"{path}?api-version=7.4", token=token, body=body)
    assert (got, answer["error"]["code"]) == (status, code)


async def test_missing_secret_has_an_empty_list_of_versions(world: Any, token: str) -> None:
    path = "/secrets/never/versions?api-version=7.4"
    status, answer, _ = await world.send("GET", path, token=token)
    assert (status, answer) == (200, {"value": [], "nextLink": None})


async def test_request_id_of_caller_is_echoed_and_logged(
    world: Any, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "podpass")
    _, _, headers = await world.send(
        "GET", GREETING, token=token, headers={"x-ms-client-request-id": "abc-123"}
    )
    assert headers["x-ms-client-request-id"] == "abc-123"
    assert headers["x-ms-request-id"]
    record = next(r for r in caplog.records if r.message == "vault_request_answered")
    facts = vars(record)
    assert (facts["stage"], facts["vault"], facts["outcome"]) == (
        "resource",
        "demo-vault",
        "secret_not_found",
    )
    assert facts["client_id"] == world.identities["officer"].client_id
    assert facts["asked"] == "get secret greeting in vault demo-vault"


@pytest.mark.parametrize("given", ["a b", "x" * 65, "a;b", "é"])
async def test_invalid_request_id_is_not_echoed(world: Any, given: str) -> None:
    _, _, headers = await world.send("GET", GREETING, headers={"x-ms-client-request-id": given})
    assert "x-ms-client-request-id" not in headers


async def test_log_has_no_token_and_no_value(
    world: Any, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "podpass")
    await world.send("PUT", GREETING, token=token, body={"value": "the-value"})
    await world.send("GET", GREETING, token=token + "x")
    await world.send("PUT", GREETING, token=token, body={"value": ["the-value"]})
    said = " ".join(str(vars(record)) for record in caplog.records)
    assert "vault_request_answered" in said
    assert "the-value" not in said
    assert token not in said
    assert token.split(".")[2] not in said


async def test_unsupported_method_gets_405_with_supported_methods(world: Any, token: str) -> None:
    for path, allowed in (("/secrets/a", "DELETE, GET, PATCH, PUT"), ("/secrets", "GET")):
        status, _, headers = await world.send("TRACE", f"{path}?api-version=7.4", token=token)
        assert (status, headers["Allow"]) == (405, allowed)


@pytest.mark.parametrize("value", ['"\\ud800"', '"a\\udc00b"'])
async def test_value_with_invalid_unicode_is_refused(world: Any, token: str, value: str) -> None:
    """Half a surrogate pair is valid JSON, but cannot be encoded as UTF-8."""
    body = f'{{"value":{value}}}'.encode()
    status, answer, _ = await world.send("PUT", GREETING, token=token, body=body)
    assert (status, answer["error"]["code"]) == (400, "BadParameter")
    for described in (f'{{"contentType":{value}}}', f'{{"tags":{{"a":{value}}}}}'):
        status, _, _ = await world.send("PATCH", GREETING, token=token, body=described.encode())
        assert status == 400
