"""Roles: which actions each allows. Pure."""

import difflib
import re
from collections.abc import Iterable
from functools import lru_cache

from podpass.directory.builtin_roles import BUILT_IN, VAULT_ROLES
from podpass.directory.model import RoleDefinition
from podpass.errors import UsageError

__all__ = [
    "BUILT_IN",
    "BY_ID",
    "BY_NAME",
    "allows",
    "find_role",
    "least_for",
    "may_assign",
    "permit",
]

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

BY_ID = {role.id: role for role in BUILT_IN}
BY_NAME = {role.name.lower(): role for role in BUILT_IN}


def allows(role: RoleDefinition, action: str, *, data: bool = False) -> bool:
    """Tell whether a role allows an action, or a data action; case does not matter."""
    yes, no = (
        (role.data_actions, role.not_data_actions) if data else (role.actions, role.not_actions)
    )
    return any(fits(each, action) for each in yes) and not any(fits(each, action) for each in no)


def permit(held: Iterable[RoleDefinition], action: str, *, data: bool = False) -> bool:
    """Tell whether any of the roles allows an action: what one takes away another may give."""
    return any(allows(role, action, data=data) for role in held)


def may_assign(held: Iterable[RoleDefinition], action: str, role_id: str | None) -> bool:
    """Tell whether any of the roles lets its holder give, or take, a role; None asks for every role."""
    return any(
        allows(one, action) and (one.assigns is None or role_id in one.assigns) for one in held
    )


_FOR_SECRETS = (
    "Key Vault Secrets User",
    "Key Vault Secrets Officer",
    "Key Vault Reader",
    "Key Vault Administrator",
)


def find_role(name_or_id: str) -> RoleDefinition:
    """Find a built-in role by its name or id.

    Errors:  UsageError, with names that are near.
    """
    key = name_or_id.lower()
    role = BY_ID.get(key) or BY_NAME.get(key)
    if role is None:
        near = [BY_NAME[name].name for name in difflib.get_close_matches(key, BY_NAME, n=3)]
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        hint = f"{meant}For secrets: {', '.join(_FOR_SECRETS)}"
        raise UsageError(f"there is no role {name_or_id!r}", hint=hint, role=name_or_id)
    return role


def least_for(action: str) -> RoleDefinition:
    """Name the least role that allows a data action of a vault."""
    return next(role for role in VAULT_ROLES if allows(role, action, data=True))


def fits(pattern: str, action: str) -> bool:
    """Tell whether a pattern, in which `*` stands for any text, means an action."""
    return _compiled(pattern).fullmatch(action) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> "re.Pattern[str]":
    wanted = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.compile(wanted, re.IGNORECASE | re.ASCII)
