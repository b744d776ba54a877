"""The administrator of an instance: one user, owner of the subscription."""

import asyncio
import uuid
from typing import TYPE_CHECKING

from podpass.directory.builtin_roles import OWNER
from podpass.directory.model import RoleAssignment, User
from podpass.lab.data.datadir import InstanceConfig

if TYPE_CHECKING:
    from podpass.directory.store.directory import Directory


def admin_id(config: InstanceConfig) -> str:
    """Return the object id of the administrator; it is the same on every start of an instance."""
    return str(uuid.uuid5(uuid.UUID(config.tenant_id), config.admin_username))


async def ensure_administrator(directory: "Directory", config: InstanceConfig) -> User:
    """Create the administrator with the role Owner on the subscription, unless it exists.

    The password is hashed in a thread, because hashing is slow by design.
    """
    from podpass.exchange.sign_in.passwords import hash_password

    user = await directory.users.get(admin_id(config))
    if user is None:
        password = config.admin_password.reveal()
        user = User(
            id=admin_id(config),
            tenant_id=config.tenant_id,
            name=config.admin_username,
            display_name="podpass administrator",
            password=await asyncio.to_thread(hash_password, password),
        )
        await directory.users.put(user)
        await directory.assignments.put(_ownership(user, config))
    return user


def _ownership(user: User, config: InstanceConfig) -> RoleAssignment:
    return RoleAssignment(
        scope=f"/subscriptions/{config.subscription_id}",
        principal_id=user.id,
        role=OWNER,
        principal_type="User",
    )
