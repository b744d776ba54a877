"""The managed cluster in Resource Manager: its types, its routes and what other operations do to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from podpass.directory.resource_manager import operations
from podpass.directory.resource_manager.model import (
    OperationContext,
    Resource,
    ResourceProvider,
    ResourceType,
)
from podpass.lab.services.clusters import commands, resource_manager, rotations, subresources
from podpass.lab.services.clusters.model import TYPE
from podpass.lab.services.clusters.store import Clusters


async def _find(context: OperationContext, group: str, name: str) -> str | None:
    found = await context.directory.store(Clusters).get(context.subscription_id, group, name)
    return None if found is None else found.resource_id


async def _page(
    context: OperationContext, group: str | None, after: str | None, limit: int
) -> list[Resource]:
    found = await context.directory.store(Clusters).page(
        context.subscription_id, group=group, after=after, limit=limit
    )
    return [
        Resource(
            type=TYPE,
            id=each.resource_id,
            name=each.name,
            location=each.location,
            tags=each.tags,
            document=each.document,
        )
        for each in found
    ]


@asynccontextmanager
async def _deleting_group(context: OperationContext, group: str) -> AsyncIterator[None]:
    """Register the webhook, as without a cluster resource, while the group of the cluster is deleted."""
    clusters = context.directory.store(Clusters)
    if not await clusters.page(context.subscription_id, group=group, limit=1):
        yield
        return
    async with resource_manager.webhook_enabled(context):
        yield


PROVIDER = ResourceProvider(
    types=(
        ResourceType(
            name=TYPE,
            versions=("2026-06-01", "2025-05-01", "2024-09-01", "2023-01-01"),
            find=_find,
            page=_page,
        ),
    ),
    routes=(
        *resource_manager.ROUTES,
        *commands.ROUTES,
        *rotations.ROUTES,
        *subresources.ROUTES,
        *operations.polling_routes("Microsoft.ContainerService"),
    ),
    deleting_group=_deleting_group,
)
