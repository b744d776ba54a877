"""App role assignments, listed and changed by principal and by resource.

Source: https://learn.microsoft.com/graph/api/resources/approleassignment
"""

import uuid
from dataclasses import replace
from typing import Any

from podpass.directory import builtin_principals
from podpass.directory.graph import identity_writer, lookup, paging, principals, users, wire
from podpass.directory.graph.errors import InvalidRequest, not_found
from podpass.directory.graph.filters import FilterSchema
from podpass.directory.graph.model import GraphRequest, GraphResponse, JsonObject
from podpass.directory.graph.paths import ObjectKey
from podpass.directory.graph.properties import guid, missing_property, parse_properties
from podpass.directory.model import AppRoleAssignment, Identity

DEFAULT_ROLE = "00000000-0000-0000-0000-000000000000"
KIND = "appRoleAssignment"
_NOUN = FilterSchema(
    name=KIND,
    scanned=frozenset(
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


async def list_of_principal(request: GraphRequest) -> GraphResponse:
    """List the app role assignments of a service principal."""
    shown = await _principal_to_json(request, request.keys[0].value)
    return await _list(request, principal_id=str(shown["id"]))


async def list_of_resource(request: GraphRequest) -> GraphResponse:
    """List the assignments of the app roles of a resource."""
    shown = await _principal_to_json(request, request.keys[0].value)
    return await _list(request, resource_id=str(shown["id"]))


async def list_of_user(request: GraphRequest) -> GraphResponse:
    user = await _user_to_json(request, request.keys[0].value)
    return await _list(request, principal_id=str(user["id"]))


async def grant_to_principal(request: GraphRequest) -> GraphResponse:
    """Assign an app role to the service principal in the path."""
    return await _assign(
        request, principal_id=(await _principal_to_json(request, request.keys[0].value))["id"]
    )


async def grant_to_user(request: GraphRequest) -> GraphResponse:
    return await _assign(
        request, principal_id=(await _user_to_json(request, request.keys[0].value))["id"]
    )


async def grant_by_resource(request: GraphRequest) -> GraphResponse:
    """Assign an app role of the resource in the path."""
    return await _assign(
        request, resource=(await _principal_to_json(request, request.keys[0].value))["id"]
    )


async def get_of_principal(request: GraphRequest) -> GraphResponse:
    one = await _assignment(request, by_principal=True)
    return paging.object_response(request, await _to_json(request, one), KIND, "appRoleAssignments")


async def get_of_resource(request: GraphRequest) -> GraphResponse:
    one = await _assignment(request, by_principal=False)
    return paging.object_response(request, await _to_json(request, one), KIND, "appRoleAssignments")


async def revoke_from_principal(request: GraphRequest) -> GraphResponse:
    return await _revoke(request, await _assignment(request, by_principal=True))


async def revoke_by_resource(request: GraphRequest) -> GraphResponse:
    return await _revoke(request, await _assignment(request, by_principal=False))


async def _list(request: GraphRequest, **which: str) -> GraphResponse:
    assignments = {one.id: one for one in await request.directory.app_roles.list(**which)}
    page = paging.slice_items(request, [_ids_to_json(one) for one in assignments.values()], _NOUN)
    # Names are queried only for this page, because a resource may have many assignments.
    shown = [await _to_json(request, assignments[str(item["id"])]) for item in page.items]
    return 200, replace(page, items=shown).to_body(request, KIND, "appRoleAssignments")


async def _assign(
    request: GraphRequest, *, principal_id: object = None, resource: object = None
) -> GraphResponse:
    given = parse_properties(request.body, _MEMBERS, _READ_ONLY)
    for name in ("principalId", "resourceId"):
        if name not in given:
            raise missing_property(name)
    for name, here in (("principalId", principal_id), ("resourceId", resource)):
        if here is not None and given[name] != here:
            raise InvalidRequest(f"Property '{name}' must be the id of the object in the path.")
    role_id = given.get("appRoleId", DEFAULT_ROLE)
    resource_object = await _principal_to_json(request, given["resourceId"])
    principal, kind = await _find_principal_or_user(request, given["principalId"])
    _check_role(resource_object, role_id, kind)
    for one in await request.directory.app_roles.list(principal_id=principal["id"]):
        if (one.resource_id, one.app_role_id) == (resource_object["id"], role_id):
            raise InvalidRequest("The principal already has this app role.")
    new = AppRoleAssignment(
        id=str(uuid.uuid4()),
        principal_id=principal["id"],
        principal_type=kind,
        resource_id=resource_object["id"],
        app_role_id=role_id,
        created=request.now,
    )
    with identity_writer.translate_errors(principal["id"]):
        stored = await request.directory.app_roles.put(new)
    return paging.object_response(
        request, await _to_json(request, stored), KIND, "appRoleAssignments", status=201
    )


def _check_role(resource: JsonObject, role_id: str, kind: str) -> None:
    """Reject an app role that the resource does not have, or that this type of principal cannot get."""
    roles = {str(role["id"]): role for role in resource["appRoles"]}
    if role_id == DEFAULT_ROLE and not roles:
        return
    role = roles.get(role_id)
    member = "User" if kind == "User" else "Application"
    if role is None or not role.get("isEnabled", True) or member not in role["allowedMemberTypes"]:
        raise InvalidRequest(
            f"The resource has no enabled app role with this id for member type {member}:"
            " see 'appRoles' of its service principal.",
            role=role_id,
        )


async def _revoke(request: GraphRequest, one: AppRoleAssignment) -> GraphResponse:
    await request.directory.app_roles.delete(one.id)
    return 204, None


async def _assignment(request: GraphRequest, *, by_principal: bool) -> AppRoleAssignment:
    """Return the assignment in the path, if it belongs to the principal or the resource in the path."""
    shown = await _principal_to_json(request, request.keys[0].value)
    one = await request.directory.app_roles.get(request.keys[1].value)
    end = None if one is None else one.principal_id if by_principal else one.resource_id
    if one is None or end != shown["id"]:
        raise not_found(request.keys[1].value)
    return one


def _ids_to_json(one: AppRoleAssignment) -> JsonObject:
    return {
        "id": one.id,
        "deletedDateTime": None,
        "appRoleId": one.app_role_id,
        "createdDateTime": wire.format_time(one.created),
        "principalDisplayName": None,
        "principalId": one.principal_id,
        "principalType": one.principal_type,
        "resourceDisplayName": None,
        "resourceId": one.resource_id,
    }


async def _to_json(request: GraphRequest, one: AppRoleAssignment) -> JsonObject:
    return _ids_to_json(one) | {
        "principalDisplayName": await _name(request, one.principal_id),
        "resourceDisplayName": await _name(request, one.resource_id),
    }


async def _name(request: GraphRequest, object_id: str) -> str | None:
    for each in builtin_principals.list_principals(request.context.tenant_id):
        if each["id"] == object_id:
            return str(each["displayName"])
    found = await request.directory.identities.find(request.context.tenant_id, object_id=object_id)
    if found is not None:
        return found.name
    user = await request.directory.users.get(object_id)
    return None if user is None else str(users.to_json(user)["displayName"])


async def _find_principal_or_user(request: GraphRequest, object_id: str) -> tuple[JsonObject, str]:
    """Return the principal of a new assignment, a service principal or a user, and its type."""
    found = await lookup.find_principal(request, ObjectKey(name="id", value=object_id))
    if isinstance(found, Identity):
        return principals.to_json(found, request.context), "ServicePrincipal"
    return await _user_to_json(request, object_id), "User"


async def _principal_to_json(request: GraphRequest, name: str) -> dict[str, Any]:
    key = request.keys[0] if name == request.keys[0].value else ObjectKey(name="id", value=name)
    found = await lookup.find_principal(request, key)
    if found is None:
        raise not_found(name)
    if isinstance(found, Identity):
        lookup.require_readable(request, found)
    else:
        # The assignments of a built-in principal name every application with a role in Microsoft Graph.
        lookup.require_full_access(request)
    return principals.to_json(found, request.context)


async def _user_to_json(request: GraphRequest, name: str) -> JsonObject:
    store = request.directory.users
    found = await store.get(name) or await store.find(request.context.tenant_id, name)
    if found is None or found.tenant_id != request.context.tenant_id:
        raise not_found(name)
    return users.to_json(found)
