"""Authorize a caller's operation in a storage account by the roles in the directory, which is only read."""

from collections.abc import Sequence

from podpass.directory import roles
from podpass.directory.model import OtherResource, RoleDefinition
from podpass.directory.store.directory import Directory
from podpass.directory.store.extension import DirectoryExtension
from podpass.lab.services.storage.errors import permission_mismatch
from podpass.lab.services.storage.model import (
    RoleRequirement,
    StorageOperation,
    StorageService,
    container_scope,
)
from podpass.resource.checks import Principal

_BLOBS = "Microsoft.Storage/storageAccounts/blobServices"
_CONTAINER = f"{_BLOBS}/containers"
_QUEUES = "Microsoft.Storage/storageAccounts/queueServices/queues"
_TABLES = "Microsoft.Storage/storageAccounts/tableServices/tables"

ROLES = (
    RoleDefinition(
        id="2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
        name="Storage Blob Data Reader",
        description="Reads containers and blobs.",
        actions=(f"{_CONTAINER}/read", f"{_BLOBS}/generateUserDelegationKey/action"),
        data_actions=(f"{_CONTAINER}/blobs/read",),
    ),
    RoleDefinition(
        id="ba92f5b4-2d11-453d-a403-e96b0029c9fe",
        name="Storage Blob Data Contributor",
        description="Reads, writes and deletes containers and blobs.",
        actions=(
            f"{_CONTAINER}/delete",
            f"{_CONTAINER}/read",
            f"{_CONTAINER}/write",
            f"{_BLOBS}/generateUserDelegationKey/action",
        ),
        data_actions=(
            f"{_CONTAINER}/blobs/delete",
            f"{_CONTAINER}/blobs/read",
            f"{_CONTAINER}/blobs/write",
            f"{_CONTAINER}/blobs/move/action",
            f"{_CONTAINER}/blobs/add/action",
        ),
    ),
    RoleDefinition(
        id="b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
        name="Storage Blob Data Owner",
        description="Performs any action on containers and blobs, and sets their owners.",
        actions=(f"{_CONTAINER}/*", f"{_BLOBS}/generateUserDelegationKey/action"),
        data_actions=(f"{_CONTAINER}/blobs/*",),
    ),
    RoleDefinition(
        id="db58b8e5-c6ad-4a2a-8342-4190687cbf4a",
        name="Storage Blob Delegator",
        description="Gets a user delegation key to sign SAS URLs of blobs.",
        actions=(f"{_BLOBS}/generateUserDelegationKey/action",),
    ),
    RoleDefinition(
        id="19e7f393-937e-4f77-808e-94535e297925",
        name="Storage Queue Data Reader",
        description="Reads queues and their messages.",
        actions=(f"{_QUEUES}/read",),
        data_actions=(f"{_QUEUES}/messages/read",),
    ),
    RoleDefinition(
        id="974c5e8b-45b9-4653-ba55-5f855dd0fb88",
        name="Storage Queue Data Contributor",
        description="Reads, writes and deletes queues and their messages.",
        actions=(f"{_QUEUES}/delete", f"{_QUEUES}/read", f"{_QUEUES}/write"),
        data_actions=(
            f"{_QUEUES}/messages/delete",
            f"{_QUEUES}/messages/read",
            f"{_QUEUES}/messages/write",
            f"{_QUEUES}/messages/process/action",
        ),
    ),
    RoleDefinition(
        id="8a0f0c08-91a1-4084-bc3d-661d67233fed",
        name="Storage Queue Data Message Processor",
        description="Receives messages from queues.",
        data_actions=(f"{_QUEUES}/messages/read", f"{_QUEUES}/messages/process/action"),
    ),
    RoleDefinition(
        id="c6a89b2d-59bc-44d0-9896-0f6e12d7b80a",
        name="Storage Queue Data Message Sender",
        description="Sends messages to queues.",
        data_actions=(f"{_QUEUES}/messages/add/action",),
    ),
    RoleDefinition(
        id="76199698-9eea-4c19-bc75-cec21354c6b6",
        name="Storage Table Data Reader",
        description="Reads tables and their entities.",
        actions=(f"{_TABLES}/read",),
        data_actions=(f"{_TABLES}/entities/read",),
    ),
    RoleDefinition(
        id="0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
        name="Storage Table Data Contributor",
        description="Reads, writes and deletes tables and their entities.",
        actions=(f"{_TABLES}/read", f"{_TABLES}/write", f"{_TABLES}/delete"),
        data_actions=(
            f"{_TABLES}/entities/read",
            f"{_TABLES}/entities/write",
            f"{_TABLES}/entities/delete",
            f"{_TABLES}/entities/add/action",
            f"{_TABLES}/entities/update/action",
        ),
    ),
)
EXTENSION = DirectoryExtension(roles=ROLES)


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
        allowing = _find_roles(held, requirement)
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


def _find_roles(held: Sequence[RoleDefinition], requirement: RoleRequirement) -> list[str] | None:
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
    return next((one.name for one in ROLES if _find_roles((one,), requirement) is not None), "")


async def _display_name(directory: Directory, principal: Principal) -> str:
    if principal.is_user:
        return principal.name or principal.object_id
    identity = await directory.find_identity(principal.tenant_id, principal.app_id)
    return identity.name if identity else principal.app_id
