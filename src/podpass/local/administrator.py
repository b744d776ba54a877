"""The administrator of an instance: one user, owner of the subscription."""

import asyncio
import uuid
from typing import TYPE_CHECKING

from podpass.directory.builtin_roles import OWNER
from podpass.directory.model import RoleAssignment, User
from podpass.local.datadir import Facts

if TYPE_CHECKING:
    from podpass.directory.store.directory import Directory


def admin_id(facts: Facts) -> str:
    """Name the administrator in the directory, the same in every life of an instance."""
    return str(uuid.uuid5(uuid.UUID(facts.tenant_id), facts.admin_username))


async def ensure(directory: "Directory", facts: Facts) -> User:
    """Let the instance's administrator sign in, as owner of the subscription.

    A password that was made for the instance is hashed once: that is meant to be slow.
    """
    from podpass.exchange.sign_in.passwords import hash_password

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
