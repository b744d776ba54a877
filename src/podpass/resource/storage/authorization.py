"""Authorize a caller's operation in a storage account by the roles in the directory, which is only read."""

from collections.abc import Sequence
from typing import Protocol

from podpass.directory import roles
from podpass.directory.model import Identity, OtherResource, RoleDefinition
from podpass.resource.checks import Principal
from podpass.resource.storage.errors import permission_mismatch
from podpass.resource.storage.model import (
    RoleRequirement,
    StorageOperation,
    StorageService,
    container_scope,
)

_PREFIX = "Storage "


class StorageDirectory(Protocol):
    """The part of the directory that storage needs."""

    async def find_storage_account(self, name: str) -> OtherResource | None: ...
    async def roles_for(self, principal_id: str, scope: str) -> Sequence[RoleDefinition]: ...
    async def find_identity(self, tenant_id: str, client_id: str) -> Identity | None: ...


async def authorize(
    directory: StorageDirectory,
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
    storage = (one for one in roles.BUILT_IN if one.name.startswith(_PREFIX))
    return next((one.name for one in storage if _allowing((one,), requirement) is not None), "")


async def _display_name(directory: StorageDirectory, principal: Principal) -> str:
    if principal.is_user:
        return principal.name or principal.object_id
    identity = await directory.find_identity(principal.tenant_id, principal.app_id)
    return identity.name if identity else principal.app_id
