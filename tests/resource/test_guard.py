"""The guard in a customer's API: headers in, a caller or a challenge out."""

from dataclasses import replace
from typing import Any

import pytest

from podpass.crypto import jose
from podpass.directory.access import NotAdmitted, Reason
from podpass.errors import SettingsError
from podpass.http.fetcher import FetchError
from podpass.resource.api_callers import admit_with
from podpass.resource.guard import (
    Check,
    Guard,
    KeysUnavailable,
    NotAllowed,
    Principal,
    PublishedKeys,
    TokenRefused,
    require_role,
    require_scope,
)

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
API = "99999999-aaaa-4bbb-8ccc-000000000001"
NOW = 1_700_000_000
V1_ISSUER = f"https://sts.windows.net/{TENANT}/"
CLAIMS = {
    "aud": "api://orders",
    "iss": V1_ISSUER,
    "nbf": NOW,
    "exp": NOW + 3600,
    "appid": "11111111-aaaa-4bbb-8ccc-000000000001",
    "oid": "11111111-aaaa-4bbb-8ccc-000000000002",
    "tid": TENANT,
}
V2 = {"aud": API, "iss": f"https://login.microsoftonline.com/{TENANT}/v2.0", "azp": CLAIMS["appid"]}


class Published:
    """A source of one key."""

    def __init__(self, key: jose.SigningKey) -> None:
        self._key = key
        self.down = False
        self.asked: list[str] = []

    async def get_json(self, url: str) -> dict[str, Any]:
        self.asked.append(url)
        if self.down:
            raise FetchError("the address cannot be read", reason="unreachable")
        return {"keys": [jose.rsa_jwk(self._key.key.public_key(), self._key.kid)]}


@pytest.fixture
def key(signing_keys: list[jose.SigningKey]) -> jose.SigningKey:
    return signing_keys[0]


@pytest.fixture
def published(key: jose.SigningKey) -> Published:
    return Published(key)


def create_guard(published: Published, **how: Any) -> Guard:
    keys = PublishedKeys(published, "https://login.example/keys", lambda: NOW)
    given = {"tenant_id": TENANT, "audiences": {"api://orders", API}, "keys": keys, **how}
    return Guard(clock=lambda: NOW, **given)


def create_header(key: jose.SigningKey, **changes: Any) -> list[str]:
    return ["Bearer " + key.sign({**CLAIMS, **changes})]


async def expect_refusal(guard: Guard, given: list[str]) -> TokenRefused:
    with pytest.raises(TokenRefused) as caught:
        await guard.admit(given)
    return caught.value


async def test_tokens_of_both_versions_return_same_caller(
    published: Published, key: jose.SigningKey
) -> None:
    guard = create_guard(published)
    first = await guard.admit(create_header(key, roles=["Orders.Read"]))
    second = await guard.admit(create_header(key, **V2, roles=["Orders.Read"]))
    for who in (first, second):
        assert (who.app_id, who.object_id) == (CLAIMS["appid"], CLAIMS["oid"])
        assert who.roles == {"Orders.Read"}


async def test_without_authority_only_version_1_is_accepted(
    published: Published, key: jose.SigningKey
) -> None:
    guard = create_guard(published, authorities=())
    assert await guard.admit(create_header(key))
    assert (await expect_refusal(guard, create_header(key, **V2))).check is Check.ISSUER


@pytest.mark.parametrize("given", [[], ["Basic x"], ["Bearer"], ["Bearer  "], ["x"], [""]])
async def test_challenge_of_request_without_token_has_authorization_uri(
    published: Published, given: list[str]
) -> None:
    error = await expect_refusal(create_guard(published), given)
    assert error.check is Check.MISSING
    place = f"https://login.microsoftonline.com/{TENANT}"
    assert error.challenge == f'Bearer authorization_uri="{place}"'


async def test_two_tokens_are_refused(published: Published, key: jose.SigningKey) -> None:
    given = create_header(key) * 2
    assert (await expect_refusal(create_guard(published), given)).check is Check.MISSING


async def test_challenge_has_error_and_nothing_of_the_token(
    published: Published, key: jose.SigningKey
) -> None:
    given = create_header(key, aud='x" evil="y')
    error = await expect_refusal(create_guard(published), given)
    assert error.check is Check.AUDIENCE
    assert 'error="invalid_token"' in error.challenge
    assert 'error_description="the token is for another resource"' in error.challenge
    assert "evil" not in error.challenge
    assert given[0] not in f"{error!r}{error.facts}{error.challenge}"


async def test_leeway_is_zero_by_default(published: Published, key: jose.SigningKey) -> None:
    late, early = create_header(key, exp=NOW), create_header(key, nbf=NOW + 1)
    assert (await expect_refusal(create_guard(published), late)).check is Check.EXPIRED
    assert (await expect_refusal(create_guard(published), early)).check is Check.LIFETIME
    lenient = create_guard(published, leeway_seconds=5)
    assert await lenient.admit(late)
    assert await lenient.admit(early)


async def test_no_caller_is_admitted_while_keys_cannot_be_fetched(
    published: Published, key: jose.SigningKey
) -> None:
    published.down = True
    with pytest.raises(KeysUnavailable):
        await create_guard(published).admit(create_header(key))


@pytest.mark.parametrize(
    "how",
    [
        {"tenant_id": "common"},
        {"tenant_id": TENANT.upper()},
        {"audiences": "api://orders"},
        {"audiences": []},
        {"audiences": [""]},
        {"authorities": "https://login.microsoftonline.com"},
        {"authorities": ["http://login.microsoftonline.com"]},
        {"authorities": ["https://login.microsoftonline.com/"]},
        {"leeway_seconds": -1},
        {"leeway_seconds": 301},
    ],
)
async def test_invalid_guard_settings_are_refused(
    published: Published, how: dict[str, Any]
) -> None:
    with pytest.raises(SettingsError):
        create_guard(published, **how)


def test_missing_role_or_scope_is_refused() -> None:
    caller = Principal(app_id="a", object_id="o", tenant_id=TENANT, roles=frozenset({"R"}))
    require_role(caller, "R")
    for role in ("r", "R ", ""):
        with pytest.raises(NotAllowed) as caught:
            require_role(caller, role)
        assert caught.value.status == 403
    user = replace(caller, roles=frozenset(), scopes=frozenset({"S"}))
    require_scope(user, "S")
    with pytest.raises(NotAllowed):
        require_scope(user, "R")
    # An app role is not a scope of a user, and a scope is not an app role.
    with pytest.raises(NotAllowed):
        require_scope(caller, "R")
    with pytest.raises(NotAllowed):
        require_role(user, "S")


# ------------------------------------------------------------------------------ directory APIs


async def test_directory_apis_get_the_caller_from_the_guard(
    published: Published, key: jose.SigningKey
) -> None:
    admit = admit_with(create_guard(published))
    token = create_header(key, scp="S", upn="admin@p.example", wids=["w"], idtyp="user")
    caller = await admit(token)
    assert (caller.name, caller.is_user, caller.object_id) == (
        "admin@p.example",
        True,
        CLAIMS["oid"],
    )
    assert (caller.scopes, caller.wids) == (frozenset({"S"}), frozenset({"w"}))
    assert not caller.roles
    app = await admit(create_header(key, roles=["R"]))
    assert (app.name, app.is_user) == (CLAIMS["appid"], False)
    assert app.roles == {"R"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": NOW}, Reason.EXPIRED),
        ({"nbf": NOW + 1}, Reason.INVALID),
        ({"aud": "https://vault.azure.net"}, Reason.AUDIENCE),
        ({"tid": "other"}, Reason.TENANT),
        ({"iss": "https://sts.windows.net/other/"}, Reason.TENANT),
        ({"oid": None}, Reason.INVALID),
    ],
)
async def test_directory_apis_get_the_refusal_reason(
    published: Published, key: jose.SigningKey, changes: dict[str, Any], reason: Reason
) -> None:
    admit = admit_with(create_guard(published))
    with pytest.raises(NotAdmitted) as caught:
        await admit(create_header(key, **changes))
    assert caught.value.reason is reason


async def test_directory_apis_get_missing_tokens_and_unavailable_keys(
    published: Published, key: jose.SigningKey
) -> None:
    published.down = True
    admit = admit_with(create_guard(published))
    for given, reason in (([], Reason.MISSING), (create_header(key), Reason.UNAVAILABLE)):
        with pytest.raises(NotAdmitted) as caught:
            await admit(given)
        assert caught.value.reason is reason
