"""Find the vault of a request, and authorize the caller's operation.

The result is the vault and the role or access policy that allows the operation; otherwise an error with the
missing permission is raised. The directory is only read.
"""

from podpass.directory import roles
from podpass.directory.model import AccessPolicy
from podpass.directory.store.directory import Directory
from podpass.lab.services.vault import errors
from podpass.lab.services.vault.model import (
    ISSUERS,
    SECRETS,
    Kind,
    Vault,
    VaultAccess,
)
from podpass.lab.services.vault.vaults import Vaults
from podpass.resource.checks import Principal

_ALL, _PURGE = "all", "purge"
_MANAGE_ISSUERS = "manageissuers"


async def find_vault(vaults: Vaults, name: str | None) -> Vault:
    """Return a vault by name, or the only vault if no name is given. Raises VaultNotFound."""
    if name is not None:
        if (found := await vaults.get(name)) is None:
            raise errors.VaultNotFound(f"This instance has no vault {name}.", vault=name)
        return found
    stored = await vaults.list()
    if len(stored) != 1:
        raise errors.VaultNotFound(
            f"This instance has {len(stored)} vaults, so the host must select one.",
            hint="use the host name of the vault",
        )
    return stored[0]


async def authorize(
    directory: Directory,
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


async def display_name(directory: Directory, principal: Principal) -> str:
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
