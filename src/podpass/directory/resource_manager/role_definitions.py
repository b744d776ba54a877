"""Role definitions: built-in and custom.

Source:  https://learn.microsoft.com/rest/api/authorization/role-definitions
"""

from collections.abc import Iterable, Mapping
from typing import Any

from podpass.directory import resource_ids
from podpass.directory.errors import Conflict, InUse
from podpass.directory.model import RoleDefinition
from podpass.directory.resource_manager import errors, scopes, wire
from podpass.directory.resource_manager.model import (
    ManagerResponse,
    OperationContext,
    build_route,
    crud_routes,
)
from podpass.guids import is_lower_guid

TYPE = "Microsoft.Authorization/roleDefinitions"
_FILTERS = frozenset({"rolename", "type"})
_CALLS = frozenset({"atscopeandbelow", "atscope"})
_BUILT_IN_CREATED = 1420070400.0  # the creation time that built-in roles show
# Members of a permission in JSON, and the attributes of RoleDefinition.
_PERMISSIONS = {
    "actions": "actions",
    "notActions": "not_actions",
    "dataActions": "data_actions",
    "notDataActions": "not_data_actions",
}


def definition_id(context: OperationContext, role_id: str, scope: str) -> str:
    """Return the ID of a definition for a scope: with the subscription as its parent, or without a parent."""
    parent = f"/subscriptions/{context.subscription_id}" if scope.strip("/") else ""
    return f"{parent}/providers/{TYPE}/{role_id}"


def permission_to_json(role: RoleDefinition) -> dict[str, Any]:
    """Return the permissions of a definition as a response body."""
    shown: dict[str, Any] = {
        theirs: list(getattr(role, ours)) for theirs, ours in _PERMISSIONS.items()
    }
    if role.assigns is not None:
        shown |= {"conditionVersion": "2.0", "condition": _condition(role.assigns)}
    return shown


def _condition(assigns: tuple[str, ...]) -> str:
    """Return the condition that limits which roles can be assigned and removed."""
    parts = []
    for verb, whose in (("write", "Request"), ("delete", "Resource")):
        of_role = f"@{whose}[Microsoft.Authorization/roleAssignments:RoleDefinitionId]"
        others = f"!(ActionMatches{{'Microsoft.Authorization/roleAssignments/{verb}'}})"
        ids = ", ".join(assigns)
        parts.append(f"(({others}) OR ({of_role} ForAnyOfAnyValues:GuidEquals {{{ids}}}))")
    return " AND ".join(parts)


def to_json(context: OperationContext, role: RoleDefinition, scope: str) -> dict[str, Any]:
    """Return a definition as a response body."""
    created = wire.format_time(role.created or _BUILT_IN_CREATED)
    return {
        "id": definition_id(context, role.id, scope),
        "name": role.id,
        "type": TYPE,
        "properties": {
            "roleName": role.name,
            "type": "BuiltInRole" if role.built_in else "CustomRole",
            "description": role.description,
            "assignableScopes": list(role.scopes),
            "permissions": [permission_to_json(role)],
            "createdOn": created,
            "updatedOn": created,
            "createdBy": None,
            "updatedBy": None,
        },
    }


def parse(context: OperationContext, role_id: str) -> RoleDefinition:
    """Parse a custom role. Raises ManagerError."""
    given = wire.object_member(context.body, "properties")
    name = wire.text(given, "roleName")
    if not name:
        raise errors.bad_request(
            "RoleDefinitionRequestInvalid", "A custom role must have a 'roleName'."
        )
    if (wire.text(given, "type") or "CustomRole").lower() != "customrole":
        raise errors.bad_request(
            "RoleDefinitionRequestInvalid", "Only roles of type CustomRole can be created."
        )
    permissions = wire.object_list(given, "permissions") or []
    if len(permissions) != 1:
        text = "A custom role must have exactly one entry in 'permissions'."
        raise errors.bad_request("RoleDefinitionRequestInvalid", text)
    if wire.text(permissions[0], "condition"):
        # Without the condition, a copy of a built-in role would grant more than the original role.
        text = "podpass does not support conditions of custom roles; remove actions that need a condition."
        raise errors.bad_request("RoleDefinitionRequestInvalid", text)
    patterns: dict[str, Any] = {
        ours: wire.text_list(permissions[0], theirs) or () for theirs, ours in _PERMISSIONS.items()
    }
    return RoleDefinition(
        id=role_id,
        name=name,
        description=wire.text(given, "description", limit=2048) or "",
        scopes=_parse_scopes(context, given),
        built_in=False,
        **patterns,
    )


def _parse_scopes(context: OperationContext, given: Mapping[str, Any]) -> tuple[str, ...]:
    found = wire.text_list(given, "assignableScopes") or ()
    here = f"/subscriptions/{context.subscription_id}"
    if not found or not all(resource_ids.covers(here, one) for one in found):
        raise errors.bad_request(
            "InvalidAssignableScope",
            f"'assignableScopes' must have at least one scope, and only scopes in {here}.",
        )
    return tuple(one.rstrip("/") for one in found)


def parse_role_id(context: OperationContext) -> str:
    """Parse the GUID in the path. Raises ManagerError."""
    given = context.name.lower()
    if not is_lower_guid(given):
        raise errors.bad_request(
            "InvalidRoleDefinitionId", f"The role definition id '{context.name}' is not a GUID."
        )
    return given


def _visible(role: RoleDefinition, scope: str) -> bool:
    return role.built_in or any(
        resource_ids.covers(one, scope) or resource_ids.covers(scope, one) for one in role.scopes
    )


def _readable(role: RoleDefinition, scope: str) -> bool:
    """Return whether a read at a scope shows a role; at the root, only built-in ones are open to all."""
    return role.built_in if scope == "/" else _visible(role, scope)


async def _list(context: OperationContext) -> ManagerResponse:
    wanted = context.query.filter.require_known(_FILTERS, _CALLS).equal
    found = await context.directory.role_definitions.list(wanted.get("rolename"))
    kind = wanted.get("type", "").lower()
    return wire.list_response(
        to_json(context, role, context.scope)
        for role in found
        if _readable(role, context.scope)
        and kind in ("", "builtinrole" if role.built_in else "customrole")
    )


async def _get(context: OperationContext) -> ManagerResponse:
    role = await context.directory.role_definitions.get(parse_role_id(context))
    if role is None or not _readable(role, context.scope):
        raise _not_found(context.name)
    return ManagerResponse(body=to_json(context, role, context.scope))


async def _put(context: OperationContext) -> ManagerResponse:
    await scopes.require_existing(context, context.scope)
    role = parse(context, parse_role_id(context))
    # A caller that may create roles in one resource group must not make them assignable in another.
    await _require_permission_at(context, f"{TYPE}/write", role.scopes)
    await _require_update_allowed(context, role)
    built_in = context.directory.role_definitions.built_in
    if role.name.lower() in built_in.by_name or await _is_name_taken(context, role):
        raise errors.conflict(
            "RoleDefinitionWithSameNameExists", f"Another role has the name '{role.name}'."
        )
    try:
        await context.directory.role_definitions.put(role)
    except InUse as exc:
        raise errors.conflict(
            "RoleDefinitionHasAssignments",
            f"The role is assigned at '{exc.facts['scope']}', so it must remain assignable there. Delete that"
            " role assignment first.",
        ) from exc
    except Conflict as exc:
        raise errors.conflict("RoleDefinitionExists", f"{exc.message}.") from exc
    stored = await context.directory.role_definitions.get(role.id)
    # Clients accept only 201, even for an update.
    return ManagerResponse(status=201, body=to_json(context, stored or role, context.scope))


async def _require_update_allowed(context: OperationContext, role: RoleDefinition) -> None:
    existing = await context.directory.role_definitions.get(role.id)
    if existing is None or existing.built_in:
        return
    if not _visible(existing, context.scope):
        raise errors.conflict("RoleDefinitionExists", f"Another role has the id '{role.id}'.")
    # A change of the role takes effect at every scope where it is assigned, so the caller needs the
    # permission at each of them.
    await _require_permission_at(context, f"{TYPE}/write", existing.scopes)


async def _require_permission_at(
    context: OperationContext, action: str, required_scopes: Iterable[str]
) -> None:
    for scope in required_scopes:
        if not await context.directory.is_permitted(context.caller.object_id, action, scope):
            raise errors.authorization_failed(context.caller, action, scope)


async def _is_name_taken(context: OperationContext, role: RoleDefinition) -> bool:
    same = await context.directory.role_definitions.list(role.name)
    return any(one.id != role.id for one in same)


async def _delete(context: OperationContext) -> ManagerResponse:
    wanted = parse_role_id(context)
    role = await context.directory.role_definitions.get(wanted)
    if role is None:
        return ManagerResponse(status=204)
    if role.built_in:
        raise errors.bad_request(
            "RoleDefinitionCannotBeDeleted", "Built-in roles cannot be deleted."
        )
    await _require_permission_at(context, f"{TYPE}/delete", role.scopes)
    try:
        await context.directory.role_definitions.delete(wanted)
    except InUse as exc:
        raise errors.conflict(
            "RoleDefinitionHasAssignments", "The role has role assignments. Delete them first."
        ) from exc
    return ManagerResponse(body=to_json(context, role, context.scope))


def _not_found(name: str) -> errors.ManagerError:
    return errors.not_found("RoleDefinitionDoesNotExist", f"There is no role definition '{name}'.")


_ALL = f"{{scope}}/providers/{TYPE}"
_ONE = f"{_ALL}/{{name}}"

ROUTES = (
    build_route("GET", _ALL, "list role definitions", f"{TYPE}/read", _list, open_at_root=True),
    *crud_routes(
        _ONE, TYPE, "role definition", get=_get, put=_put, delete=_delete, open_at_root=True
    ),
)
