"""Owners of applications, and the objects that a user owns."""

import uuid
from typing import Any

import pytest

from tests.directory.graph.harness import ADMIN, GraphHarness, follow_pages


async def test_creator_of_an_application_is_its_owner(graph: GraphHarness) -> None:
    made = await graph.application()
    owners = (await graph.get(f"/applications/{made['id']}/owners")).value
    assert [(one["id"], one["@odata.type"]) for one in owners] == [(ADMIN, "#microsoft.graph.user")]


async def test_owners_are_added_by_reference_and_removed(graph: GraphHarness) -> None:
    made = await graph.application()
    other = await graph.principal((await graph.application("other"))["appId"])
    path = f"/applications/{made['id']}/owners"
    reference = {"@odata.id": f"https://graph.microsoft.com/v1.0/directoryObjects/{other['id']}"}
    assert (await graph.post(f"{path}/$ref", reference)).status == 204
    assert {one["id"] for one in (await graph.get(path)).value} == {ADMIN, other["id"]}
    again = await graph.post(f"{path}/$ref", reference)
    assert (again.status, again.code) == (400, "Request_BadRequest")
    assert "added object references already exist" in again.message
    assert (await graph.delete(f"{path}/{other['id']}/$ref")).status == 204
    assert (await graph.delete(f"{path}/{other['id']}/$ref")).status == 404


@pytest.mark.parametrize("reference", ["x", 7, None, "https://evil.example/no"])
async def test_invalid_owner_reference_is_rejected(graph: GraphHarness, reference: object) -> None:
    made = await graph.application()
    reply = await graph.post(f"/applications/{made['id']}/owners/$ref", {"@odata.id": reference})
    assert (reply.status, reply.code) == (400, "BadRequest")
    strange = f"https://graph.microsoft.com/v1.0/directoryObjects/{uuid.uuid4()}"
    reply = await graph.post(f"/applications/{made['id']}/owners/$ref", {"@odata.id": strange})
    assert (reply.status, reply.code) == (404, "Request_ResourceNotFound")


async def test_owners_can_be_bound_at_creation(graph: GraphHarness) -> None:
    other = await graph.principal((await graph.application("other"))["appId"])
    bound: Any = [f"https://graph.microsoft.com/v1.0/directoryObjects/{other['id']}"]
    made = await graph.application(**{"owners@odata.bind": bound})
    owners = (await graph.get(f"/applications/{made['id']}/owners")).value
    assert {one["id"] for one in owners} == {ADMIN, other["id"]}


async def test_owned_objects_of_a_user_are_listed(graph: GraphHarness) -> None:
    made = await graph.application()
    graph.add_app("robot", "Application.ReadWrite.OwnedBy")
    await graph.application("robots", caller="robot")
    principal = await graph.principal(made["appId"])
    pages = await follow_pages(graph, "/me/ownedObjects")
    assert [(one["id"], one["@odata.type"]) for page in pages for one in page] == [
        (made["id"], "#microsoft.graph.application"),
        (principal["id"], "#microsoft.graph.servicePrincipal"),
    ]
    for kind, owned in (("application", made), ("servicePrincipal", principal)):
        found = (await graph.get(f"/me/ownedObjects/microsoft.graph.{kind}")).value
        assert [one["id"] for one in found] == [owned["id"]]
