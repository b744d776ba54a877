"""Role definitions: the built-in ones, and custom ones.

Source:  https://learn.microsoft.com/rest/api/authorization/role-definitions
"""

from collections.abc import Iterable, Mapping
from typing import Any

from podpass.directory import resource_ids, roles
from podpass.directory.errors import Conflict, InUse
from podpass.directory.model import RoleDefinition
from podpass.directory.resource_manager import refusals, scopes, wire
from podpass.directory.resource_manager.model import Answer, Call, Operation, Route, crud
from podpass.guids import is_lower_guid

TYPE = "Microsoft.Authorization/roleDefinitions"
_FILTERS = frozenset({"rolename", "type"})
_CALLS = frozenset({"atscopeandbelow", "atscope"})
_BEGAN = 1420070400.0  # what is shown of built-in roles, which were not made here
# Member of a permission on the wire, and what we call it.
_PERMISSIONS = {
    "actions": "actions",
    "notActions": "not_actions",
    "dataActions": "data_actions",
    "notDataActions": "not_data_actions",
}


def id_at(call: Call, role_id: str, scope: str) -> str:
    """Name a definition as it is seen from a scope: under the subscription, or under nothing."""
    above = f"/subscriptions/{call.subscription}" if scope.strip("/") else ""
    return f"{above}/providers/{TYPE}/{role_id}"


def permission(role: RoleDefinition) -> dict[str, Any]:
    """Write what a definition permits."""
    shown: dict[str, Any] = {
        theirs: list(getattr(role, ours)) for theirs, ours in _PERMISSIONS.items()
    }
    if role.assigns is not None:
        shown |= {"conditionVersion": "2.0", "condition": _condition(role.assigns)}
    return shown


def _condition(assigns: tuple[str, ...]) -> str:
    """Write which roles can be given and taken, in the language of conditions."""
    parts = []
    for verb, whose in (("write", "Request"), ("delete", "Resource")):
        of_role = f"@{whose}[Microsoft.Authorization/roleAssignments:RoleDefinitionId]"
        others = f"!(ActionMatches{{'Microsoft.Authorization/roleAssignments/{verb}'}})"
        ids = ", ".join(assigns)
        parts.append(f"(({others}) OR ({of_role} ForAnyOfAnyValues:GuidEquals {{{ids}}}))")
    return " AND ".join(parts)


def write(call: Call, role: RoleDefinition, scope: str) -> dict[str, Any]:
    """Write a definition as clients read it."""
    created = wire.moment(role.created or _BEGAN)
    return {
        "id": id_at(call, role.id, scope),
        "name": role.id,
        "type": TYPE,
        "properties": {
            "roleName": role.name,
            "type": "BuiltInRole" if role.built_in else "CustomRole",
            "description": role.description,
            "assignableScopes": list(role.scopes),
            "permissions": [permission(role)],
            "createdOn": created,
            "updatedOn": created,
            "createdBy": None,
            "updatedBy": None,
        },
    }


def read(call: Call, role_id: str) -> RoleDefinition:
    """Read a custom role.

    Errors:  ManagerRefusal.
    """
    given = wire.inner(call.body, "properties")
    name = wire.text(given, "roleName")
    if not name:
        raise refusals.bad("RoleDefinitionRequestInvalid", "A custom role needs a 'roleName'.")
    if (wire.text(given, "type") or "CustomRole").lower() != "customrole":
        raise refusals.bad(
            "RoleDefinitionRequestInvalid", "Only roles of type CustomRole are made."
        )
    permissions = wire.items(given, "permissions") or []
    if len(permissions) != 1:
        text = "A custom role has exactly one member in 'permissions'."
        raise refusals.bad("RoleDefinitionRequestInvalid", text)
    if wire.text(permissions[0], "condition"):
        # A copy of a built-in role that has one would give more than the role it was copied from.
        text = "Conditions of custom roles are not in podpass; leave out the actions that need one."
        raise refusals.bad("RoleDefinitionRequestInvalid", text)
    patterns: dict[str, Any] = {
        ours: wire.texts(permissions[0], theirs) or () for theirs, ours in _PERMISSIONS.items()
    }
    return RoleDefinition(
        id=role_id,
        name=name,
        description=wire.text(given, "description", limit=2048) or "",
        scopes=_scopes(call, given),
        built_in=False,
        **patterns,
    )


def _scopes(call: Call, given: Mapping[str, Any]) -> tuple[str, ...]:
    found = wire.texts(given, "assignableScopes") or ()
    here = f"/subscriptions/{call.subscription}"
    if not found or not all(resource_ids.covers(here, one) for one in found):
        raise refusals.bad(
            "InvalidAssignableScope",
            f"'assignableScopes' are scopes in {here}, at least one.",
        )
    return tuple(one.rstrip("/") for one in found)


def role_id(call: Call) -> str:
    """Read the GUID in the path.

    Errors:  ManagerRefusal.
    """
    given = call.name.lower()
    if not is_lower_guid(given):
        raise refusals.bad(
            "InvalidRoleDefinitionId", f"The role definition id '{call.name}' is not a GUID."
        )
    return given


def _visible(role: RoleDefinition, scope: str) -> bool:
    return role.built_in or any(
        resource_ids.covers(one, scope) or resource_ids.covers(scope, one) for one in role.scopes
    )


async def _list(call: Call) -> Answer:
    wanted = call.query.filter.known(_FILTERS, _CALLS).equal
    found = await call.directory.role_definitions.list(wanted.get("rolename"))
    kind = wanted.get("type", "").lower()
    return wire.whole(
        write(call, role, call.scope)
        for role in found
        if _visible(role, call.scope)
        and kind in ("", "builtinrole" if role.built_in else "customrole")
    )


async def _get(call: Call) -> Answer:
    role = await call.directory.role_definitions.get(role_id(call))
    if role is None or not _visible(role, call.scope):
        raise _unknown(call.name)
    return Answer(body=write(call, role, call.scope))


async def _put(call: Call) -> Answer:
    await scopes.check(call, call.scope)
    role = read(call, role_id(call))
    # Whoever may make roles in one group must not make them assignable in another.
    await _check_all(call, f"{TYPE}/write", role.scopes)
    await _check_there(call, role)
    if role.name.lower() in roles.BY_NAME or await _named(call, role):
        raise refusals.conflict(
            "RoleDefinitionWithSameNameExists", f"Another role has the name '{role.name}'."
        )
    try:
        await call.directory.role_definitions.put(role)
    except InUse as exc:
        raise refusals.conflict(
            "RoleDefinitionHasAssignments",
            f"The role is assigned at '{exc.facts['scope']}', so it has to stay assignable there; delete that"
            " role assignment first.",
        ) from exc
    except Conflict as exc:
        raise refusals.conflict("RoleDefinitionExists", f"{exc.message}.") from exc
    kept = await call.directory.role_definitions.get(role.id)
    # Also for one that was there: clients accept nothing else.
    return Answer(status=201, body=write(call, kept or role, call.scope))


async def _check_there(call: Call, role: RoleDefinition) -> None:
    there = await call.directory.role_definitions.get(role.id)
    if there is None or there.built_in:
        return
    if not _visible(there, call.scope):
        raise refusals.conflict("RoleDefinitionExists", f"Another role has the id '{role.id}'.")
    # What a role allows it allows wherever it is held: changing it in one group changes every other.
    await _check_all(call, f"{TYPE}/write", there.scopes)


async def _check_all(call: Call, action: str, places: Iterable[str]) -> None:
    for scope in places:
        if not await call.directory.permitted(call.caller.object_id, action, scope):
            raise refusals.not_authorized(call.caller, action, scope)


async def _named(call: Call, role: RoleDefinition) -> bool:
    same = await call.directory.role_definitions.list(role.name)
    return any(one.id != role.id for one in same)


async def _delete(call: Call) -> Answer:
    wanted = role_id(call)
    role = await call.directory.role_definitions.get(wanted)
    if role is None:
        return Answer(status=204)
    if role.built_in:
        raise refusals.bad("RoleDefinitionCannotBeDeleted", "Built-in roles cannot be deleted.")
    await _check_all(call, f"{TYPE}/delete", role.scopes)
    try:
        await call.directory.role_definitions.delete(wanted)
    except InUse as exc:
        raise refusals.conflict(
            "RoleDefinitionHasAssignments",
            "There are role assignments of this role; delete them first.",
        ) from exc
    return Answer(body=write(call, role, call.scope))


def _unknown(name: str) -> refusals.ManagerRefusal:
    return refusals.missing("RoleDefinitionDoesNotExist", f"There is no role definition '{name}'.")


_ALL = f"{{scope}}/providers/{TYPE}"
_ONE = f"{_ALL}/{{name}}"

ROUTES = (
    Route(
        method="GET",
        path=_ALL,
        operation=Operation(title="list role definitions", action=f"{TYPE}/read", run=_list),
    ),
    *crud(_ONE, TYPE, "role definition", get=_get, put=_put, delete=_delete),
)
