"""Each check of the guard, with a token that fails it. Without a check, its test fails."""

import json
from typing import Any

import pytest

from podpass.crypto import jose
from podpass.resource import checks
from podpass.resource.checks import Check, TokenRefused, TokenRequirements

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
OTHER_TENANT = "77777777-0c35-4fd1-9f0e-1f6a54a3a1d0"
ISSUER = f"https://sts.windows.net/{TENANT}/"
VAULT = "https://vault.azure.net"
NOW = 1_700_000_000
ACCEPTED = TokenRequirements(tenant_id=TENANT, audiences=frozenset({VAULT}))
CLAIMS = {
    "aud": VAULT,
    "iss": ISSUER,
    "iat": NOW,
    "nbf": NOW,
    "exp": NOW + 3600,
    "appid": "11111111-aaaa-4bbb-8ccc-000000000001",
    "oid": "11111111-aaaa-4bbb-8ccc-000000000002",
    "tid": TENANT,
    "ver": "1.0",
}


def to_public_key(key: jose.SigningKey) -> jose.PublicKey:
    return jose.load_jwk(jose.rsa_jwk(key.key.public_key(), key.kid))


def verify(
    key: jose.SigningKey,
    *,
    now: float = NOW,
    accepted: TokenRequirements = ACCEPTED,
    header: dict[str, Any] | None = None,
    **changes: Any,
) -> checks.Principal:
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    token = checks.parse(key.sign(claims, header or {"typ": "JWT"}))
    return checks.verify(token, to_public_key(key), accepted, now)


def expect_refusal(key: jose.SigningKey, **how: Any) -> TokenRefused:
    with pytest.raises(TokenRefused) as caught:
        verify(key, **how)
    assert caught.value.status == 401
    assert caught.value.facts["check"] == caught.value.check.value
    return caught.value


@pytest.fixture
def key(signing_keys: list[jose.SigningKey]) -> jose.SigningKey:
    return signing_keys[0]


def test_valid_token_returns_its_caller(key: jose.SigningKey) -> None:
    who = verify(key)
    assert (who.app_id, who.object_id) == (CLAIMS["appid"], CLAIMS["oid"])
    assert who.tenant_id == TENANT


@pytest.mark.parametrize(
    "text", ["", "x", "a.b", "a.b.c.d.e", "..", "." * 20000, '{"payload":""}', "ü.b.c"]
)
def test_malformed_compact_token_is_refused(text: str) -> None:
    with pytest.raises(TokenRefused) as caught:
        checks.parse(text)
    assert caught.value.check is Check.FORM
    assert str(caught.value).startswith("the token is ")
    assert len(text) < 3 or text not in str(caught.value)


def test_token_of_another_type_is_refused(key: jose.SigningKey) -> None:
    assert expect_refusal(key, header={"typ": "at+jwt"}).check is Check.FORM


@pytest.mark.parametrize("alg", ["none", "None", "HS256", "RS384", "ES256", "", None, ["RS256"]])
def test_algorithm_other_than_rs256_is_refused(key: jose.SigningKey, alg: Any) -> None:
    assert expect_refusal(key, header={"alg": alg}).check is Check.ALGORITHM


def test_unsigned_token_is_refused() -> None:
    parts = [jose.b64encode(json.dumps(part).encode()) for part in ({"alg": "none"}, CLAIMS)]
    with pytest.raises(TokenRefused) as caught:
        checks.parse(".".join([*parts, ""]))
    assert caught.value.check is Check.ALGORITHM


@pytest.mark.parametrize("kid", ["", None, 7, ["key-0"]])
def test_token_without_key_id_is_refused(key: jose.SigningKey, kid: Any) -> None:
    error = expect_refusal(key, header={"kid": kid})
    assert (error.check, error.message) == (Check.KEY, "the token has no key ID")


def test_token_with_unpublished_key_is_refused(key: jose.SigningKey) -> None:
    token = checks.parse(key.sign(CLAIMS))
    with pytest.raises(TokenRefused) as caught:
        checks.verify(token, None, ACCEPTED, NOW)
    assert caught.value.check is Check.KEY


def test_key_with_another_id_is_not_tried(signing_keys: list[jose.SigningKey]) -> None:
    token = checks.parse(signing_keys[0].sign(CLAIMS))
    with pytest.raises(TokenRefused) as caught:
        checks.verify(token, to_public_key(signing_keys[1]), ACCEPTED, NOW)
    assert caught.value.check is Check.KEY


def test_signature_by_another_key_is_refused(signing_keys: list[jose.SigningKey]) -> None:
    forged = signing_keys[1].sign(CLAIMS, {"kid": signing_keys[0].kid})
    with pytest.raises(TokenRefused) as caught:
        checks.verify(checks.parse(forged), to_public_key(signing_keys[0]), ACCEPTED, NOW)
    assert caught.value.check is Check.SIGNATURE


def test_changed_claim_is_refused(key: jose.SigningKey) -> None:
    head, _, tail = key.sign(CLAIMS).split(".")
    changed = jose.b64encode(json.dumps(CLAIMS | {"oid": "someone-else"}).encode())
    with pytest.raises(TokenRefused) as caught:
        checks.verify(checks.parse(f"{head}.{changed}.{tail}"), to_public_key(key), ACCEPTED, NOW)
    assert caught.value.check is Check.SIGNATURE


@pytest.mark.parametrize(
    "issuer",
    [
        ISSUER.removesuffix("/"),
        ISSUER.upper(),
        f"https://sts.windows.net/{OTHER_TENANT}/",
        f"https://login.microsoftonline.com/{TENANT}/v2.0",
        ISSUER + "x",
        [ISSUER],
        None,
    ],
)
def test_issuer_must_match_exactly(key: jose.SigningKey, issuer: Any) -> None:
    error = expect_refusal(key, iss=issuer)
    assert error.check is Check.ISSUER
    assert error.facts["expected"] == ISSUER


@pytest.mark.parametrize("tenant", [OTHER_TENANT, TENANT.upper(), "", None, [TENANT]])
def test_tenant_must_match_exactly(key: jose.SigningKey, tenant: Any) -> None:
    assert expect_refusal(key, tid=tenant).check is Check.TENANT


@pytest.mark.parametrize(
    "audience",
    [
        VAULT + "/",
        VAULT.upper(),
        "https://graph.microsoft.com",
        "api://AzureADTokenExchange",
        [VAULT],
        None,
        7,
    ],
)
def test_audience_must_be_an_accepted_one(key: jose.SigningKey, audience: Any) -> None:
    assert expect_refusal(key, aud=audience).check is Check.AUDIENCE


def test_projected_token_is_not_accepted_as_access_token(key: jose.SigningKey) -> None:
    """Attack group 13: refused even if issuer and authority had the same key."""
    error = expect_refusal(
        key,
        iss=f"https://eastus.oic.prod-aks.azure.com/{TENANT}/x/",
        sub="system:serviceaccount:default:web",
        aud=["api://AzureADTokenExchange"],
        tid=None,
        appid=None,
        oid=None,
    )
    assert error.check is Check.ISSUER


def test_token_is_refused_at_its_expiry_second_by_the_guard(key: jose.SigningKey) -> None:
    assert verify(key, now=NOW + 3600 - 0.001)
    assert expect_refusal(key, now=NOW + 3600).check is Check.EXPIRED


def test_token_is_refused_before_nbf(key: jose.SigningKey) -> None:
    assert verify(key, now=NOW)
    assert expect_refusal(key, now=NOW - 0.001).check is Check.LIFETIME


def test_leeway_extends_exp_and_nbf_exactly(key: jose.SigningKey) -> None:
    lenient = TokenRequirements(tenant_id=TENANT, audiences=frozenset({VAULT}), leeway_seconds=60)
    assert verify(key, accepted=lenient, now=NOW + 3659)
    assert verify(key, accepted=lenient, now=NOW - 60)
    assert expect_refusal(key, accepted=lenient, now=NOW + 3660).check is Check.EXPIRED
    assert expect_refusal(key, accepted=lenient, now=NOW - 61).check is Check.LIFETIME


@pytest.mark.parametrize("claim", ["exp", "nbf"])
@pytest.mark.parametrize("value", [None, str(NOW), float(NOW), True, -1, 2**53, [NOW]])
def test_time_claim_must_be_an_integer(key: jose.SigningKey, claim: str, value: Any) -> None:
    assert expect_refusal(key, **{claim: value}).check is Check.LIFETIME


@pytest.mark.parametrize("claim", ["appid", "oid"])
@pytest.mark.parametrize("value", [None, "", 7, ["x"], "x" * 65])
def test_token_without_caller_claims_is_refused(
    key: jose.SigningKey, claim: str, value: Any
) -> None:
    assert expect_refusal(key, **{claim: value}).check is Check.CALLER


V2_ISSUER = f"https://login.microsoftonline.com/{TENANT}/v2.0"
API = "99999999-aaaa-4bbb-8ccc-000000000001"
BOTH = TokenRequirements(
    tenant_id=TENANT, audiences=frozenset({API}), authorities=("https://login.microsoftonline.com",)
)
V2: dict[str, Any] = {
    "iss": V2_ISSUER,
    "aud": API,
    "appid": None,
    "azp": CLAIMS["appid"],
    "ver": "2.0",
}


def test_version_2_token_has_client_in_azp(key: jose.SigningKey) -> None:
    who = verify(key, accepted=BOTH, **V2)
    assert (who.app_id, who.object_id, who.is_user) == (CLAIMS["appid"], CLAIMS["oid"], False)


def test_id_token_is_not_accepted_as_access_token(key: jose.SigningKey) -> None:
    """Its audience is the API's client ID, and its issuer is the tenant's: only `azp` is missing."""
    id_token = {**V2, "azp": None, "nonce": "n", "preferred_username": "admin@example.com"}
    assert expect_refusal(key, accepted=BOTH, **id_token).check is Check.CALLER


def test_client_claim_of_other_version_is_not_used(key: jose.SigningKey) -> None:
    assert expect_refusal(key, appid=None, azp=CLAIMS["appid"]).check is Check.CALLER
    crossed = {**V2, "azp": None, "appid": CLAIMS["appid"]}
    assert expect_refusal(key, accepted=BOTH, **crossed).check is Check.CALLER


@pytest.mark.parametrize(
    "issuer",
    [
        f"https://login.microsoftonline.com/{OTHER_TENANT}/v2.0",
        f"https://login.microsoftonline.com.evil.example/{TENANT}/v2.0",
        f"https://good@login.microsoftonline.com/{TENANT}/v2.0",
        V2_ISSUER + "/",
        V2_ISSUER.upper(),
        [V2_ISSUER],
    ],
)
def test_version_2_issuer_must_match_exactly(key: jose.SigningKey, issuer: Any) -> None:
    assert expect_refusal(key, accepted=BOTH, **{**V2, "iss": issuer}).check is Check.ISSUER


def test_user_token_has_user_scopes_and_directory_roles(key: jose.SigningKey) -> None:
    who = verify(key, scp="user_impersonation x", upn="admin@p.example", wids=["w"], idtyp="user")
    assert (who.is_user, who.name) == (True, "admin@p.example")
    assert who.scopes == {"user_impersonation", "x"}
    assert who.wids == {"w"}


def test_application_has_roles_and_no_name(key: jose.SigningKey) -> None:
    who = verify(key, roles=["Orders.Read"], idtyp="app", upn="admin@p.example")
    assert (who.is_user, who.name, who.roles, who.scopes) == (
        False,
        None,
        frozenset({"Orders.Read"}),
        frozenset(),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"roles": "Admin"},
        {"roles": {"Admin": 1}},
        {"roles": [1]},
        {"roles": [["Admin"]]},
        {"wids": "x"},
        {"scp": ["user_impersonation"]},
        {"scp": 1},
        {"idtyp": "user"},
        {"idtyp": "device"},
        {"idtyp": "app", "scp": "user_impersonation"},
    ],
)
def test_contradicting_or_malformed_caller_claims_are_refused(
    key: jose.SigningKey, changes: dict[str, Any]
) -> None:
    assert expect_refusal(key, **changes).check is Check.CALLER


def test_claims_are_not_in_repr_of_principal(key: jose.SigningKey) -> None:
    who = verify(key, private="keep-this")
    assert who.claims["private"] == "keep-this"
    assert "keep-this" not in repr(who)


def test_claim_in_error_is_short_and_on_one_line(key: jose.SigningKey) -> None:
    shown = expect_refusal(key, aud="x\nforged line" + "y" * 1000).facts["found"]
    assert isinstance(shown, str)
    assert "\n" not in shown
    assert len(shown) <= 200
