"""Data types of storage: what a request addresses, and the actions that its operation needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from podpass import names

ACCOUNTS = "Microsoft.Storage/storageAccounts"


class StorageService(StrEnum):
    """A service of a storage account, by the label in its host name."""

    BLOB = "blob"
    QUEUE = "queue"
    TABLE = "table"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageHost:
    """The account and the service in a Host header."""

    account: str
    service: StorageService

    @property
    def name(self) -> str:
        """Return the host name."""
        return f"{self.account}.{self.service}.{names.STORAGE_SUFFIX}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageTarget:
    """What a request addresses: the account, or a container, queue or table, or an item in it.

    `container` is the name of a container, queue or table, empty for the account; `item` is what follows in
    the path: a blob, `messages`, `messages/ID`, or the key of an entity.
    """

    container: str = ""
    item: str = ""


@dataclass(frozen=True, slots=True)
class RoleAction:
    """An action that a role must allow; `data` says whether it is a data action."""

    name: str
    data: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleRequirement:
    """The permissions of a request at one scope.

    One of the `alternatives` must be allowed completely; `container` is empty for the account.
    """

    alternatives: tuple[tuple[RoleAction, ...], ...]
    container: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageOperation:
    """An operation: its name for logs, and all permissions that it needs.

    `max_body_bytes` is 0 without a body, and None for the content of a blob, which is streamed.
    """

    title: str
    requirements: tuple[RoleRequirement, ...]
    max_body_bytes: int | None = 0
    is_batch: bool = False
    is_block_list: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageRequest:
    """The parts of a request that decide which operation it is.

    Query parameters are unique and decoded. `sets_tags` is set for a request that has tags in its headers,
    `copies_tags` for one that copies those of its source.
    """

    host: StorageHost
    method: str
    target: StorageTarget
    query: Mapping[str, str]
    copy_source: str = ""
    sets_tags: bool = False
    copies_tags: bool = False


def container_scope(account_id: str, service: StorageService, container: str) -> str:
    """Return the scope of a container, queue or table; the account for an empty name."""
    if not container:
        return account_id
    kind = "containers" if service is StorageService.BLOB else f"{service}s"
    return f"{account_id}/{service}Services/default/{kind}/{container}"
