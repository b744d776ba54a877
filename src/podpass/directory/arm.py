"""Azure Resource Manager ids: names of things, and the scopes at which roles are held."""


def identity_id(subscription_id: str, group: str, name: str) -> str:
    """Name a user-assigned managed identity, as `xms_mirid` does: `resourcegroups` in lower case."""
    provider = "providers/Microsoft.ManagedIdentity/userAssignedIdentities"
    return f"/subscriptions/{subscription_id}/resourcegroups/{group}/{provider}/{name}"


def vault_id(subscription_id: str, group: str, name: str) -> str:
    """Name a key vault."""
    provider = "providers/Microsoft.KeyVault/vaults"
    return f"/subscriptions/{subscription_id}/resourceGroups/{group}/{provider}/{name}"


def covers(scope: str, resource_id: str) -> bool:
    """Tell whether a role held at `scope` holds at a resource: at itself or below.

    Units:   compared without case, whole segments only, so `/vaults/a` does not cover `/vaults/ab`.
    """
    scope, resource_id = scope.lower().rstrip("/"), resource_id.lower().rstrip("/")
    return resource_id == scope or resource_id.startswith(scope + "/")
