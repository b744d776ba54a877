"""Phrases that released clients search answers for: `az` and Terraform retry, or go on, by them."""

import uuid

from tests.directory.graph.world import World

OWNED = "Application.ReadWrite.OwnedBy"


async def test_what_is_missing_is_said_as_az_and_terraform_search_for_it(world: World) -> None:
    nobody = str(uuid.uuid4())
    reply = await world.get(f"/applications/{nobody}")
    assert reply.message.startswith(f"Resource '{nobody}' does not exist or one of its queried ")
    reply = await world.post("/servicePrincipals", {"appId": nobody})
    phrase = "of the service principal does not reference a valid application object"
    assert f"The appId '{nobody}' {phrase}" in reply.message


async def test_an_owner_that_is_there_is_said_as_terraform_searches_for_it(world: World) -> None:
    made = await world.application()
    path = f"/applications/{made['id']}/owners"
    [owner] = (await world.get(path)).body["value"]
    address = f"https://graph.microsoft.com/v1.0/directoryObjects/{owner['id']}"
    reply = await world.post(f"{path}/$ref", {"@odata.id": address})
    assert reply.status == 400
    assert reply.message.startswith("One or more added object references already exist")


async def test_what_is_not_permitted_is_said_as_az_and_terraform_search_for_it(
    world: World,
) -> None:
    world.app("nobody")
    reply = await world.post("/applications", {"displayName": "x"}, who="nobody")
    assert "insufficient privileges" in reply.message.lower()
    made = await world.application()
    world.app("robot", OWNED)
    reply = await world.post("/servicePrincipals", {"appId": made["appId"]}, who="robot")
    assert reply.status == 403
    assert "service principal being created must in the local tenant" in reply.message
