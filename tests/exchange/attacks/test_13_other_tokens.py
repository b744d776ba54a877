"""Group 13: a token of one type, presented as another."""

from typing import Any

import pytest

from podpass.crypto import jose
from tests.exchange.attacks.forge import valid_parts
from tests.exchange.world import World

# The assertion type of certificates; the client ID of azure-cli, which signs in users.
CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
# The code for an access token that is recognised, or the code of an earlier check.
NOT_AN_ASSERTION = {700222, 700226, 700227, 700229, 700211, 700236, 5002727, 90014}


async def get_user_tokens(world: World) -> dict[str, str]:
    answer = await world.post(
        f"/{world.TENANT}/oauth2/v2.0/token",
        grant_type="password",
        client_id=CLI,
        username=world.ADMIN,
        password=world.PASSWORD,
        scope="https://vault.azure.net/.default openid offline_access profile",
    )
    assert answer.status == 200, answer.body
    names = ("access_token", "id_token", "refresh_token")
    return {name: answer.body[name] for name in names}


async def test_own_access_token_is_refused_as_assertion(world: World) -> None:
    access_token = (await world.request_token()).body["access_token"]
    answer = await world.present(access_token)
    assert answer.code in NOT_AN_ASSERTION
    assert answer.status in {400, 401}


async def test_user_tokens_are_refused_as_assertions(world: World) -> None:
    """An id_token or access token of a user must not authenticate an application."""
    for name, token in (await get_user_tokens(world)).items():
        answer = await world.present(token)
        assert answer.code in (
            NOT_AN_ASSERTION | {50027} if name == "refresh_token" else NOT_AN_ASSERTION
        )


@pytest.mark.parametrize("claim", ["iss", "sub", "aud"])
async def test_own_token_with_a_claim_of_an_assertion_is_refused(world: World, claim: str) -> None:
    """Signed with the authority's own key, with all claims of the credential but not its issuer's key."""
    _, claims = valid_parts(world)
    access = jose.parse((await world.request_token()).body["access_token"])
    mixed: dict[str, Any] = {**claims, claim: access.claims[claim]}
    token = world.keys.active.sign(mixed, {"typ": "JWT"})
    answer = await world.present(token)
    assert (answer.status == 200) is False
    assert answer.code in NOT_AN_ASSERTION | {700212, 700213, 7000272}


async def test_token_of_another_issuer_with_our_issuer_name_is_refused(world: World) -> None:
    for origin in (world.url, "https://login.microsoftonline.com", "https://sts.windows.net"):
        for path in (f"/{world.TENANT}/v2.0", f"/{world.TENANT}/", ""):
            own = world.mint(iss=origin + path)
            answer = await world.present(own)
            assert answer.code in NOT_AN_ASSERTION


async def test_pod_assertion_is_refused_as_access_token_and_as_code(world: World) -> None:
    token = world.mint()
    for fields in (
        {"grant_type": "refresh_token", "refresh_token": token},
        {"grant_type": "authorization_code", "code": token, "redirect_uri": "http://localhost"},
        {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": token},
    ):
        answer = await world.post(
            f"/{world.TENANT}/oauth2/v2.0/token",
            client_id=CLI,
            scope="https://vault.azure.net/.default",
            **fields,
        )
        assert answer.status == 400
        assert "access_token" not in answer.body
