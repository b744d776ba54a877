"""Role assignments, and what a caller may by them.

Source:  https://learn.microsoft.com/rest/api/authorization/role-assignments
"""

from typing import Any

from podpass.directory import resource_ids, roles
from podpass.directory.errors import AssignmentExists
from podpass.directory.model import RoleAssignment, RoleDefinition
from podpass.directory.resource_manager import lists, refusals, role_definitions, scopes, wire
from podpass.directory.resource_manager.model import Answer, Call, Operation, Route, crud
from podpass.guids import is_lower_guid

TYPE = "Microsoft.Authorization/roleAssignments"
_FILTERS, _CALLS = frozenset({"principalid"}), frozenset({"atscope", "assignedto"})
_PRINCIPALS = ("User", "Group", "ServicePrincipal", "ForeignGroup", "Device")


def write(call: Call, held: RoleAssignment, scope: str) -> dict[str, Any]:
    """Write an assignment as clients read it, at its scope as that is named."""
    created = wire.moment(held.created)
    return {
        "properties": {
            "roleDefinitionId": role_definitions.id_at(call, held.role, scope),
            "principalId": held.principal_id,
            "principalType": held.principal_type,
            "scope": scope,
            "condition": None,
            "conditionVersion": None,
            "createdOn": created,
            "updatedOn": created,
            "createdBy": held.created_by or None,
            "updatedBy": held.created_by or None,
            "delegatedManagedIdentityResourceId": None,
            "description": held.description or None,
        },
        "id": f"{scope.rstrip('/')}/providers/{TYPE}/{held.name}",
        "type": TYPE,
        "name": held.name,
    }


def _name(call: Call) -> str:
    given = call.name.lower()
    if not is_lower_guid(given):
        raise refusals.bad(
            "InvalidRoleAssignmentId", f"The role assignment id '{call.name}' is not a GUID."
        )
    return given


def _member(call: Call, name: str) -> str | None:
    # Old api-versions have the members in 'properties' too; nobody sends them beside it.
    return wire.text(wire.inner(call.body, "properties"), name)


async def _role(call: Call) -> RoleDefinition:
    given = _member(call, "roleDefinitionId") or ""
    name = given.rpartition("/")[2].lower()
    if "/" not in given or not is_lower_guid(name):
        # Ids without a path are what people try first.
        code = "BadRequestFormat" if "/" not in given else "InvalidRoleDefinitionId"
        raise refusals.bad(code, "'roleDefinitionId' is the whole id of a role definition.")
    role = await call.directory.role_definitions.get(name)
    if role is None:
        raise refusals.bad("RoleDefinitionDoesNotExist", f"There is no role definition '{name}'.")
    if not role.built_in and not any(resource_ids.covers(one, call.scope) for one in role.scopes):
        raise refusals.bad(
            "RoleAssignmentScopeNotAssignableToRoleDefinition",
            f"The role '{role.name}' cannot be assigned at '{call.scope}': its assignable scopes are"
            f" {', '.join(role.scopes)}.",
        )
    return role


async def _principal(call: Call) -> tuple[str, str]:
    """Read who is to hold the role, and what kind of principal that is."""
    given = (_member(call, "principalId") or "").lower()
    if not is_lower_guid(given):
        raise refusals.bad("InvalidPrincipalId", "'principalId' is the object id of a principal.")
    kind = await principal_type(call, given)
    if kind is None:
        raise refusals.bad(
            "PrincipalNotFound",
            f"There is no principal '{given}' in the directory {call.place.tenant_id}; for an application"
            " that is the object id of its service principal.",
        )
    claimed = _member(call, "principalType")
    if claimed is not None and claimed.lower() not in [one.lower() for one in _PRINCIPALS]:
        raise refusals.bad("InvalidPrincipalType", f"'{claimed}' is no type of principal.")
    if claimed is not None and claimed.lower() != kind.lower():
        raise refusals.bad(
            "UnmatchedPrincipalType",
            f"The principal '{given}' is of type '{kind}', not '{claimed}'.",
        )
    return given, kind


async def principal_type(call: Call, object_id: str) -> str | None:
    """Tell what kind of principal has an object id; None if none has."""
    found = await call.directory.identities.find(call.place.tenant_id, object_id=object_id)
    if found is not None and found.has_principal:
        return "ServicePrincipal"
    user = await call.directory.users.get(object_id)
    return "User" if user is not None and user.tenant_id == call.place.tenant_id else None


async def _put(call: Call) -> Answer:
    name = _name(call)
    await scopes.check(call, call.scope)
    if _member(call, "condition"):
        # A role that is wider than what was asked for is worse than none.
        text = "Conditions of role assignments are not in podpass; assign the role at a narrower scope."
        raise refusals.bad("BadRequest", text)
    role = await _role(call)
    await _check_assigns(call, f"{TYPE}/write", role.id)
    principal, kind = await _principal(call)
    there = await call.directory.assignments.get(name)
    given = RoleAssignment(
        scope=call.scope,
        principal_id=principal,
        role=role.id,
        name=name,
        principal_type=kind,
        description=_member(call, "description") or "",
        created_by=call.caller.object_id,
    )
    if there is not None:
        same = (there.scope, there.principal_id, there.role)
        if same != (call.scope.lower().rstrip("/") or "/", principal, role.id):
            raise refusals.bad(
                "RoleAssignmentUpdateNotPermitted",
                f"The role assignment '{name}' is there already; neither principal nor role nor scope of one"
                " can change.",
            )
    try:
        await call.directory.assignments.put(given)
    except AssignmentExists as exc:
        raise refusals.conflict(
            "RoleAssignmentExists",
            f"The principal holds this role at this scope already: role assignment '{exc.facts['name']}'.",
        ) from exc
    kept = await call.directory.assignments.get(name)
    return Answer(status=201 if there is None else 200, body=await _written(call, kept or given))


async def _get(call: Call) -> Answer:
    held = await call.directory.assignments.get(_name(call), call.scope)
    if held is None:
        text = f"There is no role assignment '{call.name}' at '{call.scope}'."
        raise refusals.missing("RoleAssignmentNotFound", text)
    return Answer(body=await _written(call, held))


async def _delete(call: Call) -> Answer:
    held = await call.directory.assignments.get(_name(call), call.scope)
    if held is None:
        return Answer(status=204)
    await _check_assigns(call, f"{TYPE}/delete", held.role)
    await call.directory.assignments.delete(held.name, call.scope)
    return Answer(body=await _written(call, held))


async def _check_assigns(call: Call, action: str, role_id: str) -> None:
    """Refuse a role that the caller may not give or take, though it may others."""
    held = await call.directory.roles_for(call.caller.object_id, call.scope)
    if not roles.may_assign(held, action, role_id):
        raise refusals.not_authorized(call.caller, action, call.scope)


async def _written(call: Call, held: RoleAssignment) -> dict[str, Any]:
    shown = await scopes.shown(call, [held.scope])
    return write(call, held, shown[held.scope])


async def _list(call: Call) -> Answer:
    wanted = call.query.filter.known(_FILTERS, _CALLS)
    assigned = wanted.calls.get("assignedto")
    if assigned is not None and len(assigned) != 1:
        raise refusals.bad("InvalidFilterInQueryString", "assignedTo takes one object id.")
    principal = assigned[0] if assigned else wanted.equal.get("principalid")
    await scopes.check(call, call.scope)
    under = None if "atscope" in wanted.calls else call.scope

    async def fetch(after: str | None, limit: int) -> list[RoleAssignment]:
        place = after.rpartition(" ") if after else None
        return await call.directory.assignments.list(
            above=call.scope,
            under=under,
            principal=principal,
            after=(place[0], place[2]) if place else None,
            limit=limit,
        )

    found = await lists.gather(call, fetch, _key)
    shown = await scopes.shown(call, [held.scope for held in found.items])
    return wire.page(call, found, lambda held: write(call, held, shown[held.scope]))


def _key(held: RoleAssignment) -> str:
    return f"{held.scope} {held.name}"


async def _permissions(call: Call) -> Answer:
    held = await call.directory.roles_for(call.caller.object_id, call.scope)
    return wire.whole(role_definitions.permission(role) for role in held)


async def _none(_: Call) -> Answer:
    return wire.whole(())


_AUTHORIZATION = "{scope}/providers/Microsoft.Authorization"
_ALL = f"{{scope}}/providers/{TYPE}"
_ONE = f"{_ALL}/{{name}}"

ROUTES = (
    Route(
        method="GET",
        path=_ALL,
        operation=Operation(title="list role assignments", action=f"{TYPE}/read", run=_list),
    ),
    *crud(_ONE, TYPE, "role assignment", get=_get, put=_put, delete=_delete),
    Route(
        method="GET",
        path=f"{_AUTHORIZATION}/permissions",
        operation=Operation(title="list own permissions", action=None, run=_permissions),
    ),
    Route(
        method="GET",
        path=f"{_AUTHORIZATION}/denyAssignments",
        operation=Operation(
            title="list deny assignments",
            action="Microsoft.Authorization/denyAssignments/read",
            run=_none,
        ),
    ),
    Route(
        method="GET",
        path="/subscriptions/{subscription}/providers/Microsoft.Authorization/classicAdministrators",
        operation=Operation(
            title="list classic administrators",
            action="Microsoft.Authorization/classicAdministrators/read",
            run=_none,
        ),
    ),
)
