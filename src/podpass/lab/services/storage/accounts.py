"""Storage accounts in the directory."""

from podpass.directory.model import OtherResource
from podpass.directory.store.directory import Directory

TYPE = "Microsoft.Storage/storageAccounts"
_MAX_ACCOUNTS = 1000


async def find_account(directory: Directory, name: str) -> OtherResource | None:
    """Return a storage account by name; None if two resource groups have an account of this name."""
    found = await directory.other_resources.page_named(TYPE, name)
    return found[0] if len(found) == 1 else None


async def list_accounts(directory: Directory, subscription_id: str) -> list[OtherResource]:
    """List the first thousand storage accounts of a subscription."""
    return await directory.other_resources.page(subscription_id, type_=TYPE, limit=_MAX_ACCOUNTS)
