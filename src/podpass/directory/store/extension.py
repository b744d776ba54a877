"""What an Azure service adds to the directory: its built-in roles, and stores on the same database."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from podpass.directory.model import RoleDefinition
from podpass.directory.store.session import Write

RemoveBelow = Callable[[Write, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryExtension:
    """The roles and the stores of one service; each store is a class that is created with the session.

    `remove_below` deletes the rows of the service below a scope, in the transaction that deletes a resource
    group.
    """

    roles: tuple[RoleDefinition, ...] = ()
    stores: tuple[type[Any], ...] = ()
    remove_below: RemoveBelow | None = None
