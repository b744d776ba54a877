"""Published vulnerabilities of other projects. Those that belong to a group are in the group's file."""

from typing import Any

import pytest

from podpass.crypto import jose
from tests.exchange.attacks.forge import DISCOVERY_PATH, build_token, valid_parts
from tests.exchange.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_keys_and_urls_in_the_header_are_ignored(fresh: World) -> None:
    """Authlib CVE-2026-27962 and similar: a token that contains its own verification key."""
    foreign = jose.SigningKey(kid="foreign", key=jose.generate_rsa())
    jwk = jose.rsa_jwk(foreign.key.public_key(), "foreign")
    _, claims = valid_parts(fresh)
    for extra in (
        {"jwk": jwk},
        {"jku": fresh.ISSUER + "openid/v1/jwks"},
        {"jku": "https://evil.test/jwks"},
        {"x5u": "https://evil.test/"},
        {"x5c": ["MIIB"]},
        {"x5c": [[]], "x5t": "AAAA", "x5t#S256": "AAAA"},
        {"iss": "https://evil.test/", "aud": "x"},
    ):
        token = foreign.sign(claims, extra)
        assert (await fresh.present(token)).code == 7000272
        token = foreign.sign(claims, {**extra, "kid": fresh.ring.active.kid})
        assert (await fresh.present(token)).code == 7000274
    assert {path.rpartition("/")[2] for path in fresh.site.hits} <= {"openid-configuration", "jwks"}


@pytest.mark.parametrize(
    "extra",
    [
        *({"crit": ["x"]}, {"crit": ["exp"], "exp": 1}, {"crit": []}, {"crit": None}),
        *({"crit": "alg"}, {"crit": ["alg"]}, {"crit": ["b64"], "b64": False}),
        *({"b64": False}, {"b64": True}),
    ],
)
async def test_critical_extensions_are_refused(fresh: World, extra: dict[str, Any]) -> None:
    """PyJWT CVE-2026-32597, Authlib CVE-2025-59420: unknown critical extensions are not ignored."""
    assert (await fresh.present(fresh.mint(extra))).code == 50027


async def test_crit_in_the_claims_is_an_ordinary_claim(fresh: World) -> None:
    assert (await fresh.present(fresh.mint(crit=["x"]))).status == 200


async def test_empty_signature_is_refused_for_every_algorithm(fresh: World) -> None:
    """Authlib 104056 and others."""
    header, claims = valid_parts(fresh)
    for alg, code in (
        ("RS256", 7000274),
        ("RS384", 7000274),
        ("ES256", 5002738),
        ("HS256", 5002738),
    ):
        unsigned = (
            build_token(fresh, {**header, "alg": alg}, claims, b"\0").rpartition(".")[0] + "."
        )
        assert (await fresh.present(unsigned)).code == code


@pytest.mark.parametrize(
    "where",
    [
        *("https://evil.test/keys", "http://eastus.oic.test/keys"),
        *("https://eastus.oic.test:8443/keys", "https://eastus.oic.test.evil.test/keys"),
        *("https://eastus.oic.test@evil.test/keys", "https://169.254.169.254/keys"),
        *("file:///etc/passwd", "ftp://eastus.oic.test/keys", "data:application/json,{}"),
        *("//evil.test/keys", "/11111111/22222222/openid/v1/jwks", ""),
    ],
)
async def test_jwks_uri_on_another_origin_is_refused(fresh: World, where: str) -> None:
    """Authlib 96760, PyJWT 102267: keys are fetched from the issuer's own origin over https."""
    body = jose.dumps({"issuer": fresh.ISSUER, "jwks_uri": where})
    fresh.site.answers[DISCOVERY_PATH] = (200, body, {})
    answer = await fresh.request_token()
    assert (answer.status, answer.code) == (400, 501661)
    assert fresh.site.hits == [DISCOVERY_PATH]


async def test_every_grant_requires_client_authentication(fresh: World) -> None:
    """Dex GHSA-7qjx-gp9h-65qj: one grant did not check the allowed clients."""
    device = "urn:ietf:params:oauth:grant-type:device_code"
    proofs: list[dict[str, str]] = [
        {},
        {"client_secret": "x"},
        {"client_assertion": "a.b.c", "client_assertion_type": "x"},
    ]
    for grant in ("client_credentials", "password", "refresh_token", "authorization_code", device):
        for proof in proofs:
            answer = await fresh.post(
                f"/{fresh.TENANT}/oauth2/v2.0/token",
                grant_type=grant,
                client_id=fresh.CLIENT,
                scope="https://vault.azure.net/.default",
                username=fresh.ADMIN,
                password=fresh.PASSWORD,
                refresh_token="x",
                code="x",
                device_code="x",
                redirect_uri="http://localhost",
                **proof,
            )
            assert answer.status in {400, 401}
            assert "access_token" not in answer.body
