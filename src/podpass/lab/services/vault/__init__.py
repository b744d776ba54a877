"""Azure Key Vault: vaults and deleted vaults in Resource Manager."""

from typing import TYPE_CHECKING

from podpass.lab.services.model import Service

if TYPE_CHECKING:
    from podpass.directory.resource_manager.model import ResourceProvider


def _provider() -> "ResourceProvider":
    from podpass.lab.services.vault.provider import PROVIDER

    return PROVIDER


SERVICE = Service(name="vault", provider=_provider)
