"""Application roles given to principals, from both ends: who holds it, and whose it is.

Source: https://learn.microsoft.com/graph/api/resources/approleassignment
"""

import uuid
from dataclasses import replace
from typing import Any

from podpass.directory import builtin_principals
from podpass.directory.graph import paging, people, principals, targets, wire, writing
from podpass.directory.graph.calls import Answer, Call, Item
from podpass.directory.graph.filters import Noun
from podpass.directory.graph.members import guid, read_members, required
from podpass.directory.graph.paths import Key
from podpass.directory.graph.refusals import BadRequest, missing
from podpass.directory.model import AppRoleAssignment, Identity

DEFAULT_ROLE = "00000000-0000-0000-0000-000000000000"
KIND = "appRoleAssignment"
_NOUN = Noun(
    name=KIND,
    looked_at=frozenset(
        {"id", "appRoleId", "principalId", "principalType", "resourceId", "createdDateTime"}
    ),
)
_MEMBERS = {"principalId": guid, "resourceId": guid, "appRoleId": guid}
_READ_ONLY = frozenset(
    {
        "id",
        "createdDateTime",
        "deletedDateTime",
        "principalDisplayName",
        "principalType",
        "resourceDisplayName",
    }
)


async def held(call: Call) -> Answer:
    """List the roles a principal holds."""
    shown = await _principal(call, call.keys[0].value)
    return await _list(call, principal_id=str(shown["id"]))


async def given(call: Call) -> Answer:
    """List who holds roles of a resource."""
    shown = await _principal(call, call.keys[0].value)
    return await _list(call, resource_id=str(shown["id"]))


async def held_by_user(call: Call) -> Answer:
    user = await _user(call, call.keys[0].value)
    return await _list(call, principal_id=str(user["id"]))


async def give_to(call: Call) -> Answer:
    """Give a role to the principal the path names."""
    return await _give(call, holder=(await _principal(call, call.keys[0].value))["id"])


async def give_to_user(call: Call) -> Answer:
    return await _give(call, holder=(await _user(call, call.keys[0].value))["id"])


async def give_of(call: Call) -> Answer:
    """Give a role of the resource the path names."""
    return await _give(call, resource=(await _principal(call, call.keys[0].value))["id"])


async def get_held(call: Call) -> Answer:
    one = await _assignment(call, of_holder=True)
    return paging.one(call, await _show(call, one), KIND, "appRoleAssignments")


async def get_given(call: Call) -> Answer:
    one = await _assignment(call, of_holder=False)
    return paging.one(call, await _show(call, one), KIND, "appRoleAssignments")


async def take_from(call: Call) -> Answer:
    return await _take(call, await _assignment(call, of_holder=True))


async def take_of(call: Call) -> Answer:
    return await _take(call, await _assignment(call, of_holder=False))


async def _list(call: Call, **which: str) -> Answer:
    held = {one.id: one for one in await call.directory.app_roles.list(**which)}
    page = paging.sliced(call, [_raw(one) for one in held.values()], _NOUN)
    # Names are looked up for the page only: a resource may have given its roles to very many.
    shown = [await _show(call, held[str(item["id"])]) for item in page.items]
    return 200, replace(page, items=shown).shown(call, KIND, "appRoleAssignments")


async def _give(call: Call, *, holder: object = None, resource: object = None) -> Answer:
    asked = read_members(call.body, _MEMBERS, _READ_ONLY)
    for name in ("principalId", "resourceId"):
        if name not in asked:
            raise required(name)
    for name, here in (("principalId", holder), ("resourceId", resource)):
        if here is not None and asked[name] != here:
            raise BadRequest(f"Property '{name}' has to name the object of the path.")
    role_id = asked.get("appRoleId", DEFAULT_ROLE)
    whose = await _principal(call, asked["resourceId"])
    who, kind = await _holder(call, asked["principalId"])
    _check_role(whose, role_id, kind)
    for one in await call.directory.app_roles.list(principal_id=who["id"]):
        if (one.resource_id, one.app_role_id) == (whose["id"], role_id):
            raise BadRequest("The principal holds this application role already.")
    new = AppRoleAssignment(
        id=str(uuid.uuid4()),
        principal_id=who["id"],
        principal_type=kind,
        resource_id=whose["id"],
        app_role_id=role_id,
        created=call.now,
    )
    with writing.translating(who["id"]):
        kept = await call.directory.app_roles.put(new)
    return paging.one(call, await _show(call, kept), KIND, "appRoleAssignments", status=201)


def _check_role(resource: Item, role_id: str, kind: str) -> None:
    """Refuse a role the resource does not have, or that such a principal cannot hold."""
    roles = {str(role["id"]): role for role in resource["appRoles"]}
    if role_id == DEFAULT_ROLE and not roles:
        return
    role = roles.get(role_id)
    member = "User" if kind == "User" else "Application"
    if role is None or not role.get("isEnabled", True) or member not in role["allowedMemberTypes"]:
        raise BadRequest(
            f"The resource has no application role of this id that is enabled and open to type {member}: see"
            " 'appRoles' of its service principal.",
            role=role_id,
        )


async def _take(call: Call, one: AppRoleAssignment) -> Answer:
    await call.directory.app_roles.delete(one.id)
    return 204, None


async def _assignment(call: Call, *, of_holder: bool) -> AppRoleAssignment:
    """Find the assignment a path names, only below one of its ends."""
    shown = await _principal(call, call.keys[0].value)
    one = await call.directory.app_roles.get(call.keys[1].value)
    end = None if one is None else one.principal_id if of_holder else one.resource_id
    if one is None or end != shown["id"]:
        raise missing(call.keys[1].value)
    return one


def _raw(one: AppRoleAssignment) -> Item:
    return {
        "id": one.id,
        "deletedDateTime": None,
        "appRoleId": one.app_role_id,
        "createdDateTime": wire.time(one.created),
        "principalDisplayName": None,
        "principalId": one.principal_id,
        "principalType": one.principal_type,
        "resourceDisplayName": None,
        "resourceId": one.resource_id,
    }


async def _show(call: Call, one: AppRoleAssignment) -> Item:
    return _raw(one) | {
        "principalDisplayName": await _name(call, one.principal_id),
        "resourceDisplayName": await _name(call, one.resource_id),
    }


async def _name(call: Call, object_id: str) -> str | None:
    for each in builtin_principals.principals(call.place.tenant_id):
        if each["id"] == object_id:
            return str(each["displayName"])
    found = await call.directory.identities.find(call.place.tenant_id, object_id=object_id)
    if found is not None:
        return found.name
    user = await call.directory.users.get(object_id)
    return None if user is None else str(people.show(user)["displayName"])


async def _holder(call: Call, object_id: str) -> tuple[Item, str]:
    """Find who is to hold a role: a service principal or a user."""
    found = await targets.find_principal(call, Key(name="id", value=object_id))
    if isinstance(found, Identity):
        return principals.show(found, call.place), "ServicePrincipal"
    return await _user(call, object_id), "User"


async def _principal(call: Call, name: str) -> dict[str, Any]:
    key = call.keys[0] if name == call.keys[0].value else Key(name="id", value=name)
    found = await targets.find_principal(call, key)
    if found is None:
        raise missing(name)
    return principals.show(found, call.place)


async def _user(call: Call, name: str) -> Item:
    users = call.directory.users
    found = await users.get(name) or await users.find(call.place.tenant_id, name)
    if found is None or found.tenant_id != call.place.tenant_id:
        raise missing(name)
    return people.show(found)
