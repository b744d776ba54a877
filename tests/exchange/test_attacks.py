"""Assertions that an attacker would send, each over the wire: none may become a token."""

import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from podpass import jose

if TYPE_CHECKING:
    from exchange.world import World


pytestmark = pytest.mark.asyncio(loop_scope="module")


def raw(shared: "World", header: object, claims: object, signature: bytes = b"") -> str:
    """Put a token together from any JSON, signed by the active key if there is no signature."""
    parts = [
        jose.b64encode(part if isinstance(part, bytes) else json.dumps(part).encode())
        for part in (header, claims)
    ]
    text = ".".join(parts)
    key = shared.ring.active.key
    made = signature or key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{jose.b64encode(made)}"


def good(shared: "World", **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give header and claims of a token that would be accepted, changed."""
    token = jose.parse(shared.mint(**changes))
    return dict(token.header), dict(token.claims)


@pytest.mark.parametrize(
    "alg",
    ["none", "None", "NONE", "nOnE", "", None, [], ["RS256"], {}, "rs256", "RS256 ", "ES256", 1],
)
async def test_no_algorithm_but_ours_is_read(shared: "World", alg: object) -> None:
    header, claims = good(shared)
    for signature in (b"", b"\0"):
        token = raw(shared, {**header, "alg": alg}, claims, signature)
        assert (await shared.ask(client_assertion=token)).code == 5002738


async def test_a_token_without_signature_is_refused(shared: "World") -> None:
    unsigned = shared.mint().rpartition(".")[0] + "."
    assert (await shared.ask(client_assertion=unsigned)).code == 7000274


async def test_the_public_key_is_no_secret_to_sign_with(shared: "World") -> None:
    public = shared.ring.active.key.public_key()
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    pem = public.public_bytes(serialization.Encoding.PEM, spki)
    header, claims = good(shared)
    for secret in (pem, pem.strip(), public.public_bytes(serialization.Encoding.DER, spki)):
        for alg, expected in (("HS256", 5002738), ("RS256", 7000274)):
            mac = hmac.HMAC(secret, hashes.SHA256())
            text = raw(shared, {**header, "alg": alg}, claims).rpartition(".")[0]
            mac.update(text.encode())
            token = f"{text}.{jose.b64encode(mac.finalize())}"
            assert (await shared.ask(client_assertion=token)).code == expected


async def test_keys_and_addresses_in_the_header_are_not_used(shared: "World") -> None:
    stranger = jose.SigningKey(kid="stranger", key=jose.generate_rsa())
    jwk = jose.rsa_jwk(stranger.key.public_key(), "stranger")
    _, claims = good(shared)
    for extra in (
        {"jwk": jwk},
        {"jku": shared.ISSUER + "openid/v1/jwks"},
        {"x5u": "https://evil.test/"},
    ):
        token = stranger.sign(claims, extra)
        assert (await shared.ask(client_assertion=token)).code == 7000272
        token = stranger.sign(claims, {**extra, "kid": shared.ring.active.kid})
        assert (await shared.ask(client_assertion=token)).code == 7000274


@pytest.mark.parametrize("extra", [{"crit": ["x"]}, {"crit": []}, {"b64": False}])
async def test_critical_extensions_are_refused(shared: "World", extra: dict[str, Any]) -> None:
    assert (await shared.ask(client_assertion=shared.mint(extra))).code == 50027


async def test_a_member_that_stands_twice_is_refused(shared: "World") -> None:
    header, claims = good(shared)
    twice = json.dumps(claims)[:-1] + f',"sub":"{claims["sub"]}"}}'
    assert (await shared.ask(client_assertion=raw(shared, header, twice.encode()))).code == 50027
    head = json.dumps(header)[:-1] + ',"alg":"RS256"}'
    assert (await shared.ask(client_assertion=raw(shared, head.encode(), claims))).code == 50027


@pytest.mark.parametrize(
    "token",
    [
        "a",
        "a.b",
        "a.b.c.d",
        "a.b.c.d.e",
        "." * 20_000,
        "..",
        "\0.\0.\0",
        "a b.c.d",
        "=.=.=",
        "{}",
        '{"payload":"","signatures":[]}',
        "x" * 30_000,
    ],
)
async def test_what_is_no_token_is_malformed(shared: "World", token: str) -> None:
    assert (await shared.ask(client_assertion=token)).code == 50027


@pytest.mark.parametrize("sign", ["=", "%3D", "+", "/", "\u0430", "\ufeff", "\r\nX: y"])
async def test_a_token_has_one_spelling(shared: "World", sign: str) -> None:
    token = shared.mint()
    head, body, tail = token.split(".")
    for changed in (
        f"{head}{sign}.{body}.{tail}",
        f"{head}.{body}{sign}.{tail}",
        f"{token}{sign}x",
    ):
        assert (await shared.ask(client_assertion=changed)).code in {50027, 7000274}


@pytest.mark.parametrize(
    "payload", [b"[]", b"null", b"", b"\xef\xbb\xbf{}", b"\xff", b'{"a":1e400}', b'{"a":' * 3000]
)
async def test_claims_that_are_no_object_are_malformed(shared: "World", payload: bytes) -> None:
    header, _ = good(shared)
    assert (await shared.ask(client_assertion=raw(shared, header, payload))).code == 50027


@pytest.mark.parametrize(
    ("kid", "code"),
    [
        ("../../etc/passwd", 7000272),
        ("' or 1=1 --", 7000272),
        ("a\nlevel=error", 7000272),
        ("", 5002723),
        (5, 5002723),
        (["x"], 5002723),
        (None, 5002723),
        ("x" * 3000, 7000272),
        ("x" * 9000, 50027),
    ],
)
async def test_a_key_id_is_nothing_but_a_name(shared: "World", kid: object, code: int) -> None:
    header, claims = good(shared)
    answer = await shared.ask(client_assertion=raw(shared, {**header, "kid": kid}, claims))
    assert answer.code == code
    assert "\n" not in answer.body["error_description"]


@pytest.mark.parametrize("typ", ["at+jwt", "JWE", "dpop+jwt", 5, None, ["JWT"], ""])
async def test_a_token_of_another_type_is_no_assertion(shared: "World", typ: object) -> None:
    assert (await shared.ask(client_assertion=shared.mint({"typ": typ}))).code == 5002727


@pytest.mark.parametrize("typ", ["JWT", "jwt", "http://openid.net/specs/jwt/1.0"])
async def test_the_types_that_entra_takes_are_taken(shared: "World", typ: str) -> None:
    assert (await shared.ask(client_assertion=shared.mint({"typ": typ}))).status == 200


async def test_our_own_access_token_is_no_assertion(shared: "World") -> None:
    """Nor is one that an attacker's tenant makes for the exchange's audience."""
    access_token = (await shared.ask()).body["access_token"]
    assert (await shared.ask(client_assertion=access_token)).code == 700222
    for origin in (shared.url, "https://login.microsoftonline.com"):
        own = shared.mint(iss=f"{origin}/{shared.TENANT}/v2.0")
        assert (await shared.ask(client_assertion=own)).code == 700222


@pytest.mark.parametrize(
    "aud",
    [
        "api://AzureADTokenExchange",
        ["api://AzureADTokenExchange"],
        ["a", "api://AzureADTokenExchange"],
    ],
)
async def test_an_audience_is_a_text_or_a_list_with_it(shared: "World", aud: object) -> None:
    assert (await shared.ask(client_assertion=shared.mint(aud=aud))).status == 200


@pytest.mark.parametrize(
    ("aud", "code"),
    [
        ("api://azureadtokenexchange", 700212),
        ("api://AzureADTokenExchange/", 700212),
        (" api://AzureADTokenExchange", 700212),
        ("api://AzureADTokenExchangeUSGov", 700212),
        (["a", "b"], 700212),
        ("", 90014),
        ([], 90014),
        ([[]], 90014),
        ([""], 90014),
        ({"api://AzureADTokenExchange": 1}, 90014),
        ([["api://AzureADTokenExchange"]], 90014),
        (5, 90014),
    ],
)
async def test_any_other_audience_is_not_ours(shared: "World", aud: object, code: int) -> None:
    assert (await shared.ask(client_assertion=shared.mint(aud=aud))).code == code


@pytest.mark.parametrize(
    ("iss", "code"),
    [
        (["https://eastus.oic.test/11111111/22222222/"], 90014),
        ("https://eastus.oic.test/11111111/22222222", 700211),
        ("https://eastus.oic.test/11111111/22222222//", 700211),
        ("https://EASTUS.oic.test/11111111/22222222/", 700211),
        ("https://eastus.oic.test:443/11111111/22222222/", 700211),
        ("https://eastus.oic.test/11111111/22222222/#", 700211),
        ("https://eastus.oic.test/11111111/22222222/?a", 700211),
        ("https://x@eastus.oic.test/11111111/22222222/", 700211),
        ("https://eastus.oic.test@evil.test/11111111/22222222/", 700211),
        ("https://eastus.oic.test.evil.test/11111111/22222222/", 700211),
        ("https://e\u0430stus.oic.test/11111111/22222222/", 700211),
        ("http://eastus.oic.test/11111111/22222222/", 700211),
        ("https://eastus.oic.test/", 700211),
        ("", 90014),
        (5, 90014),
    ],
)
async def test_an_issuer_is_compared_byte_for_byte(shared: "World", iss: object, code: int) -> None:
    before = len(shared.site.hits)
    assert (await shared.ask(client_assertion=shared.mint(iss=iss))).code == code
    assert len(shared.site.hits) == before


@pytest.mark.parametrize(
    ("sub", "code"),
    [
        ("system:serviceaccount:default:WEB", 7002138),
        ("System:ServiceAccount:default:web", 7002138),
        ("system:serviceaccount:default:web ", 700213),
        (" system:serviceaccount:default:web", 700213),
        ("system:serviceaccount:default:w\u0435b", 700213),
        ("system:serviceaccount:default:web\u200b", 700213),
        ("system:serviceaccount:*:web", 700213),
        ("system:serviceaccount:default:*", 700213),
        ("*", 700213),
        ("system:serviceaccount:default:web2", 700213),
        ("system:serviceaccount:default:we", 700213),
        ("", 90014),
        (["system:serviceaccount:default:web"], 90014),
    ],
)
async def test_a_subject_is_compared_byte_for_byte(shared: "World", sub: object, code: int) -> None:
    assert (await shared.ask(client_assertion=shared.mint(sub=sub))).code == code


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exp": None}, 90014),
        ({"exp": "1750003600"}, 90014),
        ({"exp": True}, 90014),
        ({"exp": [1]}, 90014),
        ({"exp": -1}, 700024),
        ({"exp": 0}, 700024),
        ({"exp": 10**30}, 70023),
        ({"exp": 1e300}, 70023),
        ({"iat": None}, 70023),
        ({"iat": "x"}, 70023),
        ({"iat": -(10**30)}, 70023),
        ({"iat": 10**30, "exp": 10**30 + 5}, 700024),
        ({"nbf": "x"}, 90014),
        ({"nbf": False}, 90014),
        ({"nbf": 1_750_000_301}, 700024),
        ({"iat": 1_750_000_301}, 700024),
        ({"nbf": 10**30}, 700024),
        ({"exp": 1_750_000_000}, 700024),
        ({"iat": 1_750_000_000 - 90_001 + 3600}, 70023),
        ({"exp": 1_750_000_000 + 10 * 365 * 86400}, 70023),
    ],
)
async def test_times_that_do_not_hold_are_refused(
    shared: "World", changes: dict[str, Any], code: int
) -> None:
    assert (await shared.ask(client_assertion=shared.mint(**changes))).code == code


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1_750_000_001},
        {"exp": 1_750_000_000.5},
        {"nbf": None},
        {"nbf": 1_750_000_300},
        {"iat": 1_750_000_300},
        {"exp": 1_750_000_000 + 90_000},
    ],
)
async def test_times_at_their_very_edge_are_accepted(
    shared: "World", changes: dict[str, Any]
) -> None:
    assert (await shared.ask(client_assertion=shared.mint(**changes))).status == 200


async def test_a_client_of_another_tenant_is_unknown_here(shared: "World") -> None:
    """Tenant mix-up: the identity, its credential and the assertion are right, the tenant is not."""
    path = f"/{shared.OTHER_TENANT}/oauth2/v2.0/token"
    answer = await shared.ask(path)
    assert answer.code == 700016
    assert "Fabrikam" in answer.body["error_description"]


@pytest.mark.parametrize(
    ("scope", "code"),
    [
        ("https://vault.azure.net", 1002012),
        ("https://vault.azure.net.default", 1002012),
        ("https://vault.azure.net/.DEFAULT", 1002012),
        ("https://vault.azure.net/.default/", 1002012),
        ("https://vault.azure.net/.default https://vault.azure.net/x", 70011),
        ("/.default", 70011),
        ("vault/.default", 70011),
        ("https://\u0430/.default", 70011),
        ("offline_access", 70011),
        ("https://VAULT.azure.net.evil.test/.default", 500011),
        ("https://vault.azure.net/.default/.default", 500011),
        ("https://vault.azure.net///.default", 500011),
        ("99999999-9999-4999-8999-999999999999/.default", 500011),
        ("api://33333333-3333-4333-8333-333333333333/.default", 500011),
    ],
)
async def test_scopes_that_are_almost_right_are_refused(
    shared: "World", scope: str, code: int
) -> None:
    assert (await shared.ask(scope=scope)).code == code
