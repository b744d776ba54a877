"""Phrases that released clients search for in errors: `az` and Terraform use them to retry or continue."""

import uuid

from tests.directory.graph.harness import GraphHarness

OWNED = "Application.ReadWrite.OwnedBy"


async def test_not_found_error_has_the_phrase_that_az_and_terraform_search_for(
    graph: GraphHarness,
) -> None:
    missing_id = str(uuid.uuid4())
    reply = await graph.get(f"/applications/{missing_id}")
    assert reply.message.startswith(
        f"Resource '{missing_id}' does not exist or one of its queried "
    )
    reply = await graph.post("/servicePrincipals", {"appId": missing_id})
    phrase = "of the service principal does not reference a valid application object"
    assert f"The appId '{missing_id}' {phrase}" in reply.message


async def test_duplicate_owner_error_has_the_phrase_that_terraform_searches_for(
    graph: GraphHarness,
) -> None:
    made = await graph.application()
    path = f"/applications/{made['id']}/owners"
    [owner] = (await graph.get(path)).body["value"]
    address = f"https://graph.microsoft.com/v1.0/directoryObjects/{owner['id']}"
    reply = await graph.post(f"{path}/$ref", {"@odata.id": address})
    assert reply.status == 400
    assert reply.message.startswith("One or more added object references already exist")


async def test_access_denied_error_has_the_phrase_that_az_and_terraform_search_for(
    graph: GraphHarness,
) -> None:
    graph.add_app("unprivileged")
    reply = await graph.post("/applications", {"displayName": "x"}, caller="unprivileged")
    assert "insufficient privileges" in reply.message.lower()
    made = await graph.application()
    graph.add_app("robot", OWNED)
    reply = await graph.post("/servicePrincipals", {"appId": made["appId"]}, caller="robot")
    assert reply.status == 403
    assert "service principal being created must in the local tenant" in reply.message
