"""Key vaults in Azure Resource Manager."""

from dataclasses import dataclass

from podpass.provision.api_client import ApiClient, Object, required

_VAULTS = {"api-version": "2023-07-01"}


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultInfo:
    """A key vault; `uses_roles` is false if it authorizes callers by access policies."""

    resource_id: str
    name: str
    url: str
    uses_roles: bool

    @property
    def group(self) -> str:
        """Return the resource group of the vault."""
        return self.resource_id.split("/")[4]


async def find_vaults(client: ApiClient, subscription_id: str) -> list[VaultInfo]:
    """Return the vaults of a subscription. Raises ApiError."""
    path = f"/subscriptions/{subscription_id}/providers/Microsoft.KeyVault/vaults"
    return [_vault(each) for each in await client.list(path, _VAULTS)]


def _vault(found: Object) -> VaultInfo:
    properties = found.get("properties") or {}
    return VaultInfo(
        resource_id=required(found, "id"),
        name=str(found.get("name") or ""),
        url=str(properties.get("vaultUri") or ""),
        uses_roles=bool(properties.get("enableRbacAuthorization")),
    )
