"""What commands and tests may do to the vaults of an instance besides Key Vault's own API."""

from collections.abc import Mapping
from typing import Any

from podpass import names
from podpass.clock import Clock
from podpass.database import collecting_errors
from podpass.directory.store.directory import Directory
from podpass.errors import UsageError
from podpass.lab.services.vault.model import ObjectAttributes, vault_key
from podpass.lab.services.vault.store import VaultStore
from podpass.lab.services.vault.vaults import Vaults


async def list_vaults(directory: Directory, store: VaultStore, tenant_id: str) -> dict[str, Any]:
    """List vaults; `damaged` contains a message and a hint for each row that cannot be read."""
    with collecting_errors() as damaged:
        found = await directory.store(Vaults).list(tenant_id)
    secrets = await store.counts() if found else {}
    rows = [
        {
            "name": each.name,
            "uri": f"https://{each.name}.{names.VAULT_SUFFIX}/",
            "location": each.location,
            "secrets": secrets.get(vault_key(each), 0),
            "tenant_id": each.tenant_id,
            "resource_id": each.resource_id,
        }
        for each in found
    ]
    skipped = [{"message": each.message, "hint": each.hint} for each in damaged]
    return {"value": rows, "damaged": skipped}


async def remove_demo(directory: Directory, store: VaultStore, name: str) -> list[str]:
    """Delete and purge the vault of a demo, with its secrets; return what was removed."""
    vaults = directory.store(Vaults)
    vault = await vaults.get(name)
    if vault is None:
        return []
    await vaults.delete(name)
    await vaults.purge(name)
    await store.clear({vault_key(vault)})
    return [f"vault {name}"]


async def change_secret(
    directory: Directory, store: VaultStore, clock: Clock, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Change when the latest version of a secret expires, or whether it is enabled. Raises UsageError."""
    vault = await directory.store(Vaults).get(given["vault"])
    if vault is None:
        raise UsageError(f"there is no vault {given['vault']!r}", hint="create it first")
    changes: Mapping[str, Any] = {
        **({"enabled": bool(given["enabled"])} if "enabled" in given else {}),
        **({"expires": int(clock() + given["seconds"])} if "seconds" in given else {}),
    }
    attributes = ObjectAttributes(given=frozenset(changes), **changes)
    changed = await store.update(vault_key(vault), given["name"], "", attributes, clock())
    if changed is None:
        raise UsageError(f"the vault has no secret {given['name']!r}", hint="create it first")
    return {}
