"""Metadata documents that clients read before and after a token request."""

from dataclasses import replace
from typing import Any

import pytest

from podpass.crypto import jose
from tests.exchange.world import Answer, World

pytestmark = pytest.mark.asyncio(loop_scope="module")
UNKNOWN = "99999999-9999-4999-8999-999999999999"


async def get(world: World, path: str, **headers: str) -> Answer:
    return await world.send(path, method="GET", headers=headers)


async def test_v2_document_has_every_member_that_clients_read(shared: World) -> None:
    answer = await get(shared, f"/{shared.TENANT}/v2.0/.well-known/openid-configuration?")
    body, base = answer.body, f"{shared.url}/{shared.TENANT}"
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "max-age=86400, private"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert body["issuer"] == f"{base}/v2.0"
    assert body["token_endpoint"] == f"{base}/oauth2/v2.0/token"
    assert body["jwks_uri"] == f"{base}/discovery/v2.0/keys"
    assert body["authorization_endpoint"] == f"{base}/oauth2/v2.0/authorize"
    assert body["token_endpoint_auth_methods_supported"] == [
        "client_secret_post",
        "private_key_jwt",
        "client_secret_basic",
    ]
    assert body["cloud_instance_name"] == "microsoftonline.com"
    assert body["tenant_region_scope"] is None


async def test_documents_name_the_userinfo_endpoint_only_where_graph_is_served(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [f"/{shared.TENANT}{v}/.well-known/openid-configuration" for v in ("", "/v2.0")]
    for path in paths:
        assert "userinfo_endpoint" not in (await get(shared, path)).body
    settings = replace(shared.app._settings, graph_origin="https://graph.test:8444")
    monkeypatch.setattr(shared.app, "_settings", settings)
    for path in paths:
        for host, graph in (
            ("", "https://graph.test:8444"),
            # Clients that use Microsoft's names get Microsoft's name of Graph.
            ("login.microsoftonline.com", "https://graph.microsoft.com"),
            ("login.windows.net", "https://graph.microsoft.com"),
        ):
            answer = await get(shared, path, **({"Host": host} if host else {}))
            assert answer.body["userinfo_endpoint"] == f"{graph}/oidc/userinfo"


async def test_v1_document_has_the_issuer_of_v1_tokens(shared: World) -> None:
    body = (await get(shared, f"/{shared.TENANT}/.well-known/openid-configuration")).body
    assert body["issuer"] == f"https://sts.windows.net/{shared.TENANT}/"
    assert body["token_endpoint"] == f"{shared.url}/{shared.TENANT}/oauth2/token"
    assert body["jwks_uri"] == f"{shared.url}/{shared.TENANT}/discovery/keys"


@pytest.mark.parametrize("name", ["contoso.test", "CONTOSO.TEST", "{0}"])
async def test_document_requested_by_domain_has_the_tenant_id(shared: World, name: str) -> None:
    path = f"/{name.format(shared.TENANT.upper())}/V2.0/.well-known/OpenID-Configuration"
    body = (await get(shared, path)).body
    assert body["issuer"] == f"{shared.url}/{shared.TENANT}/v2.0"
    assert body["token_endpoint"] == f"{shared.url}/{shared.TENANT}/oauth2/v2.0/token"


@pytest.mark.parametrize("name", ["common", "organizations", "Common"])
async def test_documents_for_any_tenant_have_an_issuer_template(shared: World, name: str) -> None:
    body = (await get(shared, f"/{name}/v2.0/.well-known/openid-configuration")).body
    assert body["issuer"] == shared.url + "/{tenantid}/v2.0"
    assert body["token_endpoint"] == f"{shared.url}/{name.lower()}/oauth2/v2.0/token"
    keys = (await get(shared, f"/{name}/discovery/v2.0/keys")).body["keys"]
    assert keys[0]["issuer"] == shared.url + "/{tenantid}/v2.0"


async def test_unknown_tenant_has_no_documents(shared: World) -> None:
    for tail in ("v2.0/.well-known/openid-configuration", "discovery/v2.0/keys"):
        answer = await get(shared, f"/{UNKNOWN}/{tail}")
        assert (answer.status, answer.body["error"], answer.code) == (400, "invalid_tenant", 90002)
        assert answer.headers["Cache-Control"] == "no-store"


async def test_published_keys_verify_tokens(shared: World) -> None:
    token = jose.parse((await shared.request_token()).body["access_token"])
    for path in ("discovery/v2.0/keys", "discovery/keys"):
        document = (await get(shared, f"/{shared.TENANT}/{path}")).body
        assert len(document["keys"]) == 2
        key = next(each for each in jose.load_jwks(document) if each.kid == token.kid)
        jose.verify(token, key)
        first: dict[str, Any] = document["keys"][0]
        assert first["kid"] == first["x5t"] == shared.keys.active.kid
        assert "alg" not in first
        assert "d" not in first
        assert first["x5c"][0].startswith("MII")


ASKED = "/common/discovery/instance?api-version={}&authorization_endpoint={}"


@pytest.mark.parametrize(
    ("version", "endpoint", "document"),
    [
        (
            "1.1",
            "https://login.microsoftonline.com/contoso.test/oauth2/v2.0/authorize",
            "https://login.microsoftonline.com/contoso.test/v2.0/.well-known/openid-configuration",
        ),
        (
            "1.0",
            "https://login.microsoftonline.com/common/oauth2/authorize",
            "https://login.microsoftonline.com/common/.well-known/openid-configuration",
        ),
        (
            "1.1",
            "https://login.windows.net/t/oauth2/v2.0/authorize",
            "https://login.windows.net/t/v2.0/.well-known/openid-configuration",
        ),
        ("1.1", "{url}/t/oauth2/v2.0/authorize", "{url}/t/v2.0/.well-known/openid-configuration"),
        (
            "1.0",
            "https://localhost/t/oauth2/v2.0/authorize",
            "{url}/t/v2.0/.well-known/openid-configuration",
        ),
    ],
)
async def test_instance_discovery_returns_the_document_url(
    shared: World, version: str, endpoint: str, document: str
) -> None:
    answer = await get(shared, ASKED.format(version, endpoint.format(url=shared.url)))
    assert answer.body["tenant_discovery_endpoint"] == document.format(url=shared.url)
    assert answer.body["api-version"] == version
    assert answer.body["metadata"][0]["aliases"] == [
        "login.microsoftonline.com",
        "login.microsoft.com",
        "login.windows.net",
        "sts.windows.net",
    ]


async def test_documents_are_read_only(shared: World) -> None:
    path = f"/{shared.TENANT}/discovery/v2.0/keys"
    answer = await shared.send(path, method="POST")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
