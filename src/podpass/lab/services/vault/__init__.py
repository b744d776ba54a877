"""Azure Key Vault: vaults in Resource Manager and in a seed file, and the objects in them."""

from podpass.lab.services.model import Service, late

SERVICE = Service(
    name="vault",
    longest_import="podpass.lab.services.vault.app",
    directory=late("vault.vaults:EXTENSION"),
    provider=late("vault.provider:PROVIDER"),
    seed=late("vault.seed:SECTION"),
    tables=late("vault.schema:STORE"),
    open_data=late("vault.data_plane:open_store"),
    start=lambda *parts: late("vault.data_plane:start")()(*parts),
    has_host=late("vault.data_plane:has_host"),
    list_hosts=late("vault.data_plane:list_hosts"),
)
