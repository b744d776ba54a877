"""Users, and the application roles that principals hold."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from podpass.directory import builtin_principals, errors
from podpass.directory.model import AppRoleAssignment, Identity, IdentityKind, User, WriteResult
from podpass.directory.resources import GRAPH_APP_ID
from podpass.directory.store.directory import Directory

TENANT = "5d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
OTHER = "6d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0"
ANN = User(
    id="7d9d4a3e-0c35-4fd1-9f0e-1f6a54a3a1d0",
    tenant_id=TENANT,
    name="Ann@contoso.example",
    display_name="Ann",
    password="scrypt",
)
ORDERS = str(uuid.UUID(int=11))
MakeIdentity = Callable[..., Identity]


async def test_user_is_found_by_id_and_by_name_without_case(directory: Directory) -> None:
    assert await directory.users.put(ANN) is WriteResult.CREATED
    found = await directory.users.get(ANN.id.upper())
    assert found is not None
    assert replace(found, created=0) == ANN
    assert await directory.users.find(TENANT, "ann@CONTOSO.example") == found
    assert await directory.users.find(OTHER, ANN.name) is None
    assert await directory.users.find(TENANT, "\u212ann@contoso.example") is None
    assert await directory.users.put(ANN) is WriteResult.UNCHANGED
    assert await directory.users.put(replace(ANN, display_name="A.")) is WriteResult.UPDATED
    assert "scrypt" not in repr(found)


async def test_users_are_listed_by_name(directory: Directory) -> None:
    await directory.users.put(ANN)
    bob = replace(ANN, id=str(uuid.uuid4()), name="bob@contoso.example")
    await directory.users.put(bob)
    assert [one.id for one in await directory.users.list(TENANT)] == [ANN.id, bob.id]
    assert [one.id for one in await directory.users.list(TENANT, after=ANN.name)] == [bob.id]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"id": "x"}, errors.InvalidValue),
        ({"name": "ann"}, errors.InvalidValue),
        ({"name": "ann@contoso.example\n"}, errors.InvalidValue),
        ({"tenant_id": OTHER}, errors.NotFound),
        ({"id": str(uuid.uuid4()), "name": "ANN@contoso.example"}, errors.Conflict),
    ],
)
async def test_invalid_user_is_refused(
    directory: Directory, changes: dict[str, Any], error: type[Exception]
) -> None:
    await directory.users.put(ANN)
    with pytest.raises(error):
        await directory.users.put(replace(ANN, **changes))


@pytest.fixture
async def api_and_workload(
    directory: Directory, make_identity: MakeIdentity
) -> tuple[Identity, Identity]:
    """Create an application with a role, and a workload."""
    roles = [
        {"id": ORDERS, "value": "Orders.Read", "isEnabled": True},
        {"id": str(uuid.UUID(int=12)), "value": "Off", "isEnabled": False},
    ]
    document = {"appRoles": roles}
    api = make_identity("api", kind=IdentityKind.APPLICATION, resource_id=None, document=document)
    workload = make_identity("web")
    await directory.identities.put_many([api, workload])
    return api, workload


def assign_app_role(api: str, workload: Identity, role: str) -> AppRoleAssignment:
    return AppRoleAssignment(
        id="",
        principal_id=workload.object_id,
        principal_type="ServicePrincipal",
        resource_id=api,
        app_role_id=role,
    )


async def test_application_role_is_in_tokens_while_it_is_assigned(
    directory: Directory, api_and_workload: tuple[Identity, Identity]
) -> None:
    api, workload = api_and_workload
    assert await directory.app_roles.roles_of(workload.object_id, api.client_id) == ()
    held = await directory.app_roles.put(assign_app_role(api.object_id, workload, ORDERS))
    assert await directory.app_roles.put(assign_app_role(api.object_id, workload, ORDERS)) == held
    off = assign_app_role(api.object_id, workload, str(uuid.UUID(int=12)))
    await directory.app_roles.put(off)
    assert await directory.app_roles.roles_of(workload.object_id, api.client_id) == ("Orders.Read",)
    assert await directory.app_roles.get(held.id) == held
    assert len(await directory.app_roles.list(principal_id=workload.object_id)) == 2
    assert await directory.app_roles.delete(held.id)
    assert not await directory.app_roles.delete(held.id)
    assert await directory.app_roles.roles_of(workload.object_id, api.client_id) == ()


async def test_graph_permissions_count_only_for_the_graph_resource(
    directory: Directory, api_and_workload: tuple[Identity, Identity]
) -> None:
    """The owner of an application chooses the ids of its roles, and may choose those of Graph."""
    api, workload = api_and_workload
    role = next(iter(builtin_principals.GRAPH_ROLES))
    await directory.app_roles.put(assign_app_role(api.object_id, workload, role))
    graph = GRAPH_APP_ID
    assert await directory.app_roles.roles_of(workload.object_id, graph) == ()
    foreign = builtin_principals.object_id(OTHER, graph)
    await directory.app_roles.put(assign_app_role(foreign, workload, role))
    assert await directory.app_roles.roles_of(workload.object_id, graph) == ()
    await directory.app_roles.put(
        assign_app_role(builtin_principals.object_id(TENANT, graph), workload, role)
    )
    assert await directory.app_roles.roles_of(workload.object_id, graph) == (
        builtin_principals.GRAPH_ROLES[role],
    )
