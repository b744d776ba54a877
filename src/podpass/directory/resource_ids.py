"""Azure Resource Manager ids: resources, and the scopes of role assignments."""

import re

_IN_GROUP = re.compile(r"/subscriptions/([^/]+)/resourcegroups/([^/]+)(?:/|$)", re.IGNORECASE)


def group_id(subscription_id: str, group: str) -> str:
    """Return the id of a resource group."""
    return f"/subscriptions/{subscription_id}/resourceGroups/{group}"


def identity_id(subscription_id: str, group: str, name: str) -> str:
    """Return the id of a managed identity, with `resourcegroups` in lower case as in `xms_mirid`."""
    provider = "providers/Microsoft.ManagedIdentity/userAssignedIdentities"
    return f"/subscriptions/{subscription_id}/resourcegroups/{group}/{provider}/{name}"


def cluster_id(subscription_id: str, group: str, name: str) -> str:
    """Return the id of a managed Kubernetes cluster."""
    provider = "providers/Microsoft.ContainerService/managedClusters"
    return f"{group_id(subscription_id, group)}/{provider}/{name}"


def group_of(resource_id: str) -> tuple[str, str] | None:
    """Return subscription and resource group of an id; None for an id without a group."""
    found = _IN_GROUP.match(resource_id)
    return (found[1].lower(), found[2]) if found else None


def covers(scope: str, resource_id: str) -> bool:
    """Return whether a role at `scope` applies to a resource: the resource is at the scope or below it.

    Compared without case, by whole segments: `/vaults/a` does not cover `/vaults/ab`.
    """
    scope, resource_id = scope.lower().rstrip("/"), resource_id.lower().rstrip("/")
    return resource_id == scope or resource_id.startswith(scope + "/")


def scopes_above(scope: str) -> tuple[str, ...]:
    """List a scope and every scope above it, in lower case, the root last."""
    parts = scope.lower().strip("/").split("/") if scope.strip("/") else []
    return (*("/" + "/".join(parts[:count]) for count in range(len(parts), 0, -1)), "/")
