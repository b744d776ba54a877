"""Who manages a directory: the one person of an instance, and identities that a seed names."""

import asyncio
import uuid
from typing import TYPE_CHECKING

from podpass.directory import builtin
from podpass.directory.built_in_roles import OWNER
from podpass.directory.model import AppRoleAssignment, Change, Identity, RoleAssignment, User
from podpass.directory.resources import GRAPH_APP_ID
from podpass.tools.local.datadir import Facts

if TYPE_CHECKING:
    from podpass.directory.store import Directory


def admin_id(facts: Facts) -> str:
    """Name the administrator in the directory, the same in every life of an instance."""
    return str(uuid.uuid5(uuid.UUID(facts.tenant_id), facts.admin_username))


async def ensure(directory: "Directory", facts: Facts) -> User:
    """Let the instance's administrator sign in, as owner of the subscription.

    A password that was made for the instance is hashed once: that is meant to be slow.
    """
    from podpass.exchange.passwords import hash_password

    user = await directory.users.get(admin_id(facts))
    if user is None:
        password = facts.admin_password.reveal()
        user = User(
            id=admin_id(facts),
            tenant_id=facts.tenant_id,
            name=facts.admin_username,
            display_name="podpass administrator",
            password=await asyncio.to_thread(hash_password, password),
        )
        await directory.users.put(user)
        await directory.assignments.put(_ownership(user, facts))
    return user


def _ownership(user: User, facts: Facts) -> RoleAssignment:
    return RoleAssignment(
        scope=f"/subscriptions/{facts.subscription_id}",
        principal_id=user.id,
        role=OWNER,
        principal_type="User",
    )


# What an application needs to do in Graph whatever this Graph can.
_PERMISSIONS = (
    "Application.ReadWrite.All",
    "AppRoleAssignment.ReadWrite.All",
    "DelegatedPermissionGrant.ReadWrite.All",
    "Directory.ReadWrite.All",
    "User.ReadWrite.All",
)


async def grant_all(directory: "Directory", identity: Identity, subscription_id: str) -> Change:
    """Make an identity owner of the subscription, and let it manage the directory through Graph."""
    owner = RoleAssignment(
        scope=f"/subscriptions/{subscription_id}", principal_id=identity.object_id, role=OWNER
    )
    change = await directory.assignments.put(owner)
    held = set(await directory.app_roles.roles_of(identity.object_id, GRAPH_APP_ID))
    for role_id, value in builtin.GRAPH_ROLES.items():
        if value in _PERMISSIONS and value not in held:
            await directory.app_roles.put(_permission(identity, role_id))
            change = Change.CREATED if change is Change.CREATED else Change.UPDATED
    return change


def _permission(identity: Identity, role_id: str) -> AppRoleAssignment:
    return AppRoleAssignment(
        id="",
        principal_id=identity.object_id,
        principal_type="ServicePrincipal",
        resource_id=builtin.object_id(identity.tenant_id, GRAPH_APP_ID),
        app_role_id=role_id,
    )
