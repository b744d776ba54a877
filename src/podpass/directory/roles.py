"""Evaluates which actions roles allow. Pure."""

import difflib
import re
from collections.abc import Iterable
from functools import lru_cache

from podpass.directory.builtin_roles import BUILT_IN, VAULT_ROLES
from podpass.directory.model import RoleDefinition
from podpass.errors import UsageError

__all__ = ["BUILT_IN", "RoleCatalogue", "allows", "is_permitted", "least_for", "may_assign"]

SECRETS = "Microsoft.KeyVault/vaults/secrets"
GET_SECRET = f"{SECRETS}/getSecret/action"
SET_SECRET = f"{SECRETS}/setSecret/action"
UPDATE_SECRET = f"{SECRETS}/update/action"
READ_METADATA = f"{SECRETS}/readMetadata/action"
DELETE_SECRET = f"{SECRETS}/delete"
BACKUP_SECRET = f"{SECRETS}/backup/action"
RESTORE_SECRET = f"{SECRETS}/restore/action"
RECOVER_SECRET = f"{SECRETS}/recover/action"
PURGE_SECRET = f"{SECRETS}/purge/action"
KEYS = "Microsoft.KeyVault/vaults/keys"
ROTATION_POLICIES = "Microsoft.KeyVault/vaults/keyrotationpolicies"


def allows(role: RoleDefinition, action: str, *, data: bool = False) -> bool:
    """Return whether a role allows an action or data action, compared without case."""
    allowed, excluded = (
        (role.data_actions, role.not_data_actions) if data else (role.actions, role.not_actions)
    )
    return any(matches(one, action) for one in allowed) and not any(
        matches(one, action) for one in excluded
    )


def is_permitted(held: Iterable[RoleDefinition], action: str, *, data: bool = False) -> bool:
    """Return whether any of the roles allows an action. Exclusions of one role do not restrict another."""
    return any(allows(role, action, data=data) for role in held)


def may_assign(held: Iterable[RoleDefinition], action: str, role_id: str | None) -> bool:
    """Return whether one of the roles allows to assign a role; None stands for every role."""
    return any(
        allows(one, action) and (one.assigns is None or role_id in one.assigns) for one in held
    )


_FOR_SECRETS = (
    "Key Vault Secrets User",
    "Key Vault Secrets Officer",
    "Key Vault Reader",
    "Key Vault Administrator",
)


class RoleCatalogue:
    """The built-in roles of a directory: the general ones, and those of its services."""

    def __init__(self, services: Iterable[RoleDefinition] = ()) -> None:
        self.all = (*BUILT_IN, *services)
        self.by_id = {role.id: role for role in self.all}
        self.by_name = {role.name.lower(): role for role in self.all}

    def find(self, name_or_id: str) -> RoleDefinition:
        """Return a role by name or id. Raises UsageError, with similar names."""
        key = name_or_id.lower()
        role = self.by_id.get(key) or self.by_name.get(key)
        if role is None:
            hint = f"{self.suggest(name_or_id)} For secrets: {', '.join(_FOR_SECRETS)}".lstrip()
            raise UsageError(f"role {name_or_id!r} does not exist", hint=hint, role=name_or_id)
        return role

    def suggest(self, name: str) -> str:
        """Return a question with the names of roles that are similar, or an empty text."""
        keys = difflib.get_close_matches(name.lower(), self.by_name, n=3)
        similar = [self.by_name[key].name for key in keys]
        return f"did you mean {' or '.join(similar)}?" if similar else ""


def least_for(action: str) -> RoleDefinition:
    """Return the least privileged role that allows a data action of a vault."""
    return next(role for role in VAULT_ROLES if allows(role, action, data=True))


def matches(pattern: str, action: str) -> bool:
    """Return whether a pattern, in which `*` matches any text, matches an action."""
    return _compiled(pattern).fullmatch(action) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> "re.Pattern[str]":
    regex = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.compile(regex, re.IGNORECASE | re.ASCII)
