"""The service principals of every tenant: Microsoft's resources and their permissions. Pure.

Source: https://learn.microsoft.com/graph/permissions-reference
"""

import uuid
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from podpass.directory.resources import (
    BUILT_IN,
    GRAPH_APP_ID,
    MANAGER_APP_ID,
    STORAGE_APP_ID,
    VAULT_APP_ID,
)

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
# Delegated permissions of Microsoft Graph.
GRAPH_SCOPES: Mapping[str, str] = {
    "e1fe6dd8-ba31-4d61-89e7-88639da4683d": "User.Read",
    "0e263e50-5827-48a4-b97c-d940288653c7": "Directory.AccessAsUser.All",
    "06da0dbc-49e2-44d2-8312-53f166ab848a": "Directory.Read.All",
    "c5366453-9fb0-48a5-a156-24f0c49a4b84": "Directory.ReadWrite.All",
    "c79f8feb-a9db-4090-85f9-90d820caa0eb": "Application.Read.All",
    "bdfbf15f-ee85-4955-8675-146e8e5296b5": "Application.ReadWrite.All",
    "37f7f235-527c-4136-accd-4a02d197296e": "openid",
    "14dad69e-099b-42c9-810b-d002981feec1": "profile",
    "64a6cdd6-aab1-4aaf-94b8-3cc8405e90d0": "email",
    "7427e0e9-2fba-42fe-b0c0-848c9e6a8182": "offline_access",
}
_SCOPES: Mapping[str, Mapping[str, str]] = {
    GRAPH_APP_ID: GRAPH_SCOPES,
    MANAGER_APP_ID: {"41094075-9dad-400e-a0bd-54e686782033": "user_impersonation"},
    VAULT_APP_ID: {"f53da476-18e3-4152-8e01-aec403e6edc0": "user_impersonation"},
    STORAGE_APP_ID: {"03e0da56-190b-40ad-a80c-ea378c433f7f": "user_impersonation"},
}


def object_id(tenant_id: str, app_id: str) -> str:
    """Return the object id of a built-in principal in a tenant. It is stable and unique."""
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
            "oauth2PermissionScopes": _scopes(_SCOPES.get(resource.app_id, {})),
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


def _scopes(scopes: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "id": scope_id,
            "value": value,
            "type": "User",
            "isEnabled": True,
            "adminConsentDisplayName": value,
            "adminConsentDescription": f"Delegated permission {value}.",
            "userConsentDisplayName": value,
            "userConsentDescription": f"Delegated permission {value}.",
        }
        for scope_id, value in scopes.items()
    ]
