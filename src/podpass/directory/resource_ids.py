"""Azure Resource Manager ids: names of things, and the scopes at which roles are held."""

import re

_IN_GROUP = re.compile(r"/subscriptions/([^/]+)/resourcegroups/([^/]+)(?:/|$)", re.IGNORECASE)


def group_id(subscription_id: str, group: str) -> str:
    """Name a resource group."""
    return f"/subscriptions/{subscription_id}/resourceGroups/{group}"


def identity_id(subscription_id: str, group: str, name: str) -> str:
    """Name a user-assigned managed identity, as `xms_mirid` does: `resourcegroups` in lower case."""
    provider = "providers/Microsoft.ManagedIdentity/userAssignedIdentities"
    return f"/subscriptions/{subscription_id}/resourcegroups/{group}/{provider}/{name}"


def vault_id(subscription_id: str, group: str, name: str) -> str:
    """Name a key vault."""
    return f"{group_id(subscription_id, group)}/providers/Microsoft.KeyVault/vaults/{name}"


def cluster_id(subscription_id: str, group: str, name: str) -> str:
    """Name a managed Kubernetes cluster."""
    provider = "providers/Microsoft.ContainerService/managedClusters"
    return f"{group_id(subscription_id, group)}/{provider}/{name}"


def group_of(resource_id: str) -> tuple[str, str] | None:
    """Read subscription and resource group of an id; None when it lies in no group."""
    found = _IN_GROUP.match(resource_id)
    return (found[1].lower(), found[2]) if found else None


def covers(scope: str, resource_id: str) -> bool:
    """Tell whether a role held at `scope` holds at a resource: at itself or below.

    Units:   compared without case, whole segments only, so `/vaults/a` does not cover `/vaults/ab`.
    """
    scope, resource_id = scope.lower().rstrip("/"), resource_id.lower().rstrip("/")
    return resource_id == scope or resource_id.startswith(scope + "/")


def above(scope: str) -> tuple[str, ...]:
    """List a scope and every one above it, lower case, the root last."""
    parts = scope.lower().strip("/").split("/") if scope.strip("/") else []
    return (*("/" + "/".join(parts[:count]) for count in range(len(parts), 0, -1)), "/")
