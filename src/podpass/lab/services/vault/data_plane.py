"""The data of the vaults in one instance: its store, and the server of its requests."""

from podpass import names
from podpass.database import Database
from podpass.directory.store.directory import Directory
from podpass.lab.data.datadir import DataDir
from podpass.lab.services.model import InstanceParts, StartedPart
from podpass.lab.services.vault.app import create_app
from podpass.lab.services.vault.maintenance import Maintenance
from podpass.lab.services.vault.store import SecretStore
from podpass.resource.guard import KeySource
from podpass.settings import AZURE_VAULTS, VaultOrigin, VaultSettings


def open_store(database: Database, data_dir: DataDir) -> SecretStore:
    """Return the store of an instance, to be entered."""
    # The sealing key of the vault is stored outside the database with the sealed values.
    return SecretStore(database, data_dir.path("keys", "vault.key"))


async def start(
    context: InstanceParts, directory: Directory, keys: KeySource, store: SecretStore
) -> tuple[StartedPart, str]:
    """Serve the vaults; return the part and its address."""
    direct = VaultOrigin(
        suffix=names.DIRECT_VAULT_SUFFIX,
        authority=context.config.direct_origin("authority"),
        resource=context.direct_vault,
    )
    settings = VaultSettings(origins=(AZURE_VAULTS, direct))
    maintenance = Maintenance(directory, store, context.clock)
    await context.stack.enter_async_context(maintenance.running())
    app = create_app(settings, directory, store, keys, context.clock)
    await context.serve("vault", app)
    return StartedPart(catch_up=maintenance.catch_up), f"https://*.{names.VAULT_SUFFIX}"
