"""Role definitions and role assignments, over HTTP."""

import uuid
from dataclasses import replace
from typing import Any

import pytest

SUB = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590"
AUTH = "providers/Microsoft.Authorization"
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
USER_ROLE = "4633458b-17de-408a-b874-0445c86b69e6"
ADMIN = "11111111-1111-4111-8111-111111111111"
NAME = "55555555-5555-4555-8555-555555555555"


def role_id(role: str = READER) -> str:
    return f"{SUB}/{AUTH}/roleDefinitions/{role}"


def assignment(principal: str, role: str = READER, **more: Any) -> dict[str, Any]:
    properties = {"roleDefinitionId": role_id(role), "principalId": principal, **more}
    return {"properties": properties}


def at(scope: str, name: str = NAME) -> str:
    return f"{scope}/{AUTH}/roleAssignments/{name}"


# ------------------------------------------------------------------------------------- definitions


@pytest.mark.parametrize(
    "name",
    ["Owner", "Reader", "Contributor", "Key Vault Secrets User", "key vault secrets officer"],
)
async def test_built_in_role_is_found_by_name(manager: Any, name: str) -> None:
    query = f"$filter=roleName%20eq%20'{name.replace(' ', '%20')}'"
    _, body, _ = await manager.send("GET", f"{SUB}/{AUTH}/roleDefinitions?{query}")
    [role] = body["value"]
    assert role["properties"]["roleName"].lower() == name.lower()
    assert role["properties"]["type"] == "BuiltInRole"
    assert role["id"] == f"{SUB}/{AUTH}/roleDefinitions/{role['name']}"
    assert set(role["properties"]["permissions"][0]) == {
        "actions",
        "notActions",
        "dataActions",
        "notDataActions",
    }


async def test_built_in_role_is_readable_at_every_scope(manager: Any) -> None:
    scope = await manager.group()
    for above in (SUB, scope):
        _, body, _ = await manager.send("GET", f"{above}/{AUTH}/roleDefinitions/{USER_ROLE}")
        assert body["properties"]["roleName"] == "Key Vault Secrets User"
    status, body, _ = await manager.send("GET", f"{SUB}/{AUTH}/roleDefinitions/{NAME}")
    assert (status, body["error"]["code"]) == (404, "RoleDefinitionDoesNotExist")
    status, body, _ = await manager.send("GET", f"{SUB}/{AUTH}/roleDefinitions/Reader")
    assert (status, body["error"]["code"]) == (400, "InvalidRoleDefinitionId")


async def test_built_in_roles_are_readable_at_the_root_by_every_caller(manager: Any) -> None:
    """azwi looks for the role by name at the root, where no caller has a role."""
    await manager.add_caller("nobody")
    await manager.send("PUT", f"{SUB}/{AUTH}/roleDefinitions/{NAME}", custom())
    for caller in ("admin", "nobody"):
        query = "$filter=roleName%20eq%20'Reader'"
        status, body, _ = await manager.send(
            "GET", f"/{AUTH}/roleDefinitions?{query}", caller=caller
        )
        assert (status, [one["name"] for one in body["value"]]) == (200, [READER])
        assert body["value"][0]["id"] == f"/{AUTH}/roleDefinitions/{READER}"
        one = await manager.send("GET", f"/{AUTH}/roleDefinitions/{READER}", caller=caller)
        assert (one[0], one[1]["name"]) == (200, READER)


async def test_root_shows_no_custom_roles_and_changes_need_a_role(manager: Any) -> None:
    await manager.add_caller("nobody")
    path = f"{AUTH}/roleDefinitions/{NAME}"
    await manager.send("PUT", f"{SUB}/{path}", custom())
    for caller in ("admin", "nobody"):
        _, body, _ = await manager.send("GET", f"/{AUTH}/roleDefinitions", caller=caller)
        assert {one["properties"]["type"] for one in body["value"]} == {"BuiltInRole"}
        assert (await manager.send("GET", f"/{path}", caller=caller))[0] == 404
        for method in ("PUT", "DELETE"):
            status, _, _ = await manager.send(method, f"/{path}", custom(), caller=caller)
            assert status == 403
    for there in (f"{SUB}/{AUTH}/roleDefinitions", f"/{AUTH}/roleAssignments"):
        assert (await manager.send("GET", there, caller="nobody"))[0] == 403


def custom(**changes: Any) -> dict[str, Any]:
    properties = {
        "roleName": "Group Reader",
        "description": "reads groups",
        "type": "CustomRole",
        "assignableScopes": [SUB],
        "permissions": [{"actions": ["Microsoft.Resources/subscriptions/resourceGroups/read"]}],
    }
    return {"properties": properties | changes}


async def test_custom_role_is_created_assigned_and_deleted(manager: Any) -> None:
    scope, path = await manager.group(), f"{SUB}/{AUTH}/roleDefinitions/{NAME}"
    caller = await manager.add_caller("limited")
    status, body, _ = await manager.send("PUT", path, custom())
    assert (status, body["properties"]["type"]) == (201, "CustomRole")
    assert (await manager.send("PUT", path, custom(description="new")))[0] == 201
    query = "$filter=type%20eq%20'CustomRole'"
    _, body, _ = await manager.send("GET", f"{SUB}/{AUTH}/roleDefinitions?{query}")
    assert [one["properties"]["description"] for one in body["value"]] == ["new"]
    await manager.send("PUT", at(scope), assignment(caller.object_id, NAME))
    assert (await manager.send("GET", scope, caller="limited"))[0] == 200
    assert (await manager.send("DELETE", scope, caller="limited"))[0] == 403
    assert await manager.refused("DELETE", path) == "409 RoleDefinitionHasAssignments"
    await manager.send("DELETE", at(scope))
    assert (await manager.send("DELETE", path))[0] == 200
    assert (await manager.send("DELETE", path))[0] == 204


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"roleName": None}, 400, "RoleDefinitionRequestInvalid"),
        ({"roleName": "reader"}, 409, "RoleDefinitionWithSameNameExists"),
        ({"type": "BuiltInRole"}, 400, "RoleDefinitionRequestInvalid"),
        ({"permissions": []}, 400, "RoleDefinitionRequestInvalid"),
        ({"permissions": [{}, {}]}, 400, "RoleDefinitionRequestInvalid"),
        ({"permissions": [{"condition": "x"}]}, 400, "RoleDefinitionRequestInvalid"),
        ({"permissions": [{"actions": "*"}]}, 400, "InvalidRequestContent"),
        ({"assignableScopes": []}, 400, "InvalidAssignableScope"),
        ({"assignableScopes": ["/"]}, 400, "InvalidAssignableScope"),
        ({"assignableScopes": [f"{SUB}x"]}, 400, "InvalidAssignableScope"),
    ],
)
async def test_invalid_custom_role_is_rejected(
    manager: Any, changes: Any, status: int, code: str
) -> None:
    path = f"{SUB}/{AUTH}/roleDefinitions/{NAME}"
    assert await manager.refused("PUT", path, custom(**changes)) == f"{status} {code}"
    assert (await manager.send("GET", path))[0] == 404


async def test_built_in_role_cannot_be_changed_or_deleted(manager: Any) -> None:
    path = f"{SUB}/{AUTH}/roleDefinitions/{READER}"
    assert await manager.refused("PUT", path, custom()) == "409 RoleDefinitionExists"
    assert await manager.refused("DELETE", path) == "400 RoleDefinitionCannotBeDeleted"


async def test_custom_role_needs_permission_at_each_assignable_scope(manager: Any) -> None:
    """Attack: the owner of one group creates a role that is assignable everywhere."""
    mine = await manager.group("mine")
    await manager.add_caller("owner-of-one", "Owner", mine)
    path = f"{mine}/{AUTH}/roleDefinitions/{NAME}"
    status, body, _ = await manager.send("PUT", path, custom(), caller="owner-of-one")
    assert (status, body["error"]["code"]) == (403, "AuthorizationFailed")
    answer = await manager.send("PUT", path, custom(assignableScopes=[mine]), caller="owner-of-one")
    assert answer[0] == 201
    # Also in the other direction: a caller at a lower scope cannot remove a higher scope.
    await manager.send("PUT", path, custom())
    assert (await manager.send("DELETE", path, caller="owner-of-one"))[0] == 403


async def test_custom_role_with_other_scopes_cannot_be_rewritten_from_a_group(manager: Any) -> None:
    """Attack: the owner of one group adds all actions to a role that it has in another group."""
    mine, other = await manager.group("mine"), await manager.group("other")
    mal = await manager.add_caller("mal", "Owner", mine)
    path, all_of_it = f"{{}}/{AUTH}/roleDefinitions/{NAME}", [{"actions": ["*"]}]
    await manager.send("PUT", path.format(other), custom(assignableScopes=[other]))
    await manager.send("PUT", at(other), assignment(mal.object_id, NAME))
    wide = custom(assignableScopes=[mine], permissions=all_of_it)
    status, body, _ = await manager.send("PUT", path.format(mine), wide, caller="mal")
    assert (status, body["error"]["code"]) == (409, "RoleDefinitionExists")
    assert other not in body["error"]["message"]
    # A role with both groups as scopes needs the permission at both.
    await manager.send("PUT", path.format(SUB), custom(assignableScopes=[mine, other]))
    status, body, _ = await manager.send("PUT", path.format(mine), wide, caller="mal")
    assert (status, body["error"]["code"]) == (403, "AuthorizationFailed")
    assert (await manager.send("PATCH", other, {"tags": {}}, caller="mal"))[0] == 403
    kept = await manager.directory.role_definitions.get(NAME)
    assert (kept.actions, kept.scopes) == (
        ("Microsoft.Resources/subscriptions/resourceGroups/read",),
        (mine, other),
    )


async def test_assigned_scope_of_a_custom_role_cannot_be_removed(manager: Any) -> None:
    mine, other = await manager.group("mine"), await manager.group("other")
    path = f"{SUB}/{AUTH}/roleDefinitions/{NAME}"
    await manager.send("PUT", path, custom(assignableScopes=[mine, other]))
    await manager.send("PUT", at(other), assignment(ADMIN, NAME))
    status, body, _ = await manager.send("PUT", path, custom(assignableScopes=[mine]))
    assert (status, body["error"]["code"]) == (409, "RoleDefinitionHasAssignments")
    assert (await manager.send("PUT", path, custom(assignableScopes=[other])))[0] == 201
    await manager.send("DELETE", at(other))
    assert (await manager.send("PUT", path, custom(assignableScopes=[mine])))[0] == 201


async def test_custom_role_is_assignable_only_at_its_scopes(manager: Any) -> None:
    mine, other = await manager.group("mine"), await manager.group("other")
    await manager.send(
        "PUT", f"{mine}/{AUTH}/roleDefinitions/{NAME}", custom(assignableScopes=[mine])
    )
    status, body, _ = await manager.send("PUT", at(other), assignment(ADMIN, NAME))
    assert (status, body["error"]["code"]) == (
        400,
        "RoleAssignmentScopeNotAssignableToRoleDefinition",
    )
    assert (await manager.send("PUT", at(mine), assignment(ADMIN, NAME)))[0] == 201


# ------------------------------------------------------------------------------------- assignments


async def test_role_is_assigned_read_and_removed(manager: Any) -> None:
    await manager.group("My-RG")
    vault = await manager.vault(group="my-rg")
    caller = await manager.add_caller("web")
    body = assignment(
        caller.object_id, USER_ROLE, principalType="ServicePrincipal", description="x"
    )
    status, made, _ = await manager.send("PUT", at(vault.lower().replace(SUB.lower(), SUB)), body)
    assert status == 201
    # The scope is returned in the spelling of the resource.
    assert (made["properties"]["scope"], made["id"]) == (vault, at(vault))
    assert made["properties"]["roleDefinitionId"] == role_id(USER_ROLE)
    assert made["properties"]["principalType"] == "ServicePrincipal"
    assert made["properties"]["createdBy"] == ADMIN
    assert (await manager.send("GET", at(vault)))[1] == made
    assert await manager.directory.roles_at(caller.object_id, vault) == (USER_ROLE,)
    assert (await manager.send("DELETE", at(vault)))[1] == made
    assert (await manager.send("DELETE", at(vault)))[0] == 204
    assert await manager.refused("GET", at(vault)) == "404 RoleAssignmentNotFound"
    assert await manager.directory.roles_at(caller.object_id, vault) == ()


async def test_duplicate_role_assignment_is_rejected(manager: Any) -> None:
    scope, other = await manager.group(), await manager.group("other")
    caller = await manager.add_caller("web")
    assert (await manager.send("PUT", at(scope), assignment(caller.object_id)))[0] == 201
    # Templates write the same assignment repeatedly.
    assert (await manager.send("PUT", at(scope), assignment(caller.object_id)))[0] == 200
    second = at(scope, "66666666-6666-4666-8666-666666666666")
    status, body, _ = await manager.send("PUT", second, assignment(caller.object_id))
    assert (status, body["error"]["code"]) == (409, "RoleAssignmentExists")
    assert NAME in body["error"]["message"]
    for path, changed in (
        (at(scope), assignment(caller.object_id, USER_ROLE)),
        (at(scope), assignment(ADMIN)),
        (at(other), assignment(caller.object_id)),
    ):
        assert await manager.refused("PUT", path, changed) == "400 RoleAssignmentUpdateNotPermitted"
    assert len(await manager.directory.assignments.list(principal=caller.object_id)) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "BadRequestFormat"),
        ({"properties": {"roleDefinitionId": READER, "principalId": ADMIN}}, "BadRequestFormat"),
        (assignment(ADMIN, "reader"), "InvalidRoleDefinitionId"),
        (assignment(ADMIN, NAME), "RoleDefinitionDoesNotExist"),
        (assignment("me"), "InvalidPrincipalId"),
        (assignment(NAME), "PrincipalNotFound"),
        (assignment(ADMIN, principalType="ServicePrincipal"), "UnmatchedPrincipalType"),
        (assignment(ADMIN, principalType="Robot"), "InvalidPrincipalType"),
        (assignment(ADMIN, condition="@Resource[x] StringEquals 'y'"), "BadRequest"),
        ({"properties": {"roleDefinitionId": 7}}, "InvalidRequestContent"),
    ],
)
async def test_invalid_role_assignment_is_rejected(manager: Any, body: Any, code: str) -> None:
    scope = await manager.group()
    assert await manager.refused("PUT", at(scope), body) == f"400 {code}"
    assert await manager.directory.assignments.get(NAME) is None


VAULT_ACCESS = "8b54135c-b56d-4d72-a534-26097cfdc8d8"
OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"


async def test_vault_access_administrator_assigns_only_vault_roles(manager: Any) -> None:
    """Attack: the administrator of vault access assigns itself Owner, or removes the role of the owner."""
    scope = await manager.group()
    mal = await manager.add_caller("mal", "Key Vault Data Access Administrator", scope)
    for role in (OWNER, READER, VAULT_ACCESS):
        body = assignment(mal.object_id, role)
        status, answer, _ = await manager.send("PUT", at(scope), body, caller="mal")
        assert (status, answer["error"]["code"]) == (403, "AuthorizationFailed")
    await manager.send("PUT", at(scope), assignment(ADMIN, OWNER))
    assert (await manager.send("DELETE", at(scope), caller="mal"))[0] == 403
    assert (await manager.directory.assignments.get(NAME)) is not None
    await manager.send("DELETE", at(scope))
    given = assignment(mal.object_id, USER_ROLE)
    assert (await manager.send("PUT", at(scope), given, caller="mal"))[0] == 201
    assert (await manager.send("DELETE", at(scope), caller="mal"))[0] == 200
    # With another role that may assign all roles, it may assign all roles.
    await manager.send("PUT", at(scope), assignment(mal.object_id, OWNER))
    second = at(scope, "66666666-6666-4666-8666-666666666666")
    assert (await manager.send("PUT", second, assignment(ADMIN, READER), caller="mal"))[0] == 201


async def test_condition_of_a_built_in_role_is_returned(manager: Any) -> None:
    _, body, _ = await manager.send("GET", f"{SUB}/{AUTH}/roleDefinitions/{VAULT_ACCESS}")
    [shown] = body["properties"]["permissions"]
    assert USER_ROLE in shown["condition"]
    assert OWNER not in shown["condition"]


async def test_application_without_a_service_principal_gets_no_role(manager: Any) -> None:
    scope, caller = await manager.group(), await manager.add_caller("app")
    await manager.directory.identities.put(replace(caller, has_principal=False))
    status, body, _ = await manager.send("PUT", at(scope), assignment(caller.object_id))
    assert (status, body["error"]["code"]) == (400, "PrincipalNotFound")
    status, body, _ = await manager.send("PUT", at(scope), assignment(caller.client_id))
    assert (status, body["error"]["code"]) == (400, "PrincipalNotFound")


@pytest.mark.parametrize(
    ("scope", "status", "code"),
    [
        ("/resourceGroups/nope", 404, "ResourceGroupNotFound"),
        ("/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/nope", 404, "ResourceNotFound"),
        (
            "/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/x",
            404,
            "ResourceNotFound",
        ),
        ("/resourceGroups/rg/providers/Microsoft.KeyVault", 400, "InvalidScope"),
        ("/locations/eastus", 400, "InvalidScope"),
    ],
)
async def test_role_assignment_at_a_missing_scope_is_rejected(
    manager: Any, scope: str, status: int, code: str
) -> None:
    await manager.group()
    assert await manager.refused("PUT", at(SUB + scope), assignment(ADMIN)) == f"{status} {code}"


async def test_role_assignment_at_a_vault_in_another_group_is_rejected(manager: Any) -> None:
    await manager.group()
    await manager.group("other")
    elsewhere = (await manager.vault()).replace("/rg/", "/other/")
    status, body, _ = await manager.send("PUT", at(elsewhere), assignment(ADMIN, USER_ROLE))
    assert (status, body["error"]["code"]) == (404, "ResourceNotFound")


async def test_role_is_assignable_at_a_single_secret(manager: Any) -> None:
    await manager.group()
    secret = f"{await manager.vault()}/secrets/greeting"
    assert (await manager.send("PUT", at(secret), assignment(ADMIN, USER_ROLE)))[0] == 201


async def test_role_assignment_name_must_be_a_guid(manager: Any) -> None:
    scope = await manager.group()
    status, body, _ = await manager.send("PUT", at(scope, "mine"), assignment(ADMIN))
    assert (status, body["error"]["code"]) == (400, "InvalidRoleAssignmentId")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("", {"subscription", "group", "vault"}),
        ("$filter=atScope()", {"subscription", "group"}),
        ("$filter=principalId%20eq%20'{caller}'", {"group", "vault"}),
        ("$filter=assignedTo('{caller}')", {"group", "vault"}),
        ("$filter=atScope()%20and%20assignedTo('{caller}')", {"group"}),
    ],
)
async def test_assignments_are_listed_from_a_scope(
    manager: Any, wanted: str, found: set[str]
) -> None:
    scopes = {"subscription": SUB, "group": await manager.group()}
    scopes["vault"] = await manager.vault()
    caller = await manager.add_caller("web")
    for name in ("group", "vault"):
        await manager.send("PUT", at(scopes[name], str(uuid.uuid4())), assignment(caller.object_id))
    elsewhere = at(await manager.group("other"), str(uuid.uuid4()))
    await manager.send("PUT", elsewhere, assignment(caller.object_id))
    query = wanted.format(caller=caller.object_id)
    path = f"{scopes['group']}/{AUTH}/roleAssignments?{query}"
    status, body, _ = await manager.send("GET", path)
    assert status == 200
    listed = [one["properties"]["scope"] for one in body["value"]]
    assert sorted(listed) == sorted(scopes[name] for name in found)


async def test_assignments_are_listed_in_pages(manager: Any) -> None:
    scope, caller = await manager.group(), await manager.add_caller("web")
    for role in (READER, USER_ROLE):
        await manager.send("PUT", at(scope, str(uuid.uuid4())), assignment(caller.object_id, role))
    pages = await manager.pages(f"{SUB}/{AUTH}/roleAssignments?$top=1")
    assert [len(page) for page in pages] == [1, 1, 1]
    assert len({name for page in pages for name in page}) == 3


async def test_caller_reads_its_own_permissions(manager: Any) -> None:
    scope = await manager.group()
    await manager.add_caller("reader", "Reader", scope)
    await manager.add_caller("unprivileged")
    _, body, _ = await manager.send("GET", f"{scope}/{AUTH}/permissions", caller="reader")
    assert [one["actions"] for one in body["value"]] == [["*/read"]]
    _, body, _ = await manager.send("GET", f"{scope}/{AUTH}/permissions", caller="unprivileged")
    assert body["value"] == []
    assert (await manager.send("GET", f"{scope}/{AUTH}/denyAssignments"))[1]["value"] == []


async def test_deleting_a_vault_deletes_its_role_assignments(manager: Any) -> None:
    await manager.group()
    vault = await manager.vault()
    await manager.send("PUT", at(vault), assignment(ADMIN, USER_ROLE))
    await manager.send("DELETE", vault)
    assert await manager.directory.assignments.get(NAME) is None
