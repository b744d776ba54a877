"""Fixtures: Resource Manager over HTTP on a real directory, with a fake cluster."""

import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from podpass.database import Database
from podpass.directory.access import Caller
from podpass.directory.model import RoleAssignment, Tenant, User
from podpass.directory.resource_manager.app import create_app
from podpass.directory.resource_manager.model import SubscriptionContext
from podpass.http.server import bind, serving
from podpass.lab.services import create_directory, list_providers
from tests.directory.resource_manager.harness import (
    ADMIN,
    SUB,
    SUBSCRIPTION,
    TENANT,
    FakeCluster,
    ManagerHarness,
    ManualClock,
)


@pytest.fixture
async def manager(directory_url: str) -> AsyncIterator[ManagerHarness]:
    clock, cluster = ManualClock(), FakeCluster()
    subscription = SubscriptionContext(
        tenant_id=TENANT,
        tenant_name="Contoso",
        domain="contoso.example",
        subscription_id=SUBSCRIPTION,
        subscription_name="podpass",
        authority="https://localhost:18443",
        vault_suffix="vault.localhost:18444",
    )
    sock = bind("127.0.0.1", 0)
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        directory = await enter(create_directory(Database(directory_url), clock=clock))
        await directory.create_tenant(Tenant(id=TENANT, domains=("contoso.example",)))
        await directory.users.put(User(id=ADMIN, tenant_id=TENANT, name="admin@contoso.example"))
        await directory.assign_role(RoleAssignment(scope=SUB, principal_id=ADMIN, role="Owner"))
        session = await enter(aiohttp.ClientSession())
        made = ManagerHarness(
            clock=clock,
            cluster=cluster,
            directory=directory,
            port=sock.getsockname()[1],
            session=session,
            subscription=subscription,
        )
        made.callers["admin"] = Caller(
            object_id=ADMIN,
            app_id="04b07795-8ddb-461a-bbee-02f9e1bf7b46",
            tenant_id=TENANT,
            name="admin@contoso.example",
            is_user=True,
        )
        app = create_app(
            directory, made.admit, subscription, clock, list_providers(), {"clusters": cluster}
        )
        await enter(serving(app, sock))
        yield made
