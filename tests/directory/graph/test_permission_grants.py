"""Permission grants: create, find, update, delete, and deletion with their client."""

import uuid
from typing import Any

import pytest

from podpass.directory.graph import paging
from podpass.directory.model import PermissionGrant, Tenant
from tests.directory.graph.harness import ADMIN, OTHER, Graph, follow_pages

GRAPH_APP = "00000003-0000-0000-c000-000000000000"
PATH = "/oauth2PermissionGrants"


async def create_grant(graph: Graph, **changes: Any) -> dict[str, Any]:
    resource = await graph.get(f"/servicePrincipals(appId='{GRAPH_APP}')")
    client = await graph.principal((await graph.application())["appId"])
    body = {
        "clientId": client["id"],
        "consentType": "AllPrincipals",
        "resourceId": resource.body["id"],
        "scope": "User.Read",
    }
    return body | changes


async def test_permission_grant_is_created_read_updated_and_deleted(graph: Graph) -> None:
    body = await create_grant(graph)
    made = await graph.post(PATH, body)
    assert made.status == 201
    assert {name: made.body[name] for name in body} == body
    one = f"{PATH}/{made.body['id']}"
    assert (await graph.get(one)).body["scope"] == "User.Read"
    for path in (
        f"{PATH}?$filter=clientId%20eq%20'{body['clientId']}'",
        f"{PATH}?$filter=clientId%20eq%20'{body['clientId']}'%20and%20consentType%20eq%20'AllPrincipals'",
        f"{PATH}?$filter=resourceId%20eq%20'{body['resourceId']}'",
        f"/servicePrincipals/{body['clientId']}/oauth2PermissionGrants",
        PATH,
    ):
        assert [item["id"] for item in (await graph.get(path)).value] == [made.body["id"]], path
    assert (await graph.patch(one, {"scope": "User.Read email"})).status == 204
    assert (await graph.get(one)).body["scope"] == "User.Read email"
    assert (await graph.patch(one, {"resourceId": str(uuid.uuid4())})).status == 400
    assert (await graph.delete(one)).status == 204
    assert (await graph.get(one)).code == "Request_ResourceNotFound"
    assert (await graph.get(PATH)).value == []
    principal = (await graph.get(f"/servicePrincipals/{body['clientId']}")).body
    assert "grants" not in principal


async def test_duplicate_permission_grant_is_rejected(graph: Graph) -> None:
    body = await create_grant(graph)
    await graph.post(PATH, body)
    again = await graph.post(PATH, body | {"scope": "email"})
    assert (again.status, again.code) == (409, "Request_MultipleObjectsWithSameKeyValue")
    for_one = body | {"consentType": "Principal", "principalId": ADMIN}
    assert (await graph.post(PATH, for_one)).status == 201


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"clientId": str(uuid.UUID(int=3))}, 404),
        ({"resourceId": str(uuid.UUID(int=3))}, 404),
        ({"clientId": "x"}, 400),
        ({"consentType": "Unknown"}, 400),
        ({"consentType": "Principal"}, 400),
        ({"principalId": ADMIN}, 400),
        ({"scope": "s" * 3851}, 400),
        ({"colour": "red"}, 400),
    ],
)
async def test_invalid_permission_grant_is_rejected(
    graph: Graph, changes: dict[str, Any], status: int
) -> None:
    assert (await graph.post(PATH, await create_grant(graph, **changes))).status == status
    assert (await graph.get(PATH)).value == []


@pytest.mark.parametrize("name", ["x", "%20", "AAAA", "A" * 43])
async def test_unknown_permission_grant_is_not_found(graph: Graph, name: str) -> None:
    reply = await graph.get(f"{PATH}/{name}")
    assert (reply.status, reply.code) == (404, "Request_ResourceNotFound")


async def test_permission_grants_are_deleted_with_their_client(graph: Graph) -> None:
    body = await create_grant(graph)
    await graph.post(PATH, body)
    await graph.delete(f"/servicePrincipals/{body['clientId']}")
    assert (await graph.get(PATH)).value == []


async def test_filtered_list_scans_a_bounded_number_of_permission_grants(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        await graph.post(PATH, await create_grant(graph))
    await graph.post(PATH, await create_grant(graph, scope="email"))
    monkeypatch.setattr(paging, "MAX_SCANNED", 2)
    pages = await follow_pages(graph, f"{PATH}?$filter=scope%20eq%20'email'")
    assert [item["scope"] for page in pages for item in page] == ["email"]
    assert len(pages) > 2


@pytest.mark.parametrize("top", [1, 2, 3, 4])
async def test_permission_grants_are_paged_without_gaps(graph: Graph, top: int) -> None:
    body = await create_grant(graph)
    made = [(await graph.post(PATH, body)).body["id"]]
    for number in range(3):
        principal = {"consentType": "Principal", "principalId": str(uuid.UUID(int=number + 1))}
        made.append((await graph.post(PATH, body | principal)).body["id"])
    for path in (
        f"{PATH}?$top={top}",
        f"/servicePrincipals/{body['clientId']}/oauth2PermissionGrants?$top={top}",
    ):
        pages = await follow_pages(graph, path)
        assert all(len(page) <= top for page in pages)
        assert sorted(item["id"] for page in pages for item in page) == sorted(made)
    only = f"{PATH}?$filter=principalId%20eq%20'{uuid.UUID(int=2)}'"
    assert [item["id"] for item in (await graph.get(only)).value] == [made[2]]


async def test_permission_grant_of_another_tenant_is_not_found(graph: Graph) -> None:
    body = await create_grant(graph)
    await graph.directory.create_tenant(Tenant(id=OTHER))
    grant = PermissionGrant(
        id="", tenant_id=OTHER, client_id=body["clientId"], resource_id=body["resourceId"]
    )
    stored = await graph.directory.grants.create(grant)
    one = f"{PATH}/{stored.id}"
    assert (await graph.get(PATH)).value == []
    assert (await graph.get(one)).status == (await graph.delete(one)).status == 404
    assert (await graph.patch(one, {"scope": "email"})).status == 404


async def test_permission_grants_are_deleted_with_their_resource(graph: Graph) -> None:
    body = await create_grant(graph)
    api = await graph.principal((await graph.application("api"))["appId"])
    assert (await graph.post(PATH, body | {"resourceId": api["id"]})).status == 201
    await graph.delete(f"/servicePrincipals/{api['id']}")
    assert (await graph.get(PATH)).value == []


async def test_permission_grant_to_a_built_in_service_principal_is_rejected(graph: Graph) -> None:
    body = await create_grant(graph)
    reply = await graph.post(PATH, body | {"clientId": body["resourceId"]})
    assert (reply.status, reply.code) == (404, "Request_ResourceNotFound")
