"""Which vault is meant, and whether the caller may do there what is asked.

In: what the token and the path say. Out: a vault, what allows it, or the refusal that names what is missing.
The directory is read and nothing is changed; a refusal is the only way to say no.
"""

from collections.abc import Sequence
from typing import Protocol

from podpass.directory import roles
from podpass.directory.model import (
    AccessPolicy,
    DeletedVault,
    Identity,
    RoleDefinition,
    Vault,
    VaultAccess,
)
from podpass.resource import errors
from podpass.resource.checks import Check, Principal, TokenRefused

_SCOPE = "user_impersonation"
_ALL, _PURGE = "all", "purge"


class Vaults(Protocol):
    """The deleted vaults: those that can still come back, and the end of those that cannot."""

    async def uids(self) -> frozenset[str]: ...
    async def sweep(self) -> list[DeletedVault]: ...


class Directory(Protocol):
    """What the vault reads of the directory."""

    @property
    def vaults(self) -> Vaults: ...
    async def find_vault(self, name: str) -> Vault | None: ...
    async def list_vaults(self) -> list[Vault]: ...
    async def roles_for(self, principal_id: str, scope: str) -> Sequence[RoleDefinition]: ...
    async def find_identity(self, tenant_id: str, client_id: str) -> Identity | None: ...


def check_scope(principal: Principal) -> None:
    """Let pass applications, and users whose application may use vaults for them.

    Errors:  TokenRefused.
    """
    if principal.is_user and _SCOPE not in principal.scopes:
        raise TokenRefused(f"the token lacks the scope {_SCOPE}", check=Check.CALLER)


async def find_vault(directory: Directory, name: str | None) -> Vault:
    """Find a vault by name; without one, the only vault there is.

    Errors:  VaultNotFound.
    """
    if name is not None:
        if (found := await directory.find_vault(name)) is None:
            raise errors.VaultNotFound(f"There is no vault {name} in this instance.", vault=name)
        return found
    every = await directory.list_vaults()
    if len(every) != 1:
        raise errors.VaultNotFound(
            f"This instance has {len(every)} vaults, so the host must name one.",
            hint="use the vault's own host name",
        )
    return every[0]


async def authorise(
    directory: Directory,
    principal: Principal,
    vault: Vault,
    *,
    action: str,
    permission: str,
    secret: str,
) -> str:
    """Find what allows a caller an action on a secret, and name it; no secret means the whole vault.

    Shapes:  `action` is asked of roles, `permission` of access policies: a vault goes by one of the two.
    Errors:  Forbidden, with the least role that would do; ForbiddenByPolicy.
    """
    if vault.access is VaultAccess.POLICIES:
        if not any(_gives(policy, principal, permission) for policy in vault.policies):
            raise errors.by_policy(principal, vault, permission)
        return f"access policy of vault {vault.name}: {permission}"
    scope = f"{vault.resource_id}/secrets/{secret}" if secret else vault.resource_id
    held = await directory.roles_for(principal.object_id, scope)
    role = next((one for one in held if roles.allows(one, action, data=True)), None)
    if role is None:
        called = await name_of(directory, principal)
        raise errors.by_rbac(principal, called, vault, action, secret)
    return f"role {role.name} on vault {vault.name}"


async def name_of(directory: Directory, principal: Principal) -> str:
    """Name a caller for people."""
    if principal.is_user:
        return principal.name or principal.object_id
    identity = await directory.find_identity(principal.tenant_id, principal.app_id)
    return identity.name if identity else principal.app_id


def _gives(policy: AccessPolicy, principal: Principal, permission: str) -> bool:
    # An object id belongs to one tenant; another tenant's policy must not mean ours by chance.
    if (policy.tenant_id, policy.object_id) != (principal.tenant_id, principal.object_id):
        return False
    # With an application it is for this user through this application, and no other.
    if policy.application_id not in (None, principal.app_id):
        return False
    # `all` was there before `purge`, which has always had to be given by name.
    return permission in policy.secrets or (_ALL in policy.secrets and permission != _PURGE)
