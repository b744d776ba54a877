"""What an Azure service adds to the directory: its built-in roles, and stores on the same database."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from podpass.directory.model import ResourceInfo, RoleDefinition
from podpass.directory.store.session import Write

RemoveBelow = Callable[[Write, str], None]


class ResourceStore(Protocol):
    """A store of resources with a table of its own."""

    async def list_resources(self, tenant_id: str) -> list[ResourceInfo]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryExtension:
    """The roles and the stores of one service; each store is a class that is created with the session.

    `remove_below` deletes the rows of the service below a scope, in the transaction that deletes a resource
    group; `resource_store` is the one whose resources the trust graph shows.
    """

    roles: tuple[RoleDefinition, ...] = ()
    stores: tuple[type[Any], ...] = ()
    remove_below: RemoveBelow | None = None
    resource_store: type[ResourceStore] | None = None
