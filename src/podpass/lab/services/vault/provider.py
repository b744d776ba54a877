"""Key Vault in Resource Manager: its types and routes."""

from podpass.directory.resource_manager import operations
from podpass.directory.resource_manager.model import (
    OperationContext,
    Resource,
    ResourceProvider,
    ResourceType,
)
from podpass.lab.services.vault import deleted, resource_manager
from podpass.lab.services.vault.model import TYPE, vault_id
from podpass.lab.services.vault.vaults import Vaults


async def _find(context: OperationContext, group: str, name: str) -> str | None:
    """Find a vault; another group may have the vault of this name."""
    vault = await context.directory.store(Vaults).get(name)
    expected = vault_id(context.subscription_id, group, name).lower()
    return vault.resource_id if vault and vault.resource_id.lower() == expected else None


async def _page(
    context: OperationContext, group: str | None, after: str | None, limit: int
) -> list[Resource]:
    found = await context.directory.store(Vaults).page(
        context.subscription_id, group=group, after=after, limit=limit
    )
    return [
        Resource(
            type=TYPE, id=each.resource_id, name=each.name, location=each.location, tags=each.tags
        )
        for each in found
    ]


PROVIDER = ResourceProvider(
    types=(
        ResourceType(
            name=TYPE,
            versions=("2026-02-01", "2024-11-01", "2023-07-01", "2023-02-01"),
            find=_find,
            page=_page,
        ),
        ResourceType(
            name="Microsoft.KeyVault/deletedVaults",
            has_location=False,
            versions=("2026-02-01", "2023-07-01", "2023-02-01"),
        ),
    ),
    routes=(
        *resource_manager.ROUTES,
        *deleted.ROUTES,
        *operations.polling_routes("Microsoft.KeyVault"),
    ),
)
