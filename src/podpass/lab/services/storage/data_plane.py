"""The data of storage accounts: Azurite behind tokens and roles, and the host names of the accounts."""

from collections.abc import Iterable
from typing import Any

from podpass import names
from podpass.directory.store.directory import Directory
from podpass.lab.services.model import InstanceParts, StartedPart
from podpass.lab.services.storage.accounts import find_account, list_accounts
from podpass.lab.services.storage.app import create_app
from podpass.lab.services.storage.wire import parse_host
from podpass.resource.guard import KeySource
from podpass.settings.storage import StorageSettings, parse_accounts, parse_services


async def start(
    context: InstanceParts, directory: Directory, keys: KeySource
) -> tuple[StartedPart, str]:
    """Serve storage accounts in front of Azurite; return the part and its addresses.

    Azurite's own variable has the keys of its accounts.
    """
    settings = StorageSettings(
        tenant_id=context.config.tenant_id,
        services=parse_services(context.settings.azurite),
        keys=parse_accounts(context.environ.get(names.ENV_AZURITE_ACCOUNTS, "")),
    )
    app = create_app(settings, directory, keys, context.clock)
    context.stack.push_async_callback(app.close)
    await context.serve("storage", app)

    async def describe() -> dict[str, Any]:
        found = await list_accounts(directory, context.config.subscription_id)
        return {
            "accounts": [each.name for each in found],
            "services": [*settings.services],
            "azurite_accounts": [*settings.keys],
        }

    addresses = [f"https://*.{each}.{names.STORAGE_SUFFIX}" for each in settings.services]
    return StartedPart(describe=describe), ", ".join(addresses)


async def has_host(directory: Directory, host: str) -> bool | None:
    """Return whether the account of a host exists, None for a host that is not of storage."""
    storage = parse_host(host)
    if storage is None:
        return False if host.endswith(f".{names.STORAGE_SUFFIX}") else None
    return await find_account(directory, storage.account) is not None


async def list_hosts(
    directory: Directory, subscription_id: str, served: Iterable[str]
) -> list[str]:
    """List the hosts of all accounts, for the services that are served."""
    accounts = await list_accounts(directory, subscription_id) if served else []
    return [
        f"{account.name}.{service}.{names.STORAGE_SUFFIX}"
        for account in accounts
        for service in served
    ]
