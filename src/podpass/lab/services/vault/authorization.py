"""Find the vault of a request, and authorize the caller's operation.

The result is the vault and the role or access policy that allows the operation; otherwise an error with the
missing permission is raised. The directory is only read.
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
from podpass.lab.services.vault import errors
from podpass.lab.services.vault.model import ISSUERS, SECRETS, Kind
from podpass.resource.checks import Principal

_ALL, _PURGE = "all", "purge"
_MANAGE_ISSUERS = "manageissuers"


class PurgeableVaults(Protocol):
    """The part of the directory's vault store that the purge needs."""

    async def uids(self) -> frozenset[str]: ...
    async def purge_expired(self) -> list[DeletedVault]: ...


class VaultDirectory(Protocol):
    """The part of the directory that the vault needs."""

    @property
    def vaults(self) -> PurgeableVaults: ...
    async def find_vault(self, name: str) -> Vault | None: ...
    async def list_vaults(self) -> list[Vault]: ...
    async def roles_for(self, principal_id: str, scope: str) -> Sequence[RoleDefinition]: ...
    async def find_identity(self, tenant_id: str, client_id: str) -> Identity | None: ...


async def find_vault(directory: VaultDirectory, name: str | None) -> Vault:
    """Return a vault by name, or the only vault if no name is given. Raises VaultNotFound."""
    if name is not None:
        if (found := await directory.find_vault(name)) is None:
            raise errors.VaultNotFound(f"This instance has no vault {name}.", vault=name)
        return found
    vaults = await directory.list_vaults()
    if len(vaults) != 1:
        raise errors.VaultNotFound(
            f"This instance has {len(vaults)} vaults, so the host must select one.",
            hint="use the host name of the vault",
        )
    return vaults[0]


async def authorize(
    directory: VaultDirectory,
    principal: Principal,
    vault: Vault,
    *,
    action: str,
    permission: str,
    kind: Kind,
    name: str,
) -> str:
    """Return the role or access policy that allows an action on an object, or, without a name, on the vault.

    Roles are checked for `action`, access policies for `permission`; a vault uses one of the two. Raises
    Forbidden, with the least privileged role that is sufficient; ForbiddenByPolicy.
    """
    if vault.access is VaultAccess.POLICIES:
        if not any(_policy_allows(each, principal, kind, permission) for each in vault.policies):
            raise errors.policy_denied(principal, vault, permission, kind)
        return f"access policy of vault {vault.name}: {permission}"
    path = f"/{kind.path}/{name}" if name else ""
    assigned = await directory.roles_for(principal.object_id, vault.resource_id + path)
    role = next((each for each in assigned if roles.allows(each, action, data=True)), None)
    if role is None:
        caller = await display_name(directory, principal)
        raise errors.rbac_denied(principal, caller, vault, action, path)
    return f"role {role.name} on vault {vault.name}"


async def display_name(directory: VaultDirectory, principal: Principal) -> str:
    """Return a name of the caller for logs and errors."""
    if principal.is_user:
        return principal.name or principal.object_id
    identity = await directory.find_identity(principal.tenant_id, principal.app_id)
    return identity.name if identity else principal.app_id


def _policy_allows(policy: AccessPolicy, principal: Principal, kind: Kind, permission: str) -> bool:
    # Object IDs are unique only within a tenant, so the tenant of the policy must match too.
    if (policy.tenant_id, policy.object_id) != (principal.tenant_id, principal.object_id):
        return False
    # A policy with an application is only for this user through this application.
    if policy.application_id not in (None, principal.app_id):
        return False
    # `all` is older than `purge` and does not include it.
    held = (
        policy.secrets if kind is SECRETS else policy.document.get(f"{kind.permission_noun}s", ())
    )
    if kind is ISSUERS and _MANAGE_ISSUERS in held:
        return True
    return permission in held or (_ALL in held and permission != _PURGE)
