"""Delegated permissions given to applications: kept, found, changed, gone with whom they were given to."""

import uuid
from typing import Any

import pytest

from podpass.directory.graph import paging
from tests.directory.graph.world import ADMIN, World, every

GRAPH_APP = "00000003-0000-0000-c000-000000000000"
PATH = "/oauth2PermissionGrants"


async def grant(world: World, **changes: Any) -> dict[str, Any]:
    resource = await world.get(f"/servicePrincipals(appId='{GRAPH_APP}')")
    client = await world.principal((await world.application())["appId"])
    body = {
        "clientId": client["id"],
        "consentType": "AllPrincipals",
        "resourceId": resource.body["id"],
        "scope": "User.Read",
    }
    return body | changes


async def test_a_grant_is_kept_found_changed_and_deleted(world: World) -> None:
    body = await grant(world)
    made = await world.post(PATH, body)
    assert made.status == 201
    assert {name: made.body[name] for name in body} == body
    one = f"{PATH}/{made.body['id']}"
    assert (await world.get(one)).body["scope"] == "User.Read"
    for path in (
        f"{PATH}?$filter=clientId%20eq%20'{body['clientId']}'",
        f"{PATH}?$filter=clientId%20eq%20'{body['clientId']}'%20and%20consentType%20eq%20'AllPrincipals'",
        f"{PATH}?$filter=resourceId%20eq%20'{body['resourceId']}'",
        f"/servicePrincipals/{body['clientId']}/oauth2PermissionGrants",
        PATH,
    ):
        assert [item["id"] for item in (await world.get(path)).value] == [made.body["id"]], path
    assert (await world.patch(one, {"scope": "User.Read email"})).status == 204
    assert (await world.get(one)).body["scope"] == "User.Read email"
    assert (await world.patch(one, {"resourceId": str(uuid.uuid4())})).status == 400
    assert (await world.delete(one)).status == 204
    assert (await world.get(one)).code == "Request_ResourceNotFound"
    assert (await world.get(PATH)).value == []
    principal = (await world.get(f"/servicePrincipals/{body['clientId']}")).body
    assert "grants" not in principal


async def test_the_same_is_granted_once(world: World) -> None:
    body = await grant(world)
    await world.post(PATH, body)
    again = await world.post(PATH, body | {"scope": "email"})
    assert (again.status, again.code) == (409, "Request_MultipleObjectsWithSameKeyValue")
    for_one = body | {"consentType": "Principal", "principalId": ADMIN}
    assert (await world.post(PATH, for_one)).status == 201


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"clientId": str(uuid.UUID(int=3))}, 404),
        ({"resourceId": str(uuid.UUID(int=3))}, 404),
        ({"clientId": "x"}, 400),
        ({"consentType": "Everybody"}, 400),
        ({"consentType": "Principal"}, 400),
        ({"principalId": ADMIN}, 400),
        ({"scope": "s" * 3851}, 400),
        ({"colour": "red"}, 400),
    ],
)
async def test_a_grant_that_cannot_be_is_refused(
    world: World, changes: dict[str, Any], status: int
) -> None:
    assert (await world.post(PATH, await grant(world, **changes))).status == status
    assert (await world.get(PATH)).value == []


@pytest.mark.parametrize("name", ["x", "%20", "AAAA", "A" * 43])
async def test_a_grant_there_is_not(world: World, name: str) -> None:
    reply = await world.get(f"{PATH}/{name}")
    assert (reply.status, reply.code) == (404, "Request_ResourceNotFound")


async def test_grants_go_with_their_client(world: World) -> None:
    body = await grant(world)
    await world.post(PATH, body)
    await world.delete(f"/servicePrincipals/{body['clientId']}")
    assert (await world.get(PATH)).value == []


async def test_all_grants_are_looked_for_within_bounds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        await world.post(PATH, await grant(world))
    monkeypatch.setattr(paging, "LOOKED_AT", 2)
    pages = await every(world, f"{PATH}?$select=id")
    assert len({item["id"] for page in pages for item in page}) == 5
    assert len(pages) > 2


async def test_nothing_is_granted_to_a_built_in_principal(world: World) -> None:
    body = await grant(world)
    reply = await world.post(PATH, body | {"clientId": body["resourceId"]})
    assert (reply.status, reply.code) == (404, "Request_ResourceNotFound")
