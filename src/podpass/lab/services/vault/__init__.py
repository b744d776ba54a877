"""Azure Key Vault: vaults in Resource Manager and in a seed file, and the objects in them."""

from podpass.lab.services.model import Service, late

SERVICE = Service(
    name="vault",
    longest_import="podpass.lab.services.vault.app",
    provider=late("vault.provider:PROVIDER"),
    seed=late("vault.seed:SECTION"),
    tables=late("vault.schema:STORE"),
    open_data=late("vault.data_plane:open_store"),
    start=lambda *parts: late("vault.data_plane:start")()(*parts),
)
