"""Apply a seed file to the directory of an authority: the first identities and administrators."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from podpass.clock import Clock, system
from podpass.database import Database
from podpass.directory.actor import Actor, acting
from podpass.directory.claims_expression import NO_KUBERNETES, KubernetesIssuers
from podpass.directory.model import Tenant, WriteResult
from podpass.directory.store.directory import Directory
from podpass.errors import UsageError
from podpass.seed.apply import Seed, apply_seed
from podpass.settings.authority_process import default_subscription_id

_ACTOR = Actor(object_id="", name="podpass authority seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedTarget:
    """The database and tenant to which a seed is applied.

    An empty `tenant_id` selects the only existing tenant; `tenant_name` and `domains` are used if the tenant
    is created.
    """

    database: str
    tenant_id: str
    tenant_name: str
    domains: tuple[str, ...]
    subscription_id: str
    cluster_issuer: str | None
    expressions: KubernetesIssuers = NO_KUBERNETES


def seed(document: Seed, target: SeedTarget, clock: Clock = system) -> dict[str, Any]:
    """Apply a seed; return the tenant, the changes, and the client IDs by identity name.

    Raises UsageError with file and line, before any change; DatabaseUnusable, DatabaseFailed.
    """
    return asyncio.run(_apply(document, target, clock))


async def _apply(document: Seed, target: SeedTarget, clock: Clock) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(target.database))
        directory = await stack.enter_async_context(
            Directory(database, (), clock, target.expressions)
        )
        stack.enter_context(acting(_ACTOR))
        tenant_id = await _find_or_create_tenant(directory, target)
        applied = await apply_seed(
            document,
            directory,
            {},
            issuer=target.cluster_issuer,
            tenant_id=tenant_id,
            subscription_id=target.subscription_id or default_subscription_id(tenant_id),
            clock=clock,
        )
        names = {identity.name for identity in document.identities}
        found = await directory.list_identities(tenant_id)
    return {
        "tenant_id": tenant_id,
        "changed": [str(each) for each in applied if each.change is not WriteResult.UNCHANGED],
        "identities": {each.name: each.client_id for each in found if each.name in names},
    }


async def _find_or_create_tenant(directory: Directory, target: SeedTarget) -> str:
    """Find or create the tenant."""
    existing = {tenant.id: tenant for tenant in await directory.list_tenants()}
    if not target.tenant_id:
        if len(existing) != 1:
            known = ", ".join(sorted(existing)) or "none"
            raise UsageError(
                f"the seed needs one tenant, the database has: {known}",
                hint="set --tenant-id; a tenant that does not exist is created",
            )
        return next(iter(existing))
    if target.tenant_id not in existing:
        await directory.create_tenant(
            Tenant(id=target.tenant_id, display_name=target.tenant_name, domains=target.domains)
        )
    return target.tenant_id
