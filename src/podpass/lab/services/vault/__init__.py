"""Azure Key Vault: vaults and deleted vaults in Resource Manager."""

from podpass.lab.services.model import Service, late

SERVICE = Service(name="vault", provider=late("vault.provider:PROVIDER"))
