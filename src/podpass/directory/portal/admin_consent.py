"""Consent of an administrator to everything that an application registers (`requiredResourceAccess`).

Delegated permissions become grants, application permissions become app role assignments of the application.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from podpass.directory import builtin_principals, delegated_permissions, resources
from podpass.directory.model import AppRoleAssignment, Identity, PermissionGrant
from podpass.directory.store.directory import Directory


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPermissions:
    """What a resource publishes: the names of delegated permissions by ID, and the IDs of app roles.

    `object_id` is that of the resource's service principal.
    """

    object_id: str
    scopes: dict[str, str]
    roles: frozenset[str]


async def consent(directory: Directory, client: Identity) -> None:
    """Store the consent. Permissions that their resource does not publish are left out.

    Raises DatabaseFailed.
    """
    scopes = delegated_permissions.registered(client)
    roles = delegated_permissions.registered_roles(client)
    grants: list[PermissionGrant] = []
    for app_id in dict.fromkeys([*scopes, *roles]):
        found = await _find_published(directory, client.tenant_id, app_id)
        if found is None:
            continue
        listed = scopes.get(app_id, frozenset())
        if names := [name for id_, name in found.scopes.items() if id_ in listed]:
            grants.append(_grant(client, found.object_id, names))
        for role_id in sorted(found.roles & roles.get(app_id, frozenset())):
            await directory.app_roles.put(_assignment(client, found.object_id, role_id))
    await directory.grants.add(grants)


async def _find_published(
    directory: Directory, tenant_id: str, app_id: str
) -> PublishedPermissions | None:
    built_in = next((one for one in resources.BUILT_IN if one.app_id == app_id), None)
    if built_in is not None:
        is_graph = app_id == resources.GRAPH_APP_ID
        permissions = delegated_permissions.of_built_in(app_id, built_in.display_name)
        return PublishedPermissions(
            object_id=builtin_principals.object_id(tenant_id, app_id),
            scopes={one.id: one.value for one in permissions},
            roles=frozenset(builtin_principals.GRAPH_ROLES if is_graph else ()),
        )
    application = await directory.find_identity(tenant_id, app_id)
    if application is None or not application.has_principal:
        return None
    published = delegated_permissions.of_application(application)
    return PublishedPermissions(
        object_id=application.object_id,
        scopes={one.id: one.value for one in published},
        roles=frozenset(_application_roles(application)),
    )


def _application_roles(application: Identity) -> Iterator[str]:
    """Return the IDs of the enabled app roles that applications can have."""
    roles = application.document.get("appRoles")
    for role in roles if isinstance(roles, list) else ():
        members = role.get("allowedMemberTypes") if isinstance(role, dict) else None
        if isinstance(members, list) and "Application" in members and role.get("isEnabled", True):
            yield str(role.get("id", "")).lower()


def _grant(client: Identity, resource_id: str, names: list[str]) -> PermissionGrant:
    return PermissionGrant(
        id="",
        tenant_id=client.tenant_id,
        client_id=client.object_id,
        resource_id=resource_id,
        scope=" ".join(names),
    )


def _assignment(client: Identity, resource_id: str, role_id: str) -> AppRoleAssignment:
    return AppRoleAssignment(
        id="",
        principal_id=client.object_id,
        principal_type="ServicePrincipal",
        resource_id=resource_id,
        app_role_id=role_id,
    )
