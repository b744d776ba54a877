"""Built-in and custom roles, assigned at a scope or above it."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from podpass.database import collecting_errors
from podpass.directory import errors, resource_ids, roles
from podpass.directory.model import Identity, RoleAssignment, RoleDefinition, WriteResult
from podpass.directory.store.directory import Directory
from podpass.guids import is_lower_guid
from podpass.lab.services import create_roles

SUB = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590"
VAULT = f"{SUB}/resourceGroups/web/providers/Microsoft.KeyVault/vaults/demo"
READ = "Microsoft.KeyVault/vaults/read"
ASSIGN = "Microsoft.Authorization/roleAssignments/write"


def custom(**changes: Any) -> RoleDefinition:
    values: dict[str, Any] = {
        "id": str(uuid.UUID(int=7)),
        "name": "Vault looker",
        "actions": ("Microsoft.KeyVault/*/read",),
        "not_actions": ("Microsoft.KeyVault/deletedVaults/read",),
        "data_actions": (roles.GET_SECRET,),
        "scopes": (SUB,),
    }
    return RoleDefinition(**(values | changes))


async def assign_role(
    directory: Directory, role: str, scope: str = SUB, name: str = ""
) -> WriteResult:
    given = RoleAssignment(scope=scope, principal_id="p", role=role, name=name)
    return await directory.assign_role(given)


def test_ids_and_names_of_built_in_roles_are_unique() -> None:
    assert len({one.id for one in create_roles().all}) == len(create_roles().all)
    assert len({one.name for one in create_roles().all}) == len(create_roles().all)
    assert all(is_lower_guid(one.id) and one.description for one in create_roles().all)


@pytest.mark.parametrize(
    ("role", "action", "may"),
    [
        ("Owner", ASSIGN, True),
        ("Contributor", READ, True),
        ("Contributor", ASSIGN, False),
        ("Contributor", ASSIGN.upper(), False),
        ("Contributor", "Microsoft.Authorization/roleAssignments/read", True),
        ("Reader", READ, True),
        ("Reader", "Microsoft.KeyVault/vaults/write", False),
        ("Key Vault Reader", "Microsoft.KeyVault/vaults/read", True),
        ("Role Based Access Control Administrator", ASSIGN, True),
        ("Key Vault Contributor", "Microsoft.KeyVault/locations/deletedVaults/purge/action", False),
        (
            "Managed Identity Operator",
            "Microsoft.ManagedIdentity/userAssignedIdentities/write",
            False,
        ),
    ],
)
async def test_role_permits_its_actions_except_its_not_actions(
    directory: Directory, role: str, action: str, *, may: bool
) -> None:
    await assign_role(directory, role)
    assert await directory.is_permitted("p", action, VAULT) is may
    assert not await directory.is_permitted("q", action, VAULT)


async def test_owner_manages_a_vault_and_cannot_read_its_secrets(directory: Directory) -> None:
    await assign_role(directory, "Owner")
    assert not await directory.is_permitted("p", roles.GET_SECRET, VAULT, data=True)
    await assign_role(directory, "Key Vault Secrets User", VAULT)
    assert await directory.is_permitted("p", roles.GET_SECRET, VAULT + "/secrets/x", data=True)
    assert not await directory.is_permitted("p", roles.GET_SECRET, VAULT + "2", data=True)


async def test_not_actions_of_one_role_do_not_restrict_another_role(directory: Directory) -> None:
    await assign_role(directory, "Contributor")
    await assign_role(directory, "User Access Administrator")
    assert await directory.is_permitted("p", ASSIGN, SUB)


@pytest.mark.parametrize(
    ("scope", "elsewhere"),
    [("/", True), (SUB, False), (f"{SUB}/resourceGroups/WEB", False), (VAULT.upper(), False)],
)
async def test_role_applies_from_every_scope_above(
    directory: Directory, scope: str, elsewhere: bool
) -> None:
    await assign_role(directory, "Reader", scope)
    assert await directory.is_permitted("p", READ, VAULT)
    assert await directory.is_permitted("p", READ, "/subscriptions/other") is elsewhere


async def test_custom_role_grants_access_until_its_assignment_is_deleted(
    directory: Directory,
) -> None:
    assert await directory.role_definitions.put(custom()) is WriteResult.CREATED
    assert await directory.role_definitions.put(custom()) is WriteResult.UNCHANGED
    await assign_role(directory, custom().id)
    assert await directory.is_permitted("p", READ, VAULT)
    assert await directory.is_permitted("p", roles.GET_SECRET, VAULT, data=True)
    assert not await directory.is_permitted("p", "Microsoft.KeyVault/deletedVaults/read", SUB)
    with pytest.raises(errors.InUse):
        await directory.role_definitions.delete(custom().id)
    less = custom(actions=(), data_actions=())
    assert await directory.role_definitions.put(less) is WriteResult.UPDATED
    assert not await directory.is_permitted("p", READ, VAULT)
    [held] = await directory.assignments.list()
    await directory.assignments.delete(held.name)
    assert await directory.role_definitions.delete(custom().id) is not None
    assert await directory.role_definitions.delete(custom().id) is None


async def test_roles_are_found_by_name_and_listed_with_the_built_in_ones(
    directory: Directory,
) -> None:
    await directory.role_definitions.put(custom())
    [found] = await directory.role_definitions.list("vault LOOKER")
    assert (found.id, found.built_in, found.not_actions) == (
        custom().id,
        False,
        custom().not_actions,
    )
    assert await directory.role_definitions.get(custom().id.upper()) == found
    every = await directory.role_definitions.list()
    assert every == [*create_roles().all, found]
    [owner] = await directory.role_definitions.list("owner")
    assert owner.name == "Owner"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "owner"}, "conflict"),
        ({"id": "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"}, "conflict"),
        ({"id": "x"}, "invalid_value"),
        ({"name": " x"}, "invalid_value"),
        ({"scopes": ()}, "invalid_value"),
        ({"actions": ("no spaces here",)}, "invalid_value"),
        ({"actions": ("*" * 40,)}, "invalid_value"),
        ({"data_actions": tuple(f"a/{n}" for n in range(2001))}, "too_many"),
    ],
)
async def test_invalid_custom_role_is_refused(
    directory: Directory, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(errors.DirectoryError) as caught:
        await directory.role_definitions.put(custom(**changes))
    assert caught.value.code == code
    if code != "conflict":
        assert caught.value.facts["field"] == next(iter(changes))


async def test_duplicate_assignment_under_another_name_is_refused(directory: Directory) -> None:
    name = str(uuid.uuid4())
    assert await assign_role(directory, "Reader", name=name) is WriteResult.CREATED
    assert await assign_role(directory, "Reader", name=name.upper()) is WriteResult.UNCHANGED
    assert await assign_role(directory, "Reader") is WriteResult.UNCHANGED
    with pytest.raises(errors.AssignmentExists) as caught:
        await assign_role(directory, "Reader", name=str(uuid.uuid4()))
    assert caught.value.facts["name"] == name
    with pytest.raises(errors.Conflict, match="another role assignment has this name"):
        await assign_role(directory, "Owner", name=name)
    with pytest.raises(errors.InvalidValue):
        await assign_role(directory, "Owner", name="x")
    found = await directory.assignments.get(name, SUB.upper())
    assert found is not None
    assert await directory.assignments.get(name, VAULT) is None
    assert await directory.assignments.put(replace(found, description="why")) is WriteResult.UPDATED


async def test_assignments_are_listed_at_above_and_under_a_scope(directory: Directory) -> None:
    group = f"{SUB}/resourceGroups/web"
    places = ("/", SUB, group, f"{SUB}/resourceGroups/web2", VAULT)
    for place in places:
        await assign_role(directory, "Reader", place)

    async def list_names(**asked: Any) -> set[str]:
        return {one.scope for one in await directory.assignments.list(**asked)}

    every = {place.lower() for place in places}
    assert await list_names() == every
    assert await list_names(at=group) == {group.lower()}
    assert await list_names(under=group) == {group.lower(), VAULT.lower()}
    assert await list_names(above=group) == {"/", SUB, group.lower()}
    assert await list_names(above=group, under=group) == every - {f"{SUB}/resourcegroups/web2"}
    assert await list_names(principal="P") == every
    assert await list_names(principal="q") == set()
    one = await directory.assignments.list(limit=2)
    rest = await directory.assignments.list(after=(one[-1].scope, one[-1].name))
    assert {each.scope for each in rest} == every - {each.scope for each in one}


def test_each_parent_scope_is_listed_once() -> None:
    assert resource_ids.scopes_above("/subscriptions/S/resourceGroups/g/") == (
        "/subscriptions/s/resourcegroups/g",
        "/subscriptions/s/resourcegroups",
        "/subscriptions/s",
        "/subscriptions",
        "/",
    )
    assert resource_ids.scopes_above("/") == ("/",)


async def test_identity_with_a_reused_name_does_not_get_old_role_assignments(
    directory: Directory, make_identity: Callable[..., Identity]
) -> None:
    place = resource_ids.identity_id(SUB.rpartition("/")[2], "web", "shop")
    trust = "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials/write"
    first = make_identity("shop", resource_id=place)
    await directory.identities.put(first)
    await assign_role(directory, "Owner", place)
    assert await directory.is_permitted("p", trust, place)
    await directory.identities.delete(first.tenant_id, first.client_id)
    await directory.identities.put(make_identity("shop", resource_id=place))
    assert not await directory.is_permitted("p", trust, place)


async def test_assignment_without_a_name_is_a_corrupt_row_and_grants_nothing(
    directory: Directory,
) -> None:
    """The column allows NULL, so the database accepts the row."""
    await assign_role(directory, "Owner", name=str(uuid.UUID(int=8)))
    await assign_role(directory, "Reader", name=str(uuid.UUID(int=9)))
    unnamed = text("UPDATE role_assignments SET name = NULL WHERE role = :role")
    owner = roles.RoleCatalogue().by_name["owner"].id
    await directory._session.write(lambda write: write.connection.execute(unnamed, {"role": owner}))
    assert not await directory.is_permitted("p", ASSIGN, SUB)
    assert await directory.is_permitted("p", READ, SUB)
    with collecting_errors() as errors_found:
        assert [one.role for one in await directory.assignments.list()] == [
            roles.RoleCatalogue().by_name["reader"].id
        ]
    [row] = errors_found
    assert row.message == (
        f"the row of p/{owner} at {SUB} in table role_assignments cannot be read"
    )
