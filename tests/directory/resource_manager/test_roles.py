"""Role definitions and role assignments, request by request."""

import uuid
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
async def test_a_built_in_role_is_found_by_name(world: Any, name: str) -> None:
    query = f"$filter=roleName%20eq%20'{name.replace(' ', '%20')}'"
    _, body, _ = await world.ask("GET", f"{SUB}/{AUTH}/roleDefinitions?{query}")
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


async def test_a_role_is_shown_at_every_scope(world: Any) -> None:
    scope = await world.group()
    for above in (SUB, scope):
        _, body, _ = await world.ask("GET", f"{above}/{AUTH}/roleDefinitions/{USER_ROLE}")
        assert body["properties"]["roleName"] == "Key Vault Secrets User"
    status, body, _ = await world.ask("GET", f"{SUB}/{AUTH}/roleDefinitions/{NAME}")
    assert (status, body["error"]["code"]) == (404, "RoleDefinitionDoesNotExist")
    status, body, _ = await world.ask("GET", f"{SUB}/{AUTH}/roleDefinitions/Reader")
    assert (status, body["error"]["code"]) == (400, "InvalidRoleDefinitionId")


def custom(**changes: Any) -> dict[str, Any]:
    properties = {
        "roleName": "Group Reader",
        "description": "reads groups",
        "type": "CustomRole",
        "assignableScopes": [SUB],
        "permissions": [{"actions": ["Microsoft.Resources/subscriptions/resourceGroups/read"]}],
    }
    return {"properties": properties | changes}


async def test_a_custom_role_is_made_used_and_deleted(world: Any) -> None:
    scope, path = await world.group(), f"{SUB}/{AUTH}/roleDefinitions/{NAME}"
    caller = await world.caller("limited")
    status, body, _ = await world.ask("PUT", path, custom())
    assert (status, body["properties"]["type"]) == (201, "CustomRole")
    assert (await world.ask("PUT", path, custom(description="new")))[0] == 201
    query = "$filter=type%20eq%20'CustomRole'"
    _, body, _ = await world.ask("GET", f"{SUB}/{AUTH}/roleDefinitions?{query}")
    assert [one["properties"]["description"] for one in body["value"]] == ["new"]
    await world.ask("PUT", at(scope), assignment(caller.object_id, NAME))
    assert (await world.ask("GET", scope, who="limited"))[0] == 200
    assert (await world.ask("DELETE", scope, who="limited"))[0] == 403
    status, body, _ = await world.ask("DELETE", path)
    assert (status, body["error"]["code"]) == (409, "RoleDefinitionHasAssignments")
    await world.ask("DELETE", at(scope))
    assert (await world.ask("DELETE", path))[0] == 200
    assert (await world.ask("DELETE", path))[0] == 204


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
async def test_a_custom_role_that_breaks_a_rule_is_refused(
    world: Any, changes: Any, status: int, code: str
) -> None:
    path = f"{SUB}/{AUTH}/roleDefinitions/{NAME}"
    found, body, _ = await world.ask("PUT", path, custom(**changes))
    assert (found, body["error"]["code"]) == (status, code)
    assert (await world.ask("GET", path))[0] == 404


async def test_built_in_roles_stay(world: Any) -> None:
    path = f"{SUB}/{AUTH}/roleDefinitions/{READER}"
    status, body, _ = await world.ask("PUT", path, custom())
    assert (status, body["error"]["code"]) == (409, "RoleDefinitionExists")
    status, body, _ = await world.ask("DELETE", path)
    assert (status, body["error"]["code"]) == (400, "RoleDefinitionCannotBeDeleted")


async def test_a_role_cannot_be_made_assignable_where_its_maker_holds_none(world: Any) -> None:
    """Attack: the owner of one group makes a role that others will then hold everywhere."""
    mine = await world.group("mine")
    await world.caller("owner-of-one", "Owner", mine)
    path = f"{mine}/{AUTH}/roleDefinitions/{NAME}"
    status, body, _ = await world.ask("PUT", path, custom(), who="owner-of-one")
    assert (status, body["error"]["code"]) == (403, "AuthorizationFailed")
    answer = await world.ask("PUT", path, custom(assignableScopes=[mine]), who="owner-of-one")
    assert answer[0] == 201
    # The other way round: nobody below takes away what is assignable above.
    await world.ask("PUT", path, custom())
    assert (await world.ask("DELETE", path, who="owner-of-one"))[0] == 403


async def test_a_role_held_elsewhere_is_not_rewritten_from_a_group(world: Any) -> None:
    """Attack: the owner of one group fills a role that it holds in another with every action."""
    mine, other = await world.group("mine"), await world.group("other")
    mal = await world.caller("mal", "Owner", mine)
    path, all_of_it = f"{{}}/{AUTH}/roleDefinitions/{NAME}", [{"actions": ["*"]}]
    await world.ask("PUT", path.format(other), custom(assignableScopes=[other]))
    await world.ask("PUT", at(other), assignment(mal.object_id, NAME))
    wide = custom(assignableScopes=[mine], permissions=all_of_it)
    status, body, _ = await world.ask("PUT", path.format(mine), wide, who="mal")
    assert (status, body["error"]["code"]) == (409, "RoleDefinitionExists")
    assert other not in body["error"]["message"]
    # Seen from both groups, it still takes the right at both.
    await world.ask("PUT", path.format(SUB), custom(assignableScopes=[mine, other]))
    status, body, _ = await world.ask("PUT", path.format(mine), wide, who="mal")
    assert (status, body["error"]["code"]) == (403, "AuthorizationFailed")
    assert (await world.ask("PATCH", other, {"tags": {}}, who="mal"))[0] == 403
    kept = await world.directory.role_definitions.get(NAME)
    assert (kept.actions, kept.scopes) == (
        ("Microsoft.Resources/subscriptions/resourceGroups/read",),
        (mine, other),
    )


async def test_a_role_stays_assignable_where_it_is_assigned(world: Any) -> None:
    mine, other = await world.group("mine"), await world.group("other")
    path = f"{SUB}/{AUTH}/roleDefinitions/{NAME}"
    await world.ask("PUT", path, custom(assignableScopes=[mine, other]))
    await world.ask("PUT", at(other), assignment(ADMIN, NAME))
    status, body, _ = await world.ask("PUT", path, custom(assignableScopes=[mine]))
    assert (status, body["error"]["code"]) == (409, "RoleDefinitionHasAssignments")
    assert (await world.ask("PUT", path, custom(assignableScopes=[other])))[0] == 201
    await world.ask("DELETE", at(other))
    assert (await world.ask("PUT", path, custom(assignableScopes=[mine])))[0] == 201


async def test_a_custom_role_is_assigned_only_where_it_may_be(world: Any) -> None:
    mine, other = await world.group("mine"), await world.group("other")
    await world.ask("PUT", f"{mine}/{AUTH}/roleDefinitions/{NAME}", custom(assignableScopes=[mine]))
    status, body, _ = await world.ask("PUT", at(other), assignment(ADMIN, NAME))
    assert (status, body["error"]["code"]) == (
        400,
        "RoleAssignmentScopeNotAssignableToRoleDefinition",
    )
    assert (await world.ask("PUT", at(mine), assignment(ADMIN, NAME)))[0] == 201


# ------------------------------------------------------------------------------------- assignments


async def test_a_role_is_given_shown_and_taken_away(world: Any) -> None:
    await world.group("My-RG")
    vault = await world.vault(group="my-rg")
    who = await world.caller("web")
    body = assignment(who.object_id, USER_ROLE, principalType="ServicePrincipal", description="x")
    status, made, _ = await world.ask("PUT", at(vault.lower().replace(SUB.lower(), SUB)), body)
    assert status == 201
    # The scope is shown as what lies there is named, whatever was written.
    assert (made["properties"]["scope"], made["id"]) == (vault, at(vault))
    assert made["properties"]["roleDefinitionId"] == role_id(USER_ROLE)
    assert made["properties"]["principalType"] == "ServicePrincipal"
    assert made["properties"]["createdBy"] == ADMIN
    assert (await world.ask("GET", at(vault)))[1] == made
    assert await world.directory.roles_at(who.object_id, vault) == (USER_ROLE,)
    assert (await world.ask("DELETE", at(vault)))[1] == made
    assert (await world.ask("DELETE", at(vault)))[0] == 204
    status, gone, _ = await world.ask("GET", at(vault))
    assert (status, gone["error"]["code"]) == (404, "RoleAssignmentNotFound")
    assert await world.directory.roles_at(who.object_id, vault) == ()


async def test_the_same_role_is_given_once(world: Any) -> None:
    scope, other = await world.group(), await world.group("other")
    who = await world.caller("web")
    assert (await world.ask("PUT", at(scope), assignment(who.object_id)))[0] == 201
    # Templates write the same assignment again and again.
    assert (await world.ask("PUT", at(scope), assignment(who.object_id)))[0] == 200
    second = at(scope, "66666666-6666-4666-8666-666666666666")
    status, body, _ = await world.ask("PUT", second, assignment(who.object_id))
    assert (status, body["error"]["code"]) == (409, "RoleAssignmentExists")
    assert NAME in body["error"]["message"]
    for path, changed in (
        (at(scope), assignment(who.object_id, USER_ROLE)),
        (at(scope), assignment(ADMIN)),
        (at(other), assignment(who.object_id)),
    ):
        status, body, _ = await world.ask("PUT", path, changed)
        assert (status, body["error"]["code"]) == (400, "RoleAssignmentUpdateNotPermitted")
    assert len(await world.directory.assignments.list(principal=who.object_id)) == 1


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
async def test_an_assignment_that_cannot_be_is_refused(world: Any, body: Any, code: str) -> None:
    scope = await world.group()
    status, answer, _ = await world.ask("PUT", at(scope), body)
    assert (status, answer["error"]["code"]) == (400, code)
    assert await world.directory.assignments.get(NAME) is None


VAULT_ACCESS = "8b54135c-b56d-4d72-a534-26097cfdc8d8"
OWNER = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"


async def test_who_gives_the_roles_of_vaults_gives_no_other(world: Any) -> None:
    """Attack: the administrator of access to vaults makes itself owner, or takes the owner's role away."""
    scope = await world.group()
    mal = await world.caller("mal", "Key Vault Data Access Administrator", scope)
    for role in (OWNER, READER, VAULT_ACCESS):
        body = assignment(mal.object_id, role)
        status, answer, _ = await world.ask("PUT", at(scope), body, who="mal")
        assert (status, answer["error"]["code"]) == (403, "AuthorizationFailed")
    await world.ask("PUT", at(scope), assignment(ADMIN, OWNER))
    assert (await world.ask("DELETE", at(scope), who="mal"))[0] == 403
    assert (await world.directory.assignments.get(NAME)) is not None
    await world.ask("DELETE", at(scope))
    given = assignment(mal.object_id, USER_ROLE)
    assert (await world.ask("PUT", at(scope), given, who="mal"))[0] == 201
    assert (await world.ask("DELETE", at(scope), who="mal"))[0] == 200
    # With another role that gives them all, it may give them all.
    await world.ask("PUT", at(scope), assignment(mal.object_id, OWNER))
    second = at(scope, "66666666-6666-4666-8666-666666666666")
    assert (await world.ask("PUT", second, assignment(ADMIN, READER), who="mal"))[0] == 201


async def test_the_condition_of_a_role_is_shown(world: Any) -> None:
    _, body, _ = await world.ask("GET", f"{SUB}/{AUTH}/roleDefinitions/{VAULT_ACCESS}")
    [shown] = body["properties"]["permissions"]
    assert USER_ROLE in shown["condition"]
    assert OWNER not in shown["condition"]


async def test_an_application_without_a_service_principal_holds_no_role(world: Any) -> None:
    from dataclasses import replace

    scope, who = await world.group(), await world.caller("app")
    await world.directory.identities.put(replace(who, has_principal=False))
    status, body, _ = await world.ask("PUT", at(scope), assignment(who.object_id))
    assert (status, body["error"]["code"]) == (400, "PrincipalNotFound")
    status, body, _ = await world.ask("PUT", at(scope), assignment(who.client_id))
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
async def test_roles_are_held_only_where_something_is(
    world: Any, scope: str, status: int, code: str
) -> None:
    await world.group()
    found, body, _ = await world.ask("PUT", at(SUB + scope), assignment(ADMIN))
    assert (found, body["error"]["code"]) == (status, code)


async def test_a_role_is_not_held_at_a_vault_that_lies_in_another_group(world: Any) -> None:
    await world.group()
    await world.group("other")
    elsewhere = (await world.vault()).replace("/rg/", "/other/")
    status, body, _ = await world.ask("PUT", at(elsewhere), assignment(ADMIN, USER_ROLE))
    assert (status, body["error"]["code"]) == (404, "ResourceNotFound")


async def test_a_role_is_held_at_a_single_secret(world: Any) -> None:
    await world.group()
    secret = f"{await world.vault()}/secrets/greeting"
    assert (await world.ask("PUT", at(secret), assignment(ADMIN, USER_ROLE)))[0] == 201


async def test_an_assignment_is_named_by_a_guid(world: Any) -> None:
    scope = await world.group()
    status, body, _ = await world.ask("PUT", at(scope, "mine"), assignment(ADMIN))
    assert (status, body["error"]["code"]) == (400, "InvalidRoleAssignmentId")


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("", {"subscription", "group", "vault"}),
        ("$filter=atScope()", {"subscription", "group"}),
        ("$filter=principalId%20eq%20'{who}'", {"group", "vault"}),
        ("$filter=assignedTo('{who}')", {"group", "vault"}),
        ("$filter=atScope()%20and%20assignedTo('{who}')", {"group"}),
    ],
)
async def test_assignments_are_listed_from_a_scope(
    world: Any, wanted: str, found: set[str]
) -> None:
    scopes = {"subscription": SUB, "group": await world.group()}
    scopes["vault"] = await world.vault()
    who = await world.caller("web")
    for name in ("group", "vault"):
        await world.ask("PUT", at(scopes[name], str(uuid.uuid4())), assignment(who.object_id))
    elsewhere = at(await world.group("other"), str(uuid.uuid4()))
    await world.ask("PUT", elsewhere, assignment(who.object_id))
    query = wanted.format(who=who.object_id)
    path = f"{scopes['group']}/{AUTH}/roleAssignments?{query}"
    status, body, _ = await world.ask("GET", path)
    assert status == 200
    listed = [one["properties"]["scope"] for one in body["value"]]
    assert sorted(listed) == sorted(scopes[name] for name in found)


async def test_assignments_are_listed_page_by_page(world: Any) -> None:
    scope, who = await world.group(), await world.caller("web")
    for role in (READER, USER_ROLE):
        await world.ask("PUT", at(scope, str(uuid.uuid4())), assignment(who.object_id, role))
    pages = await world.pages(f"{SUB}/{AUTH}/roleAssignments?$top=1")
    assert [len(page) for page in pages] == [1, 1, 1]
    assert len({name for page in pages for name in page}) == 3


async def test_a_caller_reads_its_own_permissions(world: Any) -> None:
    scope = await world.group()
    await world.caller("reader", "Reader", scope)
    await world.caller("nobody")
    _, body, _ = await world.ask("GET", f"{scope}/{AUTH}/permissions", who="reader")
    assert [one["actions"] for one in body["value"]] == [["*/read"]]
    _, body, _ = await world.ask("GET", f"{scope}/{AUTH}/permissions", who="nobody")
    assert body["value"] == []
    assert (await world.ask("GET", f"{scope}/{AUTH}/denyAssignments"))[1]["value"] == []


async def test_deleting_a_vault_takes_the_roles_at_it_along(world: Any) -> None:
    await world.group()
    vault = await world.vault()
    await world.ask("PUT", at(vault), assignment(ADMIN, USER_ROLE))
    await world.ask("DELETE", vault)
    assert await world.directory.assignments.get(NAME) is None
