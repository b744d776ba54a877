"""The data of the vaults in one instance: its store, and the server of its requests."""

from collections.abc import Iterable
from functools import partial

from podpass import names
from podpass.database import Database
from podpass.directory.store.directory import Directory
from podpass.lab.data.datadir import DataDir
from podpass.lab.services.model import InstanceParts, StartedPart
from podpass.lab.services.vault import control
from podpass.lab.services.vault.app import create_app
from podpass.lab.services.vault.maintenance import Maintenance
from podpass.lab.services.vault.settings import AZURE_VAULTS, VaultOrigin, VaultSettings
from podpass.lab.services.vault.store import VaultStore
from podpass.lab.services.vault.vaults import Vaults
from podpass.resource.guard import KeySource


def open_store(database: Database, data_dir: DataDir) -> VaultStore:
    """Return the store of an instance, to be entered."""
    # The sealing key of the vault is stored outside the database with the sealed values.
    return VaultStore(database, data_dir.path("keys", "vault.key"))


async def start(
    context: InstanceParts, directory: Directory, keys: KeySource, store: VaultStore
) -> tuple[StartedPart, str]:
    """Serve the vaults; return the part and its address."""
    direct = VaultOrigin(
        suffix=names.DIRECT_VAULT_SUFFIX,
        authority=context.config.direct_origin("authority"),
        resource=context.direct_vault,
    )
    settings = VaultSettings(origins=(AZURE_VAULTS, direct))
    maintenance = Maintenance(directory.store(Vaults), store, context.clock)
    await context.stack.enter_async_context(maintenance.running())
    app = create_app(settings, directory, store, keys, context.clock)
    await context.serve("vault", app)
    change_secret = partial(control.change_secret, directory, store, context.clock)
    part = StartedPart(
        describe=partial(control.list_vaults, directory, store, context.config.tenant_id),
        catch_up=maintenance.catch_up,
        remove_demo=partial(control.remove_demo, directory, store),
        test_actions={"vault-secret": change_secret},
    )
    return part, f"https://*.{names.VAULT_SUFFIX}"


async def has_host(directory: Directory, host: str) -> bool | None:
    """Return whether the vault of a host exists, None for a host that is not of a vault."""
    name, _, parent = host.partition(".")
    if parent != names.VAULT_SUFFIX:
        return None
    return await directory.store(Vaults).get(name) is not None


async def list_hosts(
    directory: Directory, _subscription_id: str, _storage: Iterable[str]
) -> list[str]:
    """List the hosts of all vaults."""
    return [f"{each.name}.{names.VAULT_SUFFIX}" for each in await directory.store(Vaults).list()]
