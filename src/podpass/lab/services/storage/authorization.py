"""Authorize a caller's operation in a storage account by the roles in the directory, which is only read."""

from collections.abc import Sequence

from podpass.directory import roles
from podpass.directory.model import OtherResource, RoleDefinition
from podpass.directory.store.directory import Directory
from podpass.lab.services.storage.errors import permission_mismatch
from podpass.lab.services.storage.model import (
    RoleRequirement,
    StorageOperation,
    StorageService,
    container_scope,
)
from podpass.lab.services.storage.roles import ROLES
from podpass.resource.checks import Principal


async def authorize(
    directory: Directory,
    principal: Principal,
    account: OtherResource,
    service: StorageService,
    operation: StorageOperation,
) -> str:
    """Return the roles that allow an operation.

    Raises PermissionMismatch, with the least privileged role that is sufficient.
    """
    used = []
    for requirement in operation.requirements:
        scope = container_scope(account.resource_id, service, requirement.container)
        held = await directory.roles_for(principal.object_id, scope)
        allowing = _allowing(held, requirement)
        if allowing is None:
            caller = await _display_name(directory, principal)
            raise permission_mismatch(
                principal,
                caller,
                scope,
                requirement.alternatives[0][0].name,
                least_role(requirement),
            )
        used += allowing
    return f"role {' and '.join(dict.fromkeys(used))} on storage account {account.name}"


def _allowing(held: Sequence[RoleDefinition], requirement: RoleRequirement) -> list[str] | None:
    """Return the roles that together allow one of the alternatives, None if there are none."""
    for actions in requirement.alternatives:
        found = [
            next((one.name for one in held if roles.allows(one, action.name, data=action.data)), "")
            for action in actions
        ]
        if all(found):
            return found
    return None


def least_role(requirement: RoleRequirement) -> str:
    """Return the first built-in storage role that allows an operation alone, or an empty text."""
    return next((one.name for one in ROLES if _allowing((one,), requirement) is not None), "")


async def _display_name(directory: Directory, principal: Principal) -> str:
    if principal.is_user:
        return principal.name or principal.object_id
    identity = await directory.find_identity(principal.tenant_id, principal.app_id)
    return identity.name if identity else principal.app_id
