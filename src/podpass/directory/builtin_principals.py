"""The service principals of every tenant: Microsoft's resources and their permissions. Pure.

Source: https://learn.microsoft.com/graph/permissions-reference
"""

import uuid
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from podpass.directory import delegated_permissions
from podpass.directory.delegated_permissions import DelegatedPermission
from podpass.directory.resources import BUILT_IN, GRAPH_APP_ID

_MICROSOFT = "f8cdef31-a31e-4b4a-93e4-5f571e91255a"  # the tenant that owns Microsoft's applications
_SPACE = uuid.UUID("5c2ff1ad-9c53-4f0b-9d0b-3a6f1f0f4a57")

# Application permissions of Microsoft Graph: id and value.
GRAPH_ROLES: Mapping[str, str] = {
    "9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30": "Application.Read.All",
    "1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9": "Application.ReadWrite.All",
    "18a4783c-866b-4cc7-a460-3d5e5662c884": "Application.ReadWrite.OwnedBy",
    "06b708a9-e830-4db3-a914-8e69da51d44f": "AppRoleAssignment.ReadWrite.All",
    "7ab1d382-f21e-4acd-a863-ba3e13f7da61": "Directory.Read.All",
    "19dbc75e-c2e2-444c-a770-ec69d8559fc7": "Directory.ReadWrite.All",
    "df021288-bdef-4463-88db-98f22de89214": "User.Read.All",
    "741f803b-c850-494e-b5df-cde7c675a1ca": "User.ReadWrite.All",
    "5b567255-7703-4780-807c-7be8301ae99b": "Group.Read.All",
    "62a82d76-70ea-41e2-9197-370581804d09": "Group.ReadWrite.All",
    "498476ce-e0fe-48b0-b801-37ba7e2685c6": "Organization.Read.All",
    "dbb9058a-0e50-45d7-ae91-66909b5d4664": "Domain.Read.All",
    "246dd0d5-5bd0-4def-940b-0421030a5b68": "Policy.Read.All",
    "9e3f62cf-ca93-4989-b6ce-bf83c28f9fe8": "RoleManagement.ReadWrite.Directory",
    "8e8e4742-1d95-4f68-9d56-6ee75648c72a": "DelegatedPermissionGrant.ReadWrite.All",
    "483bed4a-2ad3-4361-a73b-c83ccdbdc53c": "RoleManagement.Read.Directory",
}


def object_id(tenant_id: str, app_id: str) -> str:
    """Return the stable and unique object id of a built-in principal in a tenant."""
    return str(uuid.uuid5(_SPACE, f"{tenant_id}/{app_id}"))


@lru_cache(maxsize=16)
def list_principals(tenant_id: str) -> tuple[Mapping[str, Any], ...]:
    """Return the built-in service principals of a tenant, ordered by application id."""
    found = [
        {
            "id": object_id(tenant_id, resource.app_id),
            "appId": resource.app_id,
            "appDisplayName": resource.display_name,
            "displayName": resource.display_name,
            "appOwnerOrganizationId": _MICROSOFT,
            "servicePrincipalNames": [resource.app_id, *resource.uris],
            "appRoles": _roles(GRAPH_ROLES if resource.app_id == GRAPH_APP_ID else {}),
            "oauth2PermissionScopes": _scopes(
                delegated_permissions.of_built_in(resource.app_id, resource.display_name)
            ),
        }
        for resource in BUILT_IN
    ]
    return tuple(sorted(found, key=lambda one: str(one["appId"])))


def _roles(roles: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "id": role_id,
            "value": value,
            "displayName": value,
            "description": f"Application permission {value}.",
            "isEnabled": True,
            "allowedMemberTypes": ["Application"],
            "origin": "Application",
        }
        for role_id, value in roles.items()
    ]


def _scopes(permissions: tuple[DelegatedPermission, ...]) -> list[dict[str, Any]]:
    return [
        {
            "id": one.id,
            "value": one.value,
            "type": "Admin" if one.admin_only else "User",
            "isEnabled": True,
            "adminConsentDisplayName": one.title,
            "adminConsentDescription": f"Delegated permission {one.value}.",
            "userConsentDisplayName": one.title,
            "userConsentDescription": f"Delegated permission {one.value}.",
        }
        for one in permissions
    ]
