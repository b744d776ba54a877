"""Grant an identity of a seed administrator rights: subscription owner, and Graph permissions."""

from typing import TYPE_CHECKING

from podpass.directory import builtin_principals
from podpass.directory.builtin_roles import OWNER
from podpass.directory.model import AppRoleAssignment, Identity, RoleAssignment, WriteResult
from podpass.directory.resources import GRAPH_APP_ID

if TYPE_CHECKING:
    from podpass.directory.store.directory import Directory

# The permissions for every operation that this Graph API supports.
_PERMISSIONS = (
    "Application.ReadWrite.All",
    "AppRoleAssignment.ReadWrite.All",
    "DelegatedPermissionGrant.ReadWrite.All",
    "Directory.ReadWrite.All",
    "User.ReadWrite.All",
)


async def grant_all(
    directory: "Directory", identity: Identity, subscription_id: str
) -> WriteResult:
    """Make an identity owner of the subscription and assign it Graph permissions for the directory."""
    owner = RoleAssignment(
        scope=f"/subscriptions/{subscription_id}", principal_id=identity.object_id, role=OWNER
    )
    change = await directory.assignments.put(owner)
    assigned = set(await directory.app_roles.roles_of(identity.object_id, GRAPH_APP_ID))
    for role_id, value in builtin_principals.GRAPH_ROLES.items():
        if value in _PERMISSIONS and value not in assigned:
            await directory.app_roles.put(_permission(identity, role_id))
            change = WriteResult.CREATED if change is WriteResult.CREATED else WriteResult.UPDATED
    return change


def _permission(identity: Identity, role_id: str) -> AppRoleAssignment:
    return AppRoleAssignment(
        id="",
        principal_id=identity.object_id,
        principal_type="ServicePrincipal",
        resource_id=builtin_principals.object_id(identity.tenant_id, GRAPH_APP_ID),
        app_role_id=role_id,
    )
