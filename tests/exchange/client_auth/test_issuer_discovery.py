"""Discovery documents and keys of issuers: which are valid, and when they are fetched."""

import asyncio
from typing import Any

import pytest

from podpass.crypto import jose
from podpass.exchange.client_auth.issuer_discovery import (
    ClusterIssuer,
    IssuerUnavailable,
    check_document,
    fetch_keys,
)
from podpass.exchange.errors.issuer_reasons import REASONS
from tests.exchange.fake_issuers import ISSUER, JWKS, KEY, FakeIssuers
from tests.exchange.world import World

DOCUMENT = f"{ISSUER}.well-known/openid-configuration"
DISCOVERY = "/11111111/22222222/.well-known/openid-configuration"
KEYS = "/11111111/22222222/openid/v1/jwks"


@pytest.fixture
def web() -> FakeIssuers:
    return FakeIssuers()


async def test_all_keys_with_one_id_are_returned_and_keys_without_id_are_not(
    web: FakeIssuers,
) -> None:
    nameless = {name: value for name, value in KEY.items() if name != "kid"}
    web.documents[JWKS] = {"keys": [KEY, {**KEY, "alg": "RS512"}, nameless]}
    keys = await fetch_keys(web, ISSUER, ())
    assert {kid: len(found) for kid, found in keys.items()} == {"first": 2}


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": ISSUER},
        {"issuer": ISSUER, "jwks_uri": 5},
        {"issuer": ISSUER, "jwks_uri": ["https://oidc.test/"]},
        {"jwks_uri": JWKS},
        *({"issuer": ISSUER + each, "jwks_uri": JWKS} for each in ("x", "/")),
        *(
            {"issuer": each, "jwks_uri": JWKS}
            for each in ("https://oidc.test/x", "https://oidc.test/", None, "")
        ),
        {"issuer": "https://OIDC.test/x/", "jwks_uri": JWKS},
        {"issuer": "https://oidc.test:443/x/", "jwks_uri": JWKS},
        {"issuer": [ISSUER], "jwks_uri": JWKS},
        {"issuer": ISSUER, "jwks_uri": "https://evil.test/"},
        {"issuer": ISSUER, "jwks_uri": "https://oidc.test.evil.test/"},
        {"issuer": ISSUER, "jwks_uri": "https://oidc.test@evil.test/"},
        {"issuer": ISSUER, "jwks_uri": "http://oidc.test/keys"},
        {"issuer": ISSUER, "jwks_uri": "https://oidc.test:8443/keys"},
        {"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"},
        {"issuer": ISSUER, "jwks_uri": "https://[::1"},
        {"issuer": ISSUER, "jwks_uri": JWKS, "authorization_endpoint": ""},
        {"issuer": ISSUER, "jwks_uri": JWKS, "subject_types_supported": []},
    ],
)
def test_discovery_document_for_another_issuer_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(IssuerUnavailable):
        check_document(document, ISSUER, ("https://keys.test",))


@pytest.mark.parametrize("where", [JWKS, "https://oidc.test:443/k", "https://keys.test/certs"])
def test_jwks_may_be_at_the_issuer_or_a_configured_origin(where: str) -> None:
    check_document({"issuer": ISSUER, "jwks_uri": where}, ISSUER, ("https://keys.test",))


OF_NODE = "https://192.168.1.10:6443/openid/v1/jwks"


@pytest.mark.parametrize(
    ("cluster", "origin"),
    [
        (ClusterIssuer(issuer=ISSUER), "https://oidc.test"),
        (ClusterIssuer(issuer=ISSUER, server="https://10.0.0.1:6443"), "https://10.0.0.1:6443"),
    ],
    ids=["own-origin", "server"],
)
async def test_keys_of_the_cluster_come_from_the_fixed_path_of_its_api_server(
    web: FakeIssuers, cluster: ClusterIssuer, origin: str
) -> None:
    web.documents = {
        f"{origin}/.well-known/openid-configuration": {"issuer": ISSUER, "jwks_uri": OF_NODE},
        f"{origin}/openid/v1/jwks": {"keys": [KEY]},
    }
    assert list(await fetch_keys(web, ISSUER, (), cluster)) == ["first"]
    assert web.asked == list(web.documents)


async def test_jwks_uri_of_a_node_is_refused_for_other_issuers(web: FakeIssuers) -> None:
    web.documents[DOCUMENT] = {"issuer": ISSUER, "jwks_uri": OF_NODE}
    for other in (None, ClusterIssuer(issuer=ISSUER.removesuffix("/"))):
        with pytest.raises(IssuerUnavailable) as caught:
            await fetch_keys(web, ISSUER, (), other)
        assert caught.value.facts["reason"] == "jwks_origin"
    assert set(web.asked) == {DOCUMENT}


async def test_document_of_the_cluster_must_name_its_issuer(web: FakeIssuers) -> None:
    cluster = ClusterIssuer(issuer=ISSUER)
    web.documents[cluster.document_url] = {"issuer": ISSUER.removesuffix("/")}
    with pytest.raises(IssuerUnavailable) as caught:
        await fetch_keys(web, ISSUER, (), cluster)
    assert caught.value.facts["reason"] == "issuer_mismatch"
    assert web.asked == [cluster.document_url]


async def test_issuer_without_credential_is_never_contacted(world: World) -> None:
    """A caller must not be able to choose a URL that the service fetches."""
    for issuer in ("https://eastus.oic.test/evil/", world.ISSUER.removesuffix("/")):
        answer = await world.present(world.mint(iss=issuer))
        assert answer.code == 700211
    for token in (world.mint(aud="x"), world.mint(sub="x")):
        await world.present(token)
    assert world.site.hits == []


async def test_new_issuer_key_works_and_removed_key_does_not(world: World) -> None:
    old = world.mint()
    assert (await world.present(old)).status == 200
    old_kid = world.ring.active.kid
    world.ring.rotate()
    world.now += 30
    assert (await world.present(world.mint())).status == 200
    assert (await world.present(old)).status == 200
    world.ring.retire(old_kid)
    world.now += 300
    answer = await world.present(old)
    assert answer.code == 7000272
    assert jose.b64decode(old_kid).hex().upper() in answer.body["error_description"]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"<html>", "not_json"),
        (b"{}", "issuer_mismatch"),
        (
            b'{"issuer":"https://eastus.oic.test/11111111/22222222","jwks_uri":"https://eastus.oic.test/k"}',
            "issuer_mismatch",
        ),
        (
            b'{"issuer":"https://eastus.oic.test/11111111/22222222/","jwks_uri":"https://evil.test/k"}',
            "jwks_origin",
        ),
        (
            b'{"issuer":"https://eastus.oic.test/11111111/22222222/","jwks_uri":"https://127.0.0.1/k"}',
            "jwks_origin",
        ),
    ],
    ids=["html", "empty", "slash", "evil", "loopback"],
)
async def test_invalid_document_fails_with_the_reason_and_no_text_of_the_issuer(
    world: World, document: bytes, reason: str
) -> None:
    world.site.answers[DISCOVERY] = (200, document, {})
    answer = await world.request_token()
    assert (answer.status, answer.code) == (400, 501661)
    problem, resolution = REASONS[reason]
    assert answer.body["error_description"].startswith(
        "AADSTS501661: The request to the external OIDC endpoint failed: "
        f"{problem} ({reason}); {resolution}. Trace"
    )
    for secret in ("eastus", "evil", "127.0.0.1"):
        assert secret not in answer.body["error_description"]


async def test_flood_of_forged_key_ids_causes_one_fetch(world: World) -> None:
    await world.request_token()
    world.now += 30
    tokens = [world.mint({"kid": f"k{n}"}) for n in range(40)]
    answers = await asyncio.gather(*(world.present(token) for token in tokens))
    assert {answer.code for answer in answers} == {7000272}
    assert world.site.hits == [DISCOVERY, KEYS] * 2
