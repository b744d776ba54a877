"""Keys of an API server as the token service fetches them, and the media types of both documents."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from podpass.crypto import jose
from podpass.exchange.client_auth.issuer_discovery import ClusterIssuer, fetch_keys
from podpass.http.fetcher import Fetcher, FetchError, FetchRules
from tests.control_plane.contract.api import Api
from tests.control_plane.plane import ISSUER

DOCUMENT, KEYS = "/.well-known/openid-configuration", "/openid/v1/jwks"
JWK_SET = "application/jwk-set+json"


@pytest.mark.parametrize(
    ("accept", "document", "keys"),
    [
        ("application/json", 200, 406),
        (JWK_SET, 406, 200),
        (f"{JWK_SET}, application/json", 200, 200),
        ("*/*", 200, 200),
        ("text/html, */*;q=0.1", 200, 200),
        (f"{JWK_SET};q=0, application/json;q=0", 200, 200),
        ("application/*", 406, 406),
        ("Application/JSON", 406, 406),
        ("text/html", 406, 406),
    ],
)
async def test_documents_are_served_as_one_media_type(
    api: Api, accept: str, document: int, keys: int
) -> None:
    assert (await api.call("GET", DOCUMENT, accept=accept)).status == document
    found = await api.call("GET", KEYS, accept=accept)
    assert found.status == keys
    if keys == 200:
        assert found.headers["content-type"] == JWK_SET


async def _token(api: Api) -> str:
    path = api.path("serviceaccounts", "default", "token")
    reply: Any = await api.call("POST", path, {"spec": {}})
    return str(reply.body["status"]["token"])


async def test_token_of_any_account_reads_the_keys_of_an_issuer_that_does_not_resolve(
    api: Api, tmp_path: Path
) -> None:
    token = await _token(api)
    (tmp_path / "token").write_text(token)
    anonymous = ClusterIssuer(issuer=ISSUER, server=api.server.url, ca_file=api.server.ca_file)
    cluster = replace(anonymous, token_file=tmp_path / "token")
    keys = await fetch_keys(Fetcher(FetchRules(trusted=cluster.trusted)), ISSUER, (), cluster)
    assert jose.parse(token).header["kid"] in keys
    with pytest.raises(FetchError) as caught:
        await fetch_keys(Fetcher(FetchRules(trusted=anonymous.trusted)), ISSUER, (), cluster)
    assert caught.value.facts["http_status"] in (401, 403)
