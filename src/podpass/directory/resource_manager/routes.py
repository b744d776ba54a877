"""The route table of Resource Manager."""

from podpass.directory.resource_manager import (
    cluster_commands,
    cluster_rotations,
    cluster_subresources,
    clusters,
    deleted_vaults,
    dns_zones,
    empty_lists,
    features,
    federated_credentials,
    groups,
    identities,
    linkers,
    operations,
    other_resources,
    providers,
    resources,
    role_assignments,
    role_definitions,
    subscriptions,
    vaults,
)

_SERVED = (
    *subscriptions.ROUTES,
    *groups.ROUTES,
    *resources.ROUTES,
    *providers.ROUTES,
    *identities.ROUTES,
    *federated_credentials.ROUTES,
    *role_definitions.ROUTES,
    *role_assignments.ROUTES,
    *vaults.ROUTES,
    *deleted_vaults.ROUTES,
    *dns_zones.ROUTES,
    *clusters.ROUTES,
    *cluster_commands.ROUTES,
    *cluster_rotations.ROUTES,
    *cluster_subresources.ROUTES,
    *linkers.ROUTES,
    *other_resources.ROUTES,
    *empty_lists.ROUTES,
    *features.ROUTES,
    *operations.ROUTES,
)

ROUTES = (*_SERVED, providers.operations_route(_SERVED))
