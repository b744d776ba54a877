"""What an Azure service adds to the directory: its built-in roles, and stores on the same database."""

from dataclasses import dataclass
from typing import Any

from podpass.directory.model import RoleDefinition


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryExtension:
    """The roles and the stores of one service; each store is a class that is created with the session."""

    roles: tuple[RoleDefinition, ...] = ()
    stores: tuple[type[Any], ...] = ()
