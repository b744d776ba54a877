"""Group 20: a valid identity, credential and assertion at the wrong tenant."""

from dataclasses import replace

import pytest

from podpass.directory.model import Identity, IdentityKind
from tests.exchange.world import World

OTHER = "88888888-8888-4888-8888-888888888888"
SHARED = ["common", "organizations", "consumers", "COMMON", "Organizations"]
NO_PATH = 404  # an escaped slash is a slash: the text after it is another path segment
V2, V1 = "oauth2/v2.0/token", "oauth2/token"


async def test_client_of_another_tenant_is_unknown_here(world: World) -> None:
    for path in (V2, V1):
        answer = await world.request_token(
            f"/{world.OTHER_TENANT}/{path}",
            resource="https://vault.azure.net" if path == V1 else None,
        )
        assert (answer.status, answer.code) == (400, 700016)
        assert "Fabrikam" in answer.body["error_description"]


@pytest.mark.parametrize("name", SHARED)
async def test_multi_tenant_names_are_refused(world: World, name: str) -> None:
    answer = await world.request_token(f"/{name}/{V2}")
    assert (answer.status, answer.code) == (400, 9001023)
    assert "client_credentials" in answer.body["error_description"]


@pytest.mark.parametrize(
    ("segment", "code"),
    [
        ("99999999-9999-4999-8999-999999999999", 90002),
        ("fabrikam.test", 90002),
        ("contoso.test.evil.test", 90002),
        ("contoso.test%00", 900023),
        ("contoso.test%20", 900023),
        ("%E2%85%BDontoso.test", 900023),
        ("..", NO_PATH),
        ("%2e%2e", NO_PATH),
        ("*", 900023),
        ("contoso", 900023),
        ("11111111-1111-4111-8111-111111111111%2F", NO_PATH),
    ],
)
async def test_unknown_tenant_is_refused(world: World, segment: str, code: int) -> None:
    answer = await world.request_token(f"/{segment}/{V2}")
    if code == NO_PATH:
        assert answer.status in {404, 405}
        assert "access_token" not in answer.body
    else:
        assert (answer.status, answer.code) == (400, code)


def add_other_tenant(world: World) -> Identity:
    return Identity(
        tenant_id=world.OTHER_TENANT,
        client_id=OTHER,
        object_id=OTHER[:-1] + "9",
        name="other",
        kind=IdentityKind.APPLICATION,
    )


async def test_same_client_id_in_another_tenant_is_another_client(world: World) -> None:
    """Registering a tenant's client id elsewhere gives no access to it and does not disturb it."""
    for client_id in (world.APPLICATION, world.CLIENT):
        await world.directory.identities.put(
            replace(add_other_tenant(world), client_id=client_id, object_id=client_id)
        )
        answer = await world.request_token(f"/{world.OTHER_TENANT}/{V2}", client_id=client_id)
        assert (answer.code, "access_token" in answer.body) == (70025, False)
        claims = (await world.request_token(client_id=client_id)).claims()
        assert (claims["tid"], claims["appid"]) == (world.TENANT, client_id)
        assert claims["oid"] != client_id


async def test_token_names_the_tenant_id_for_every_tenant_name_in_the_path(world: World) -> None:
    for segment in (world.TENANT, world.TENANT.upper(), "contoso.test", "CONTOSO.TEST"):
        claims = (await world.request_token(f"/{segment}/{V2}")).claims()
        assert (claims["tid"], claims["iss"]) == (
            world.TENANT,
            f"https://sts.windows.net/{world.TENANT}/",
        )


async def test_resource_of_another_tenant_is_unknown_here(world: World) -> None:
    await world.directory.identities.put(add_other_tenant(world))
    there = f"/{world.OTHER_TENANT}/{V2}"
    assert (await world.request_token(there, client_id=OTHER)).code == 70025
    for scope in (f"{OTHER}/.default", f"api://{OTHER}/.default"):
        assert (await world.request_token(scope=scope)).code == 500011
