"""The routes of Resource Manager: its own, and those of the services that an instance has."""

from collections.abc import Sequence

from podpass.directory.resource_manager import (
    empty_lists,
    features,
    federated_credentials,
    identities,
    operations,
    providers,
    resource_groups,
    resources,
    role_assignments,
    role_definitions,
    subscriptions,
)
from podpass.directory.resource_manager.model import ResourceProvider, Route

_OWN = (
    *subscriptions.ROUTES,
    *resource_groups.ROUTES,
    *resources.ROUTES,
    *providers.ROUTES,
    *identities.ROUTES,
    *federated_credentials.ROUTES,
    *role_definitions.ROUTES,
    *role_assignments.ROUTES,
    *empty_lists.ROUTES,
    *features.ROUTES,
    *operations.ROUTES,
)


def list_routes(services: Sequence[ResourceProvider]) -> tuple[Route, ...]:
    """Return all routes, with the one that lists their operations."""
    served = (*_OWN, *(route for each in services for route in each.routes))
    return (*served, providers.operations_route(served))
