"""The delegated permissions (scopes) that resources publish, and those that a client registers. Pure.

A permission for administrators needs the consent of an administrator; a user can consent to the others.
Source: https://learn.microsoft.com/graph/permissions-reference
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from podpass.directory.model import Identity
from podpass.directory.well_known_resources import GRAPH_APP_ID, IMPERSONATION, permission_ids

OIDC_SCOPES = ("openid", "profile", "email", "offline_access")
SIGN_IN = "User.Read"


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegatedPermission:
    """A permission that a client can hold for a user; `title` and `description` are for the consent page."""

    id: str
    value: str
    admin_only: bool
    title: str
    description: str = ""


# Delegated permissions of Microsoft Graph: name, ID, and what the client may do for the user.
_FOR_USERS = {
    "openid": ("37f7f235-527c-4136-accd-4a02d197296e", "Sign you in"),
    "profile": ("14dad69e-099b-42c9-810b-d002981feec1", "See your name and user name"),
    "email": ("64a6cdd6-aab1-4aaf-94b8-3cc8405e90d0", "See your e-mail address"),
    "offline_access": (
        "7427e0e9-2fba-42fe-b0c0-848c9e6a8182",
        "Keep its access until you change your password",
    ),
    SIGN_IN: ("e1fe6dd8-ba31-4d61-89e7-88639da4683d", "Read your profile"),
    "User.ReadWrite": ("b4e74841-8e56-480b-be8b-910348b18b4c", "Read and change your profile"),
    "User.ReadBasic.All": (
        "b340eb25-3456-403f-be2f-af7a0d370277",
        "Read the basic profiles of all users",
    ),
    "Calendars.Read": ("465a38f9-76ea-45b9-9f34-9e8b0d4b0b42", "Read your calendars"),
    "Calendars.ReadWrite": (
        "1ec239c2-d7c9-4623-a91a-a9775856bb36",
        "Read and change your calendars",
    ),
    "Contacts.Read": ("ff74d97f-43af-4b68-9f2a-b77ee6968c5d", "Read your contacts"),
    "Files.Read": ("10465720-29dd-4523-a11a-6a75c743c9d9", "Read your files"),
    "Files.ReadWrite": ("5c28f0bf-8a70-41f1-8ab2-9032436ddb65", "Read and change your files"),
    "Mail.Read": ("570282fd-fa5c-430d-a7fd-fc8dc98a9dca", "Read your mail"),
    "Mail.ReadWrite": ("024d486e-b451-40bb-833d-3e66d98c5c73", "Read and change your mail"),
    "Mail.Send": ("e383f46e-2787-4529-855e-0e479a3ffac0", "Send mail in your name"),
}
_FOR_ADMINISTRATORS = {
    "Application.Read.All": (
        "c79f8feb-a9db-4090-85f9-90d820caa0eb",
        "Read all applications",
    ),
    "Application.ReadWrite.All": (
        "bdfbf15f-ee85-4955-8675-146e8e5296b5",
        "Read and change all applications",
    ),
    "AppRoleAssignment.ReadWrite.All": (
        "84bccea3-f856-4a8a-967b-dbe0a3d53a64",
        "Grant application permissions to any application",
    ),
    "AuditLog.Read.All": ("e4c9e354-4dc5-45b8-9e7c-e1393b0b1a20", "Read the audit log"),
    "DelegatedPermissionGrant.Read.All": (
        "a197cdc4-a8e8-4d49-9d35-4ca7c83887b4",
        "Read all consents",
    ),
    "DelegatedPermissionGrant.ReadWrite.All": (
        "41ce6ca6-6826-4807-84f1-1c82854f7ee5",
        "Consent for all users",
    ),
    "Directory.AccessAsUser.All": (
        "0e263e50-5827-48a4-b97c-d940288653c7",
        "Do everything in the directory that you may do",
    ),
    "Directory.Read.All": ("06da0dbc-49e2-44d2-8312-53f166ab848a", "Read the directory"),
    "Directory.ReadWrite.All": (
        "c5366453-9fb0-48a5-a156-24f0c49a4b84",
        "Read and change the directory",
    ),
    "Domain.Read.All": ("2f9ee017-59c1-4f1d-9472-bd5529a7b311", "Read the domains"),
    "Group.Read.All": ("5f8c59db-677d-491f-a6b8-5f174b11ec1d", "Read all groups"),
    "Group.ReadWrite.All": (
        "4e46008b-f24c-477d-8fff-7bb4ec7aafe0",
        "Read and change all groups",
    ),
    "GroupMember.Read.All": (
        "bc024368-1153-4739-b217-4326f2e966d0",
        "Read the members of all groups",
    ),
    "Organization.Read.All": (
        "4908d5b9-3fb2-4b1e-9336-1888b7937185",
        "Read the organization",
    ),
    "Policy.Read.All": ("572fea84-0151-49b2-9301-11cb16974376", "Read the policies"),
    "RoleManagement.Read.Directory": (
        "741c54c3-0c1e-44a1-818b-3f97ab4e8c83",
        "Read the directory roles",
    ),
    "RoleManagement.ReadWrite.Directory": (
        "d01b97e9-cbc0-49fe-810a-750afd5527a3",
        "Assign directory roles",
    ),
    "User.Read.All": (
        "a154be20-db9c-4678-8ab7-66f6cc099a59",
        "Read the profiles of all users",
    ),
    "User.ReadWrite.All": (
        "204e0828-b5ca-4ad8-b9f3-f32a958e7cc4",
        "Read and change the profiles of all users",
    ),
}
_TITLES = {
    IMPERSONATION: "everything that you may do there",
    "user.read": "everything that you may do in the cluster",
}


@lru_cache(maxsize=64)
def of_built_in(app_id: str, name: str) -> tuple[DelegatedPermission, ...]:
    """Return the permissions of one of Microsoft's resources; `name` is its display name."""
    if app_id == GRAPH_APP_ID:
        tables = ((_FOR_USERS, False), (_FOR_ADMINISTRATORS, True))
        return tuple(
            DelegatedPermission(id=id_, value=value, admin_only=admin_only, title=title)
            for table, admin_only in tables
            for value, (id_, title) in table.items()
        )
    return tuple(
        DelegatedPermission(
            id=id_,
            value=value,
            admin_only=False,
            title=f"{name}: {_TITLES.get(value, value)}",
        )
        for value, id_ in permission_ids(app_id).items()
    )


def of_application(application: Identity) -> tuple[DelegatedPermission, ...]:
    """Return the enabled permissions that an application of the tenant publishes."""
    return tuple(
        DelegatedPermission(
            id=str(scope.get("id", "")).lower(),
            value=scope["value"],
            # A corrupt type counts as one for administrators, so that no user can grant it.
            admin_only=scope.get("type", "User") != "User",
            title=_text(scope, "userConsentDisplayName", "adminConsentDisplayName")
            or scope["value"],
            description=_text(scope, "userConsentDescription", "adminConsentDescription"),
        )
        for scope in _objects(_api(application).get("oauth2PermissionScopes"))
        if scope.get("isEnabled", True) is True
        and isinstance(scope.get("value"), str)
        and scope["value"]
    )


def preauthorized(application: Identity, client_id: str) -> frozenset[str]:
    """Return the IDs of the permissions that an application grants to a client without consent.

    The owner of the application decides about its own permissions, as in Entra.
    """
    return frozenset(
        id_
        for entry in _objects(_api(application).get("preAuthorizedApplications"))
        if str(entry.get("appId", "")).lower() == client_id
        for name in ("delegatedPermissionIds", "permissionIds")
        for id_ in _texts(entry.get(name))
    )


def registered(client: Identity) -> dict[str, frozenset[str]]:
    """Return the IDs of the delegated permissions that a client registers, by resource."""
    return _required_access(client, "Scope")


def registered_roles(client: Identity) -> dict[str, frozenset[str]]:
    """Return the IDs of the application permissions that a client registers, by resource."""
    return _required_access(client, "Role")


def _required_access(client: Identity, kind: str) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for entry in _objects(client.document.get("requiredResourceAccess")):
        resource = str(entry.get("resourceAppId", "")).lower()
        ids = frozenset(
            str(access.get("id", "")).lower()
            for access in _objects(entry.get("resourceAccess"))
            if access.get("type") == kind
        )
        if ids:
            found[resource] = found.get(resource, frozenset()) | ids
    return found


def _api(application: Identity) -> Mapping[str, Any]:
    api = application.document.get("api")
    return api if isinstance(api, Mapping) else {}


def _objects(values: Any) -> Iterator[Mapping[str, Any]]:
    for value in values if isinstance(values, list) else ():
        if isinstance(value, Mapping):
            yield value


def _texts(values: Any) -> Collection[str]:
    return (
        [each.lower() for each in values if isinstance(each, str)]
        if isinstance(values, list)
        else []
    )


def _text(scope: Mapping[str, Any], *names: str) -> str:
    return next(
        (scope[name] for name in names if isinstance(scope.get(name), str) and scope[name]), ""
    )
