"""Service principals: of applications, of managed identities, built-in; and app role assignments."""

import uuid
from typing import Any

import pytest

from podpass.directory.model import Identity, RoleAssignment
from tests.directory.graph.harness import ADMIN, DOMAIN, TENANT, Graph

GRAPH_APP = "00000003-0000-0000-c000-000000000000"
READ_APPS = "9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30"


async def get_graph_principal(graph: Graph) -> Any:
    return (await graph.get(f"/servicePrincipals(appId='{GRAPH_APP}')")).body


async def test_application_gets_a_service_principal(graph: Graph) -> None:
    made = await graph.application("web", identifierUris=[f"https://{DOMAIN}/x"])
    principal = await graph.principal(made["appId"], accountEnabled=True)
    assert principal["servicePrincipalType"] == "Application"
    assert principal["servicePrincipalNames"] == [made["appId"], f"https://{DOMAIN}/x"]
    assert principal["appOwnerOrganizationId"] == TENANT
    for path in (principal["id"], f"(appId='{made['appId']}')"):
        join = "" if path.startswith("(") else "/"
        read = await graph.get(f"/servicePrincipals{join}{path}")
        assert (read.status, read.body["id"]) == (200, principal["id"])


async def test_second_service_principal_of_an_application_is_rejected(graph: Graph) -> None:
    made = await graph.application()
    await graph.principal(made["appId"])
    again = await graph.post("/servicePrincipals", {"appId": made["appId"]})
    assert (again.status, again.code) == (409, "Request_MultipleObjectsWithSameKeyValue")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"appId": str(uuid.UUID(int=5))}, "NoBackingApplicationObject"),
        ({"appId": "x"}, "Request_BadRequest"),
        ({}, "Request_BadRequest"),
    ],
)
async def test_service_principal_without_application_is_rejected(
    graph: Graph, body: dict[str, object], code: str
) -> None:
    reply = await graph.post("/servicePrincipals", body)
    assert (reply.status, reply.code) == (400, code)


async def test_upsert_by_app_id_creates_or_updates_a_service_principal(graph: Graph) -> None:
    made = await graph.application()
    path, prefer = f"/servicePrincipals(appId='{made['appId']}')", {"Prefer": "create-if-missing"}
    assert (await graph.patch(path, {"notes": "a"})).status == 404
    assert (await graph.patch(path, {"notes": "a"}, headers=prefer)).status == 201
    assert (await graph.patch(path, {"notes": "b"}, headers=prefer)).status == 204
    assert (await graph.get(path)).body["notes"] == "b"


async def test_service_principal_is_updated(graph: Graph) -> None:
    made = await graph.application()
    principal = await graph.principal(made["appId"])
    path = f"/servicePrincipals/{principal['id']}"
    body = {"accountEnabled": False, "tags": ["x"], "appRoleAssignmentRequired": True}
    assert (await graph.patch(path, body)).status == 204
    read = (await graph.get(path)).body
    assert {name: read[name] for name in body} == body
    kept = await graph.directory.identities.get(TENANT, made["appId"])
    assert kept is not None
    assert kept.enabled is False
    for wrong in ({"appId": str(uuid.uuid4())}, {"colour": 1}, {"servicePrincipalNames": ["x"]}):
        reply = await graph.patch(path, wrong)
        assert (reply.status, reply.code) == (400, "Request_BadRequest")


async def test_deleting_a_service_principal_keeps_the_application_and_removes_its_roles(
    graph: Graph,
) -> None:
    """Fails if the next service principal of the application inherits the roles of the deleted one."""
    made = await graph.application()
    principal = await graph.principal(made["appId"])
    path = f"/servicePrincipals/{principal['id']}"
    resource_principal = await get_graph_principal(graph)
    role = {
        "principalId": principal["id"],
        "resourceId": resource_principal["id"],
        "appRoleId": READ_APPS,
    }
    await graph.post(f"{path}/appRoleAssignments", role)
    await graph.directory.assignments.put(
        RoleAssignment(scope="/s", principal_id=principal["id"], role=str(uuid.uuid4()))
    )
    assert (await graph.delete(path)).status == 204
    assert (await graph.get(path)).status == 404
    assert (await graph.get(f"/applications/{made['id']}")).status == 200
    again = await graph.principal(made["appId"])
    assert again["id"] != principal["id"]
    assert (await graph.get(f"/servicePrincipals/{again['id']}/appRoleAssignments")).value == []
    assert await graph.directory.assignments.list(principal=principal["id"]) == []


async def test_managed_identity_is_listed_and_cannot_be_deleted(graph: Graph) -> None:
    managed = await graph.managed("web-mi")
    path = f"/servicePrincipals/{managed.object_id}"
    read = (await graph.get(path)).body
    assert read["servicePrincipalType"] == "ManagedIdentity"
    assert read["alternativeNames"] == ["isExplicit=True", managed.resource_id]
    assert read["appId"] == managed.client_id
    reply = await graph.delete(path)
    assert (reply.status, reply.code) == (400, "Request_BadRequest")
    assert (await graph.get(path)).status == 200
    assert (await graph.get(f"/applications(appId='{managed.client_id}')")).status == 404


async def test_service_principals_are_filtered_by_type(graph: Graph) -> None:
    managed = await graph.managed("web-mi")
    made = await graph.principal((await graph.application())["appId"])
    kind = "/servicePrincipals?$filter=servicePrincipalType%20eq%20"
    assert [one["id"] for one in (await graph.get(f"{kind}'ManagedIdentity'")).value] == [
        managed.object_id
    ]
    ids = {one["id"] for one in (await graph.get(f"{kind}'Application'")).value}
    assert made["id"] in ids
    assert managed.object_id not in ids


# ------------------------------------------------------------------------------------- built-in


async def test_graph_service_principal_has_its_app_roles(graph: Graph) -> None:
    resource_principal = await get_graph_principal(graph)
    roles = {role["id"]: role["value"] for role in resource_principal["appRoles"]}
    assert roles[READ_APPS] == "Application.Read.All"
    assert roles["06b708a9-e830-4db3-a914-8e69da51d44f"] == "AppRoleAssignment.ReadWrite.All"
    assert (await get_graph_principal(graph))["id"] == resource_principal["id"]
    assert resource_principal["id"] != GRAPH_APP


@pytest.mark.parametrize(
    "name", ["https://vault.azure.net", "https://management.azure.com", GRAPH_APP]
)
async def test_built_in_service_principals_are_found_by_name(graph: Graph, name: str) -> None:
    clause = f"servicePrincipalNames/any(c:c%20eq%20'{name}')"
    [found] = (await graph.get(f"/servicePrincipals?$filter={clause}")).value
    assert name in found["servicePrincipalNames"]


async def test_built_in_service_principal_is_read_only(graph: Graph) -> None:
    path = f"/servicePrincipals/{(await get_graph_principal(graph))['id']}"
    for reply in (
        await graph.patch(path, {"notes": "mine"}),
        await graph.delete(path),
        await graph.post(f"{path}/addPassword", {}),
    ):
        assert (reply.status, reply.code) == (403, "Authorization_RequestDenied")


# ------------------------------------------------------------------------------------ app roles


async def build_assignment(graph: Graph) -> tuple[Identity, dict[str, str]]:
    """Return a managed identity, and the body that assigns a permission of Graph to it."""
    managed, graph_principal = await graph.managed("web-mi"), await get_graph_principal(graph)
    ids = {"principalId": managed.object_id, "resourceId": graph_principal["id"]}
    return managed, ids | {"appRoleId": READ_APPS}


async def test_graph_permission_is_assigned_and_removed(graph: Graph) -> None:
    managed, body = await build_assignment(graph)
    path = f"/servicePrincipals/{managed.object_id}/appRoleAssignments"
    given = await graph.post(path, body)
    assert given.status == 201
    assert (given.body["principalDisplayName"], given.body["resourceDisplayName"]) == (
        "web-mi",
        "Microsoft Graph",
    )
    roles = graph.directory.app_roles
    assert await roles.roles_of(managed.object_id, GRAPH_APP) == ("Application.Read.All",)
    to = f"/servicePrincipals/{body['resourceId']}/appRoleAssignedTo"
    assert [one["id"] for one in (await graph.get(to)).value] == [given.body["id"]]
    assert (await graph.get(f"{path}/{given.body['id']}")).status == 200
    assert (await graph.delete(f"{path}/{given.body['id']}")).status == 204
    assert await roles.roles_of(managed.object_id, GRAPH_APP) == ()
    assert (await graph.delete(f"{path}/{given.body['id']}")).status == 404


async def test_app_role_is_assigned_through_the_resource(graph: Graph) -> None:
    managed, body = await build_assignment(graph)
    path = f"/servicePrincipals(appId='{GRAPH_APP}')/appRoleAssignedTo"
    given = await graph.post(path, body)
    assert given.status == 201
    held = (await graph.get(f"/servicePrincipals/{managed.object_id}/appRoleAssignments")).value
    assert [one["id"] for one in held] == [given.body["id"]]
    assert (await graph.delete(f"{path}/{given.body['id']}")).status == 204


async def test_duplicate_or_unknown_app_role_assignment_is_rejected(graph: Graph) -> None:
    managed, body = await build_assignment(graph)
    path = f"/servicePrincipals/{managed.object_id}/appRoleAssignments"
    assert (await graph.post(path, body)).status == 201
    again = await graph.post(path, body)
    assert (again.status, again.code) == (400, "Request_BadRequest")
    for wrong, status in (
        ({"appRoleId": str(uuid.uuid4())}, 400),
        ({"appRoleId": "x"}, 400),
        ({"principalId": str(uuid.uuid4())}, 400),
        ({"resourceId": str(uuid.uuid4())}, 404),
        ({"colour": "red"}, 400),
    ):
        reply = await graph.post(path, body | wrong)
        assert reply.status == status, wrong
    assert len((await graph.get(path)).value) == 1


async def test_app_role_for_users_cannot_be_assigned_to_an_application(graph: Graph) -> None:
    role = {
        "id": str(uuid.uuid4()),
        "value": "Sign",
        "displayName": "Sign",
        "description": "d",
        "allowedMemberTypes": ["User"],
    }
    api = await graph.application("api", appRoles=[role])
    resource = await graph.principal(api["appId"])
    managed = await graph.managed("web-mi")
    body = {"principalId": managed.object_id, "resourceId": resource["id"], "appRoleId": role["id"]}
    reply = await graph.post(f"/servicePrincipals/{managed.object_id}/appRoleAssignments", body)
    assert (reply.status, reply.code) == (400, "Request_BadRequest")
    body |= {"principalId": ADMIN}
    given = await graph.post(f"/users/{ADMIN}/appRoleAssignments", body)
    assert (given.status, given.body["principalType"]) == (201, "User")
    assert len((await graph.get(f"/users/{ADMIN}/appRoleAssignments")).value) == 1


async def test_assignment_is_found_only_below_its_principal_or_resource(graph: Graph) -> None:
    one, other = await graph.managed("one"), await graph.managed("two")
    resource_principal = await get_graph_principal(graph)
    body = {
        "principalId": one.object_id,
        "resourceId": resource_principal["id"],
        "appRoleId": READ_APPS,
    }
    given = await graph.post(f"/servicePrincipals/{one.object_id}/appRoleAssignments", body)
    path = f"/servicePrincipals/{other.object_id}/appRoleAssignments/{given.body['id']}"
    assert (await graph.delete(path)).status == 404
    wrong_end = f"/servicePrincipals/{body['resourceId']}/appRoleAssignments/{given.body['id']}"
    assert (await graph.delete(wrong_end)).status == 404


@pytest.mark.parametrize("what", ["memberOf", "transitiveMemberOf", "oauth2PermissionGrants"])
async def test_memberships_and_grants_are_empty_lists(graph: Graph, what: str) -> None:
    managed = await graph.managed("web-mi")
    assert (await graph.get(f"/servicePrincipals/{managed.object_id}/{what}")).value == []


async def test_owners_of_a_service_principal_are_listed_added_and_removed(graph: Graph) -> None:
    principal = await graph.principal((await graph.application())["appId"])
    path = f"/servicePrincipals/{principal['id']}/owners"
    assert [one["id"] for one in (await graph.get(path)).value] == [ADMIN]
    assert (await graph.delete(f"{path}/{ADMIN}/$ref")).status == 204
    assert (await graph.get(path)).value == []
    reference = {"@odata.id": f"https://graph.microsoft.com/v1.0/users/{ADMIN}"}
    assert (await graph.post(f"{path}/$ref", reference)).status == 204
