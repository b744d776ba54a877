"""Which vault is meant, and whether the caller may do there what is asked.

In: what the token and the path say. Out: a vault, a role, or the refusal that names what is missing. The
directory is read and nothing is changed; a refusal is the only way to say no.
"""

from typing import Protocol

from podpass.directory import roles
from podpass.directory.model import Identity, Vault
from podpass.resource import refusals
from podpass.resource.guard import Principal


class Directory(Protocol):
    """What the vault reads of the directory."""

    async def find_vault(self, name: str) -> Vault | None: ...
    async def list_vaults(self) -> list[Vault]: ...
    async def roles_at(self, principal_id: str, scope: str) -> tuple[str, ...]: ...
    async def find_identity(self, tenant_id: str, client_id: str) -> Identity | None: ...


async def find_vault(directory: Directory, name: str | None) -> Vault:
    """Find a vault by name; without one, the only vault there is.

    Errors:  VaultNotFound.
    """
    if name is not None:
        if (found := await directory.find_vault(name)) is None:
            raise refusals.VaultNotFound(f"There is no vault {name} in this instance.", vault=name)
        return found
    every = await directory.list_vaults()
    if len(every) != 1:
        raise refusals.VaultNotFound(
            f"This instance has {len(every)} vaults, so the host must name one.",
            hint="use the vault's own host name",
        )
    return every[0]


async def authorise(
    directory: Directory, principal: Principal, vault: Vault, action: str, secret: str
) -> roles.Role:
    """Find a role of the caller that allows an action on a secret; no name means the whole vault.

    Errors:  Forbidden, with the least role that would do.
    """
    scope = f"{vault.resource_id}/secrets/{secret}" if secret else vault.resource_id
    held = await directory.roles_at(principal.object_id, scope)
    role = roles.granting(held, action)
    if role is None:
        identity = await directory.find_identity(vault.tenant_id, principal.app_id)
        called = identity.name if identity else None
        raise refusals.by_rbac(principal, called, vault, action, secret)
    return role
