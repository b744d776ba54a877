"""Built-in roles for the data of storage accounts, with Azure's ids, from the least privileged."""

from podpass.directory.model import RoleDefinition

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
