"""Fixtures: Graph on a real directory with two users, an administrator and a guest."""

import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from podpass.database import Database
from podpass.directory.access import GLOBAL_ADMINISTRATOR
from podpass.directory.graph.app import create_app
from podpass.directory.model import Tenant, User
from podpass.directory.store.directory import Directory
from podpass.exchange.sign_in.passwords import hash_password
from podpass.http.server import bind, serving
from tests.directory.graph.harness import ADMIN, DOMAIN, GUEST, TENANT, Graph, ManualClock


@pytest.fixture
async def graph(directory_url: str) -> AsyncIterator[Graph]:
    clock = ManualClock()
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        directory = await enter(Directory(Database(directory_url), clock=clock))
        await directory.create_tenant(Tenant(id=TENANT, display_name="Contoso", domains=(DOMAIN,)))
        for object_id, name in ((ADMIN, "admin"), (GUEST, "guest")):
            await directory.users.put(
                User(id=object_id, tenant_id=TENANT, name=f"{name}@{DOMAIN}", display_name=name)
            )
        session = await enter(aiohttp.ClientSession())
        made = Graph(clock=clock, directory=directory, session=session)
        every_scope = ("Directory.AccessAsUser.All",)
        made.add_user("admin", ADMIN, GLOBAL_ADMINISTRATOR, scopes=every_scope)
        made.add_user("guest", GUEST, scopes=every_scope)
        sock = bind("127.0.0.1", 0)
        made.port = sock.getsockname()[1]
        app = create_app(
            directory,
            made.admit,
            TENANT,
            DOMAIN,
            clock,
            hash_password=hash_password,
            administrators=[ADMIN],
        )
        await enter(serving(app, sock))
        yield made
