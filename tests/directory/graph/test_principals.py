"""Service principals: of applications, of managed identities, built in; and the roles they are given."""

import uuid
from typing import Any

import pytest

from podpass.directory.model import RoleAssignment
from tests.directory.graph.world import ADMIN, DOMAIN, TENANT, World

GRAPH_APP = "00000003-0000-0000-c000-000000000000"
READ_APPS = "9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30"


async def of_graph(world: World) -> Any:
    return (await world.get(f"/servicePrincipals(appId='{GRAPH_APP}')")).body


async def test_an_application_gets_its_principal(world: World) -> None:
    made = await world.application("web", identifierUris=[f"https://{DOMAIN}/x"])
    principal = await world.principal(made["appId"], accountEnabled=True)
    assert principal["servicePrincipalType"] == "Application"
    assert principal["servicePrincipalNames"] == [made["appId"], f"https://{DOMAIN}/x"]
    assert principal["appOwnerOrganizationId"] == TENANT
    for path in (principal["id"], f"(appId='{made['appId']}')"):
        join = "" if path.startswith("(") else "/"
        read = await world.get(f"/servicePrincipals{join}{path}")
        assert (read.status, read.body["id"]) == (200, principal["id"])


async def test_an_application_has_one_principal(world: World) -> None:
    made = await world.application()
    await world.principal(made["appId"])
    again = await world.post("/servicePrincipals", {"appId": made["appId"]})
    assert (again.status, again.code) == (409, "Request_MultipleObjectsWithSameKeyValue")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"appId": str(uuid.UUID(int=5))}, "NoBackingApplicationObject"),
        ({"appId": "x"}, "Request_BadRequest"),
        ({}, "Request_BadRequest"),
    ],
)
async def test_a_principal_of_nothing_is_refused(
    world: World, body: dict[str, object], code: str
) -> None:
    reply = await world.post("/servicePrincipals", body)
    assert (reply.status, reply.code) == (400, code)


async def test_an_upsert_by_application_id(world: World) -> None:
    made = await world.application()
    path, prefer = f"/servicePrincipals(appId='{made['appId']}')", {"Prefer": "create-if-missing"}
    assert (await world.patch(path, {"notes": "a"})).status == 404
    assert (await world.patch(path, {"notes": "a"}, headers=prefer)).status == 201
    assert (await world.patch(path, {"notes": "b"}, headers=prefer)).status == 204
    assert (await world.get(path)).body["notes"] == "b"


async def test_a_principal_is_changed(world: World) -> None:
    made = await world.application()
    principal = await world.principal(made["appId"])
    path = f"/servicePrincipals/{principal['id']}"
    body = {"accountEnabled": False, "tags": ["x"], "appRoleAssignmentRequired": True}
    assert (await world.patch(path, body)).status == 204
    read = (await world.get(path)).body
    assert {name: read[name] for name in body} == body
    kept = await world.directory.identities.get(TENANT, made["appId"])
    assert kept is not None
    assert kept.enabled is False
    for wrong in ({"appId": str(uuid.uuid4())}, {"colour": 1}, {"servicePrincipalNames": ["x"]}):
        reply = await world.patch(path, wrong)
        assert (reply.status, reply.code) == (400, "Request_BadRequest")


async def test_a_deleted_principal_leaves_its_application_and_none_of_its_rights(
    world: World,
) -> None:
    """Without it the next principal of the application would inherit what this one might."""
    made = await world.application()
    principal = await world.principal(made["appId"])
    path = f"/servicePrincipals/{principal['id']}"
    graph = await of_graph(world)
    role = {"principalId": principal["id"], "resourceId": graph["id"], "appRoleId": READ_APPS}
    await world.post(f"{path}/appRoleAssignments", role)
    await world.directory.assignments.put(
        RoleAssignment(scope="/s", principal_id=principal["id"], role=str(uuid.uuid4()))
    )
    assert (await world.delete(path)).status == 204
    assert (await world.get(path)).status == 404
    assert (await world.get(f"/applications/{made['id']}")).status == 200
    again = await world.principal(made["appId"])
    assert again["id"] != principal["id"]
    assert (await world.get(f"/servicePrincipals/{again['id']}/appRoleAssignments")).value == []
    assert await world.directory.assignments.list(principal=principal["id"]) == []


async def test_a_managed_identity_is_shown_and_not_deleted_here(world: World) -> None:
    managed = await world.managed("web-mi")
    path = f"/servicePrincipals/{managed.object_id}"
    read = (await world.get(path)).body
    assert read["servicePrincipalType"] == "ManagedIdentity"
    assert read["alternativeNames"] == ["isExplicit=True", managed.resource_id]
    assert read["appId"] == managed.client_id
    reply = await world.delete(path)
    assert (reply.status, reply.code) == (400, "Request_BadRequest")
    assert (await world.get(path)).status == 200
    assert (await world.get(f"/applications(appId='{managed.client_id}')")).status == 404


async def test_the_kinds_of_principals_are_told_apart_by_filter(world: World) -> None:
    managed = await world.managed("web-mi")
    made = await world.principal((await world.application())["appId"])
    kind = "/servicePrincipals?$filter=servicePrincipalType%20eq%20"
    assert [one["id"] for one in (await world.get(f"{kind}'ManagedIdentity'")).value] == [
        managed.object_id
    ]
    ids = {one["id"] for one in (await world.get(f"{kind}'Application'")).value}
    assert made["id"] in ids
    assert managed.object_id not in ids


# ------------------------------------------------------------------------------------- built in


async def test_graph_is_a_principal_of_the_tenant_with_its_permissions(world: World) -> None:
    graph = await of_graph(world)
    roles = {role["id"]: role["value"] for role in graph["appRoles"]}
    assert roles[READ_APPS] == "Application.Read.All"
    assert roles["06b708a9-e830-4db3-a914-8e69da51d44f"] == "AppRoleAssignment.ReadWrite.All"
    assert (await of_graph(world))["id"] == graph["id"]
    assert graph["id"] != GRAPH_APP


@pytest.mark.parametrize(
    "name", ["https://vault.azure.net", "https://management.azure.com", GRAPH_APP]
)
async def test_built_in_principals_are_found_by_their_names(world: World, name: str) -> None:
    clause = f"servicePrincipalNames/any(c:c%20eq%20'{name}')"
    [found] = (await world.get(f"/servicePrincipals?$filter={clause}")).value
    assert name in found["servicePrincipalNames"]


async def test_nobody_changes_a_built_in_principal(world: World) -> None:
    path = f"/servicePrincipals/{(await of_graph(world))['id']}"
    for reply in (
        await world.patch(path, {"notes": "mine"}),
        await world.delete(path),
        await world.post(f"{path}/addPassword", {}),
    ):
        assert (reply.status, reply.code) == (403, "Authorization_RequestDenied")


# ------------------------------------------------------------------------------------ app roles


async def test_a_permission_of_graph_is_given_and_taken(world: World) -> None:
    managed = await world.managed("web-mi")
    graph = await of_graph(world)
    body = {"principalId": managed.object_id, "resourceId": graph["id"], "appRoleId": READ_APPS}
    path = f"/servicePrincipals/{managed.object_id}/appRoleAssignments"
    given = await world.post(path, body)
    assert given.status == 201
    assert (given.body["principalDisplayName"], given.body["resourceDisplayName"]) == (
        "web-mi",
        "Microsoft Graph",
    )
    roles = world.directory.app_roles
    assert await roles.roles_of(managed.object_id, GRAPH_APP) == ("Application.Read.All",)
    to = f"/servicePrincipals/{graph['id']}/appRoleAssignedTo"
    assert [one["id"] for one in (await world.get(to)).value] == [given.body["id"]]
    assert (await world.get(f"{path}/{given.body['id']}")).status == 200
    assert (await world.delete(f"{path}/{given.body['id']}")).status == 204
    assert await roles.roles_of(managed.object_id, GRAPH_APP) == ()
    assert (await world.delete(f"{path}/{given.body['id']}")).status == 404


async def test_roles_are_given_from_the_resources_end_too(world: World) -> None:
    managed = await world.managed("web-mi")
    graph = await of_graph(world)
    body = {"principalId": managed.object_id, "resourceId": graph["id"], "appRoleId": READ_APPS}
    path = f"/servicePrincipals(appId='{GRAPH_APP}')/appRoleAssignedTo"
    given = await world.post(path, body)
    assert given.status == 201
    held = (await world.get(f"/servicePrincipals/{managed.object_id}/appRoleAssignments")).value
    assert [one["id"] for one in held] == [given.body["id"]]
    assert (await world.delete(f"{path}/{given.body['id']}")).status == 204


async def test_a_role_is_given_once_and_has_to_be_there(world: World) -> None:
    managed = await world.managed("web-mi")
    graph = await of_graph(world)
    body = {"principalId": managed.object_id, "resourceId": graph["id"], "appRoleId": READ_APPS}
    path = f"/servicePrincipals/{managed.object_id}/appRoleAssignments"
    assert (await world.post(path, body)).status == 201
    again = await world.post(path, body)
    assert (again.status, again.code) == (400, "Request_BadRequest")
    for wrong, status in (
        ({"appRoleId": str(uuid.uuid4())}, 400),
        ({"appRoleId": "x"}, 400),
        ({"principalId": str(uuid.uuid4())}, 400),
        ({"resourceId": str(uuid.uuid4())}, 404),
        ({"colour": "red"}, 400),
    ):
        reply = await world.post(path, body | wrong)
        assert reply.status == status, wrong
    assert len((await world.get(path)).value) == 1


async def test_a_role_for_users_goes_to_no_application(world: World) -> None:
    role = {
        "id": str(uuid.uuid4()),
        "value": "Sign",
        "displayName": "Sign",
        "description": "d",
        "allowedMemberTypes": ["User"],
    }
    api = await world.application("api", appRoles=[role])
    resource = await world.principal(api["appId"])
    managed = await world.managed("web-mi")
    body = {"principalId": managed.object_id, "resourceId": resource["id"], "appRoleId": role["id"]}
    reply = await world.post(f"/servicePrincipals/{managed.object_id}/appRoleAssignments", body)
    assert (reply.status, reply.code) == (400, "Request_BadRequest")
    body |= {"principalId": ADMIN}
    given = await world.post(f"/users/{ADMIN}/appRoleAssignments", body)
    assert (given.status, given.body["principalType"]) == (201, "User")
    assert len((await world.get(f"/users/{ADMIN}/appRoleAssignments")).value) == 1


async def test_an_assignment_is_found_below_its_ends_only(world: World) -> None:
    one, other = await world.managed("one"), await world.managed("two")
    graph = await of_graph(world)
    body = {"principalId": one.object_id, "resourceId": graph["id"], "appRoleId": READ_APPS}
    given = await world.post(f"/servicePrincipals/{one.object_id}/appRoleAssignments", body)
    path = f"/servicePrincipals/{other.object_id}/appRoleAssignments/{given.body['id']}"
    assert (await world.delete(path)).status == 404
    wrong_end = f"/servicePrincipals/{graph['id']}/appRoleAssignments/{given.body['id']}"
    assert (await world.delete(wrong_end)).status == 404


@pytest.mark.parametrize("what", ["memberOf", "transitiveMemberOf", "oauth2PermissionGrants"])
async def test_memberships_and_grants_are_empty_lists(world: World, what: str) -> None:
    managed = await world.managed("web-mi")
    assert (await world.get(f"/servicePrincipals/{managed.object_id}/{what}")).value == []


async def test_the_owners_of_a_principal(world: World) -> None:
    principal = await world.principal((await world.application())["appId"])
    path = f"/servicePrincipals/{principal['id']}/owners"
    assert [one["id"] for one in (await world.get(path)).value] == [ADMIN]
    assert (await world.delete(f"{path}/{ADMIN}/$ref")).status == 204
    assert (await world.get(path)).value == []
    reference = {"@odata.id": f"https://graph.microsoft.com/v1.0/users/{ADMIN}"}
    assert (await world.post(f"{path}/$ref", reference)).status == 204
