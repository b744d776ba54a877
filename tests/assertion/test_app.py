"""The two public documents of the issuer."""

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme

from podpass.assertion.app import create_app
from podpass.assertion.keys import KeyRing
from podpass.crypto import jose
from podpass.http import server
from podpass.kubernetes.service_account import discovery

ISSUER = "https://eastus.oic.test/11111111/22222222/"
PATH = "/11111111/22222222"
Ask = Callable[..., Awaitable[tuple[int, bytes, dict[str, str]]]]


@pytest.fixture
async def get_document(ring: KeyRing, tmp_path: Path) -> AsyncIterator[Ask]:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(tls)
    sock = server.bind("127.0.0.1", 0)
    url = f"https://localhost:{sock.getsockname()[1]}"
    trust = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    connector = aiohttp.TCPConnector(ssl=trust)
    async with (
        server.serving(create_app(ISSUER, ring), sock, tls),
        aiohttp.ClientSession(connector=connector) as session,
    ):

        async def send(
            path: str, method: str = "GET", **headers: str
        ) -> tuple[int, bytes, dict[str, str]]:
            async with session.request(method, url + path, headers=headers) as answer:
                return answer.status, await answer.read(), dict(answer.headers)

        yield send


async def test_discovery_document_has_the_exact_issuer(get_document: Ask) -> None:
    status, body, headers = await get_document(PATH + "/.well-known/openid-configuration")
    assert status == 200
    assert headers["Content-Type"] == "application/json"
    assert headers["Cache-Control"] == "public, max-age=300"
    assert json.loads(body) == {
        "issuer": ISSUER,
        "jwks_uri": "https://eastus.oic.test/11111111/22222222/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
    }


async def test_jwks_has_the_new_key_immediately_after_rotation(
    get_document: Ask, ring: KeyRing
) -> None:
    old = ring.active
    token = jose.parse(old.sign({}))
    ring.rotate()
    status, body, headers = await get_document(PATH + "/openid/v1/jwks")
    keys = jose.load_jwks(json.loads(body))
    assert (status, headers["Content-Type"]) == (200, "application/jwk-set+json")
    assert [key.kid for key in keys] == [ring.active.kid, old.kid]
    jose.verify(token, keys[1])
    first: dict[str, Any] = json.loads(body)["keys"][0]
    assert list(first) == ["use", "kty", "kid", "alg", "n", "e"]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/.well-known/openid-configuration",
        "/openid/v1/jwks",
        PATH,
        PATH + "/.well-known/openid-configuration/",
        PATH + "/openid/v1/jwks/../jwks2",
        PATH + "/keys/000001.pem",
    ],
)
async def test_other_issuer_paths_are_not_found(get_document: Ask, path: str) -> None:
    status, body, _ = await get_document(path)
    assert (status, body) == (404, b'{"error":"not found"}')


async def test_only_get_and_head_are_allowed(get_document: Ask) -> None:
    assert (await get_document(PATH + "/openid/v1/jwks", "HEAD"))[:2] == (200, b"")
    for method in ("POST", "PUT", "DELETE"):
        status, _, headers = await get_document(PATH + "/openid/v1/jwks", method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_trailing_slash_of_issuer_does_not_change_document_urls() -> None:
    for issuer in ("https://a.test/x", "https://a.test/x/"):
        assert discovery.discovery_document(issuer)["issuer"] == issuer
        assert discovery.discovery_document(issuer)["jwks_uri"] == "https://a.test/x/openid/v1/jwks"


@pytest.mark.parametrize(
    ("path", "accepted", "refused"),
    [
        ("/.well-known/openid-configuration", "application/json", "application/jwk-set+json"),
        ("/openid/v1/jwks", "application/jwk-set+json", "application/json"),
    ],
    ids=["document", "keys"],
)
async def test_document_is_served_only_with_the_media_type_of_an_api_server(
    get_document: Ask, path: str, accepted: str, refused: str
) -> None:
    for accept in (accepted, "*/*", f"{refused}, {accepted};q=0.5"):
        assert (await get_document(PATH + path, accept=accept))[0] == 200
    for accept in (refused, "application/*", "text/html"):
        status, body, _ = await get_document(PATH + path, accept=accept)
        assert (status, accepted in body.decode()) == (406, True)
