"""Bring the directory of an authority to what a seed file says: the first identities, and who manages it."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from podpass.clock import Clock, system
from podpass.database import Database
from podpass.directory.actor import Actor, acting
from podpass.directory.model import Change, Tenant
from podpass.directory.store.directory import Directory
from podpass.errors import UsageError
from podpass.seed.apply import Seed, apply_seed
from podpass.settings.authority_process import subscription_of

_ACTOR = Actor(object_id="", name="podpass authority seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a seed goes.

    Shapes:  `tenant_id` empty means the one tenant that is there already; `tenant_name` and `domains` are
             for one that is not.
    """

    database: str
    tenant_id: str
    tenant_name: str
    domains: tuple[str, ...]
    subscription_id: str
    cluster_issuer: str | None


def seed(wanted: Seed, target: Target, clock: Clock = system) -> dict[str, Any]:
    """Apply a seed; give the tenant, what was changed, and the client ids by the identities' names.

    Errors:  UsageError with file and line, before anything is written; DatabaseUnusable, DatabaseFailed.
    """
    return asyncio.run(_apply(wanted, target, clock))


async def _apply(wanted: Seed, target: Target, clock: Clock) -> dict[str, Any]:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database(target.database))
        directory = await stack.enter_async_context(Directory(database, (), clock))
        stack.enter_context(acting(_ACTOR))
        tenant_id = await _tenant(directory, target)
        applied = await apply_seed(
            wanted,
            directory,
            None,
            issuer=target.cluster_issuer,
            tenant_id=tenant_id,
            subscription_id=target.subscription_id or subscription_of(tenant_id),
            clock=clock,
        )
        named = {one.name for one in wanted.identities}
        found = await directory.list_identities(tenant_id)
    return {
        "tenant_id": tenant_id,
        "changed": [str(each) for each in applied if each.change is not Change.UNCHANGED],
        "identities": {one.name: one.client_id for one in found if one.name in named},
    }


async def _tenant(directory: Directory, target: Target) -> str:
    """Find the tenant that is meant, or make it."""
    there = {tenant.id: tenant for tenant in await directory.list_tenants()}
    if not target.tenant_id:
        if len(there) != 1:
            known = ", ".join(sorted(there)) or "none"
            raise UsageError(
                f"which tenant is meant? there are: {known}",
                hint="name it with --tenant-id; one that is not there yet is made",
            )
        return next(iter(there))
    if target.tenant_id not in there:
        await directory.create_tenant(
            Tenant(id=target.tenant_id, display_name=target.tenant_name, domains=target.domains)
        )
    return target.tenant_id
