"""Role assignments, and the permissions that a caller has from them.

Source:  https://learn.microsoft.com/rest/api/authorization/role-assignments
"""

from typing import Any

from podpass.directory import resource_ids, roles
from podpass.directory.errors import AssignmentExists
from podpass.directory.model import RoleAssignment, RoleDefinition
from podpass.directory.resource_manager import errors, paging, role_definitions, scopes, wire
from podpass.directory.resource_manager.model import (
    ManagerResponse,
    OperationContext,
    build_route,
    crud_routes,
)
from podpass.guids import is_lower_guid

TYPE = "Microsoft.Authorization/roleAssignments"
_FILTERS, _CALLS = frozenset({"principalid"}), frozenset({"atscope", "assignedto"})
_PRINCIPALS = ("User", "Group", "ServicePrincipal", "ForeignGroup", "Device")


def to_json(context: OperationContext, assignment: RoleAssignment, scope: str) -> dict[str, Any]:
    """Return an assignment as a response body; `scope` is its scope in the spelling of the resource."""
    created = wire.format_time(assignment.created)
    return {
        "properties": {
            "roleDefinitionId": role_definitions.definition_id(context, assignment.role, scope),
            "principalId": assignment.principal_id,
            "principalType": assignment.principal_type,
            "scope": scope,
            "condition": None,
            "conditionVersion": None,
            "createdOn": created,
            "updatedOn": created,
            "createdBy": assignment.created_by or None,
            "updatedBy": assignment.created_by or None,
            "delegatedManagedIdentityResourceId": None,
            "description": assignment.description or None,
        },
        "id": f"{scope.rstrip('/')}/providers/{TYPE}/{assignment.name}",
        "type": TYPE,
        "name": assignment.name,
    }


def _parse_name(context: OperationContext) -> str:
    given = context.name.lower()
    if not is_lower_guid(given):
        raise errors.bad_request(
            "InvalidRoleAssignmentId", f"The role assignment id '{context.name}' is not a GUID."
        )
    return given


def _member(context: OperationContext, name: str) -> str | None:
    # All api-versions have the members in 'properties'.
    return wire.text(wire.object_member(context.body, "properties"), name)


async def _parse_role(context: OperationContext) -> RoleDefinition:
    given = _member(context, "roleDefinitionId") or ""
    name = given.rpartition("/")[2].lower()
    if "/" not in given or not is_lower_guid(name):
        # An ID without a path is a frequent mistake and has its own code.
        code = "BadRequestFormat" if "/" not in given else "InvalidRoleDefinitionId"
        raise errors.bad_request(
            code, "'roleDefinitionId' must be the full id of a role definition."
        )
    role = await context.directory.role_definitions.get(name)
    if role is None:
        raise errors.bad_request(
            "RoleDefinitionDoesNotExist", f"There is no role definition '{name}'."
        )
    if not role.built_in and not any(
        resource_ids.covers(one, context.scope) for one in role.scopes
    ):
        raise errors.bad_request(
            "RoleAssignmentScopeNotAssignableToRoleDefinition",
            f"The role '{role.name}' cannot be assigned at '{context.scope}': its assignable scopes are"
            f" {', '.join(role.scopes)}.",
        )
    return role


async def _parse_principal(context: OperationContext) -> tuple[str, str]:
    """Parse the principal of a new assignment; return its object ID and type."""
    given = (_member(context, "principalId") or "").lower()
    if not is_lower_guid(given):
        raise errors.bad_request(
            "InvalidPrincipalId", "'principalId' must be the object id of a principal."
        )
    kind = await principal_type(context, given)
    if kind is None:
        raise errors.bad_request(
            "PrincipalNotFound",
            f"There is no principal '{given}' in the directory {context.subscription.tenant_id}. For an"
            " application use the object id of its service principal.",
        )
    given_type = _member(context, "principalType")
    if given_type is not None and given_type.lower() not in [one.lower() for one in _PRINCIPALS]:
        raise errors.bad_request("InvalidPrincipalType", f"'{given_type}' is not a principal type.")
    if given_type is not None and given_type.lower() != kind.lower():
        raise errors.bad_request(
            "UnmatchedPrincipalType",
            f"The principal '{given}' is of type '{kind}', not '{given_type}'.",
        )
    return given, kind


async def principal_type(context: OperationContext, object_id: str) -> str | None:
    """Return the type of the principal with an object ID; None if no principal has the ID."""
    found = await context.directory.identities.find(
        context.subscription.tenant_id, object_id=object_id
    )
    if found is not None and found.has_principal:
        return "ServicePrincipal"
    user = await context.directory.users.get(object_id)
    return "User" if user is not None and user.tenant_id == context.subscription.tenant_id else None


async def _put(context: OperationContext) -> ManagerResponse:
    name = _parse_name(context)
    await scopes.require_existing(context, context.scope)
    if _member(context, "condition"):
        # podpass does not evaluate conditions. Without the condition, the role would grant more than
        # requested.
        text = "podpass does not support conditions of role assignments; assign the role at a narrower scope."
        raise errors.bad_request("BadRequest", text)
    role = await _parse_role(context)
    await _require_assignable(context, f"{TYPE}/write", role.id)
    principal, kind = await _parse_principal(context)
    existing = await context.directory.assignments.get(name)
    given = RoleAssignment(
        scope=context.scope,
        principal_id=principal,
        role=role.id,
        name=name,
        principal_type=kind,
        description=_member(context, "description") or "",
        created_by=context.caller.object_id,
    )
    if existing is not None:
        same = (existing.scope, existing.principal_id, existing.role)
        if same != (context.scope.lower().rstrip("/") or "/", principal, role.id):
            raise errors.bad_request(
                "RoleAssignmentUpdateNotPermitted",
                f"The role assignment '{name}' already exists. Its principal, role and scope cannot be"
                " changed.",
            )
    try:
        await context.directory.assignments.put(given)
    except AssignmentExists as exc:
        raise errors.conflict(
            "RoleAssignmentExists",
            f"The principal already has this role at this scope: role assignment '{exc.facts['name']}'.",
        ) from exc
    stored = await context.directory.assignments.get(name)
    return ManagerResponse(
        status=201 if existing is None else 200,
        body=await _stored_to_json(context, stored or given),
    )


async def _get(context: OperationContext) -> ManagerResponse:
    assignment = await context.directory.assignments.get(_parse_name(context), context.scope)
    if assignment is None:
        text = f"There is no role assignment '{context.name}' at '{context.scope}'."
        raise errors.not_found("RoleAssignmentNotFound", text)
    return ManagerResponse(body=await _stored_to_json(context, assignment))


async def _delete(context: OperationContext) -> ManagerResponse:
    assignment = await context.directory.assignments.get(_parse_name(context), context.scope)
    if assignment is None:
        return ManagerResponse(status=204)
    await _require_assignable(context, f"{TYPE}/delete", assignment.role)
    await context.directory.assignments.delete(assignment.name, context.scope)
    return ManagerResponse(body=await _stored_to_json(context, assignment))


async def _require_assignable(context: OperationContext, action: str, role_id: str) -> None:
    """Reject a role that the caller may not assign or remove; its own role may be limited to some roles."""
    caller_roles = await context.directory.roles_for(context.caller.object_id, context.scope)
    if not roles.may_assign(caller_roles, action, role_id):
        raise errors.authorization_failed(context.caller, action, context.scope)


async def _stored_to_json(context: OperationContext, assignment: RoleAssignment) -> dict[str, Any]:
    shown = await scopes.resolve_display_names(context, [assignment.scope])
    return to_json(context, assignment, shown[assignment.scope])


async def _list(context: OperationContext) -> ManagerResponse:
    wanted = context.query.filter.require_known(_FILTERS, _CALLS)
    assigned = wanted.calls.get("assignedto")
    if assigned is not None and len(assigned) != 1:
        raise errors.bad_request(
            "InvalidFilterInQueryString", "assignedTo must have one object id."
        )
    principal = assigned[0] if assigned else wanted.equal.get("principalid")
    await scopes.require_existing(context, context.scope)
    under = None if "atscope" in wanted.calls else context.scope

    async def fetch(after: str | None, limit: int) -> list[RoleAssignment]:
        position = after.rpartition(" ") if after else None
        return await context.directory.assignments.list(
            above=context.scope,
            under=under,
            principal=principal,
            after=(position[0], position[2]) if position else None,
            limit=limit,
        )

    found = await paging.collect_page(context, fetch, lambda one: f"{one.scope} {one.name}")
    shown = await scopes.resolve_display_names(
        context, [assignment.scope for assignment in found.items]
    )
    return wire.page_response(
        context, found, lambda assignment: to_json(context, assignment, shown[assignment.scope])
    )


async def _list_permissions(context: OperationContext) -> ManagerResponse:
    caller_roles = await context.directory.roles_for(context.caller.object_id, context.scope)
    return wire.list_response(role_definitions.permission_to_json(role) for role in caller_roles)


async def _list_none(_: OperationContext) -> ManagerResponse:
    return wire.list_response(())


_AUTHORIZATION = "{scope}/providers/Microsoft.Authorization"
_ALL = f"{{scope}}/providers/{TYPE}"
_ONE = f"{_ALL}/{{name}}"

ROUTES = (
    build_route("GET", _ALL, "list role assignments", f"{TYPE}/read", _list),
    *crud_routes(_ONE, TYPE, "role assignment", get=_get, put=_put, delete=_delete),
    build_route(
        "GET", f"{_AUTHORIZATION}/permissions", "list own permissions", None, _list_permissions
    ),
    build_route(
        "GET",
        f"{_AUTHORIZATION}/denyAssignments",
        "list deny assignments",
        "Microsoft.Authorization/denyAssignments/read",
        _list_none,
    ),
    build_route(
        "GET",
        "/subscriptions/{subscription}/providers/Microsoft.Authorization/classicAdministrators",
        "list classic administrators",
        "Microsoft.Authorization/classicAdministrators/read",
        _list_none,
    ),
)
