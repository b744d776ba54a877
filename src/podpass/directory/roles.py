"""Built-in roles of Key Vault and the data actions each allows. Pure.

Source: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles/security
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from podpass.errors import UsageError

_VAULTS = "Microsoft.KeyVault/vaults"
SECRETS = f"{_VAULTS}/secrets"
GET_SECRET = f"{SECRETS}/getSecret/action"
SET_SECRET = f"{SECRETS}/setSecret/action"
UPDATE_SECRET = f"{SECRETS}/update/action"
READ_METADATA = f"{SECRETS}/readMetadata/action"
DELETE_SECRET = f"{SECRETS}/delete"
RECOVER_SECRET = f"{SECRETS}/recover/action"
PURGE_SECRET = f"{SECRETS}/purge/action"


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role definition; `actions` may hold `*`, which stands for any text."""

    id: str
    name: str
    actions: tuple[str, ...]

    def allows(self, action: str) -> bool:
        """Tell whether the role allows a data action; case does not matter."""
        return any(_fits(pattern, action) for pattern in self.actions)


# From the one that may least to the one that may most: a hint names the first that suffices.
ROLES = (
    Role(
        id="4633458b-17de-408a-b874-0445c86b69e6",
        name="Key Vault Secrets User",
        actions=(GET_SECRET, READ_METADATA),
    ),
    Role(
        id="21090545-7ca7-4776-b22c-e363652d74d2",
        name="Key Vault Reader",
        actions=(f"{_VAULTS}/*/read", READ_METADATA),
    ),
    Role(
        id="b86a8fe4-44ce-4948-aee5-eccb2c155cd7",
        name="Key Vault Secrets Officer",
        actions=(f"{SECRETS}/*",),
    ),
    Role(
        id="00482a5a-887f-4fb3-b363-3b7fe8e74483",
        name="Key Vault Administrator",
        actions=(f"{_VAULTS}/*",),
    ),
)
_BY_ID = {role.id: role for role in ROLES}
_BY_NAME = {role.name.lower(): role for role in ROLES}


def find_role(name_or_id: str) -> Role:
    """Find a role by its name or id.

    Errors:  UsageError, with the names there are.
    """
    key = name_or_id.lower()
    role = _BY_ID.get(key) or _BY_NAME.get(key)
    if role is None:
        names = ", ".join(role.name for role in ROLES)
        raise UsageError(
            f"there is no role {name_or_id!r}", hint=f"use one of: {names}", role=name_or_id
        )
    return role


def granting(role_ids: Iterable[str], action: str) -> Role | None:
    """Find the one of the roles held that allows an action."""
    held = set(role_ids)
    return next((role for role in ROLES if role.id in held and role.allows(action)), None)


def least_for(action: str) -> Role:
    """Name the least role that allows an action."""
    return next(role for role in ROLES if role.allows(action))


def _fits(pattern: str, action: str) -> bool:
    wanted = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(wanted, action, re.IGNORECASE) is not None
