"""Tokens of managed identities without an assertion."""

import pytest

from podpass.crypto import jose
from podpass.exchange.errors.catalogue import AadstsError
from tests.exchange.world import World

VAULT = "https://vault.azure.net"


async def test_managed_identity_token_equals_an_exchanged_token_except_for_uti_and_its_mark(
    world: World,
) -> None:
    exchanged = (await world.request_token()).claims()
    del exchanged["xms_ficinfo"]
    issued = await world.app.managed_identities.issue(world.TENANT, world.CLIENT, VAULT)
    token = jose.parse(issued.token)
    [key] = [one for one in world.keys.published if one.kid == token.kid]
    [public] = jose.load_jwks({"keys": [jose.rsa_jwk(key.public, key.kid)]})
    jose.verify(token, public)
    assert {**token.claims, "uti": ""} == {**exchanged, "uti": ""}
    assert token.claims["uti"] != exchanged["uti"]
    assert issued.expires == token.claims["exp"] == world.NOW + 86399


@pytest.mark.parametrize(
    ("client", "requested", "number"),
    [
        ("00000000-aaaa-4bbb-8ccc-000000000009", VAULT, 700016),
        (World.APPLICATION, VAULT, 700016),
        ("web", VAULT, 700016),
        (World.CLIENT, "https://nothing.example", 500011),
        (World.CLIENT, "nothing", 70011),
        (World.CLIENT, "", 70011),
    ],
    ids=["unknown", "application", "name", "resource", "scope", "empty"],
)
async def test_request_without_a_managed_identity_or_resource_is_refused(
    world: World, client: str, requested: str, number: int
) -> None:
    with pytest.raises(AadstsError) as refused:
        await world.app.managed_identities.issue(world.TENANT, client, requested)
    assert refused.value.entry.number == number


async def test_disabled_identity_is_refused(world: World) -> None:
    await world.change(world.CLIENT, enabled=False)
    with pytest.raises(AadstsError) as refused:
        await world.app.managed_identities.issue(world.TENANT, world.CLIENT, VAULT)
    assert refused.value.entry.number == 7000112


async def test_identity_of_another_tenant_is_refused(world: World) -> None:
    with pytest.raises(AadstsError) as refused:
        await world.app.managed_identities.issue(world.OTHER_TENANT, world.CLIENT, VAULT)
    assert refused.value.entry.number == 700016
