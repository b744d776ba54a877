"""Group 13: a token made for one thing, presented as another."""

from typing import TYPE_CHECKING, Any

import pytest

from podpass.crypto import jose
from tests.exchange.attacks.forge import good

if TYPE_CHECKING:
    from tests.exchange.world import World

# As an application's own certificate asks; azure-cli's client for people.
CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
# Our own token for a resource, told as such, or whatever the order of the checks finds first.
NOT_AN_ASSERTION = {700222, 700226, 700227, 700229, 700211, 700236, 5002727, 90014}


async def tokens_of_a_user(world: "World") -> dict[str, str]:
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


async def test_an_access_token_of_ours_is_no_assertion(world: "World") -> None:
    access_token = (await world.ask()).body["access_token"]
    answer = await world.ask(client_assertion=access_token)
    assert answer.code in NOT_AN_ASSERTION
    assert answer.status in {400, 401}


async def test_no_token_of_a_user_is_an_assertion(world: "World") -> None:
    """Fails if an id_token or an access token of a person could speak for an application."""
    for name, token in (await tokens_of_a_user(world)).items():
        answer = await world.ask(client_assertion=token)
        assert answer.code in (
            NOT_AN_ASSERTION | {50027} if name == "refresh_token" else NOT_AN_ASSERTION
        )


@pytest.mark.parametrize("claim", ["iss", "sub", "aud"])
async def test_a_claim_of_the_exchange_makes_our_token_no_assertion(
    world: "World", claim: str
) -> None:
    """Signed by the authority's own key, with all that a credential asks for but its issuer's key."""
    _, claims = good(world)
    access = jose.parse((await world.ask()).body["access_token"])
    mixed: dict[str, Any] = {**claims, claim: access.claims[claim]}
    token = world.keys.active.sign(mixed, {"typ": "JWT"})
    answer = await world.ask(client_assertion=token)
    assert (answer.status == 200) is False
    assert answer.code in NOT_AN_ASSERTION | {700212, 700213, 7000272}


async def test_an_issuer_that_writes_our_name_is_not_believed(world: "World") -> None:
    for origin in (world.url, "https://login.microsoftonline.com", "https://sts.windows.net"):
        for path in (f"/{world.TENANT}/v2.0", f"/{world.TENANT}/", ""):
            own = world.mint(iss=origin + path)
            answer = await world.ask(client_assertion=own)
            assert answer.code in NOT_AN_ASSERTION


async def test_a_pods_assertion_is_no_access_token_and_no_code(world: "World") -> None:
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
