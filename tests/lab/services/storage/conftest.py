"""Fixtures of storage: the application with a real directory, and a recording server behind it."""

import asyncio
import contextlib
import shutil
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from podpass.crypto import jose
from podpass.database import Database
from podpass.directory.model import Identity, OtherResource, ResourceGroup, RoleAssignment, Tenant
from podpass.directory.store.directory import Directory
from podpass.http.server import bind, serving
from podpass.lab.services import create_directory
from podpass.lab.services.storage.app import StorageApp, create_app
from podpass.settings.storage import StorageSettings, parse_accounts
from tests.authority import TENANT, Authority, ManualClock
from tests.lab.services.storage.recording_server import RecordingServer
from tests.rsa_keys import KEY

SUBSCRIPTION = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"
BLOBS, QUEUES, TABLES = (f"orders.{each}.core.windows.net" for each in ("blob", "queue", "table"))
ACCOUNT_KEY = "a2V5IG9mIHRoZSBhY2NvdW50"
STORAGE = "https://storage.azure.com"


def account_id(name: str = "orders", group: str = GROUP) -> str:
    return f"{group}/providers/Microsoft.Storage/storageAccounts/{name}"


class StaticKeys:
    """The published keys of an authority, without a fetch."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority

    async def find(self, kid: str) -> jose.PublicKey | None:
        keys = jose.load_jwks(jose.loads_object(self._authority.document()))
        return next((key for key in keys if key.kid == kid), None)


@dataclass
class World:
    """Storage with one account `orders`, its callers, and the server behind it."""

    clock: ManualClock
    authority: Authority
    directory: Directory
    server: RecordingServer
    services: dict[str, str]
    port: int
    session: aiohttp.ClientSession
    app: StorageApp

    async def caller(self, *roles: str, scope: str = "", name: str = "web") -> str:
        """Return a token of a new identity with roles at a scope, by default the account."""
        made = Identity(
            tenant_id=TENANT,
            client_id=str(uuid.uuid4()),
            object_id=str(uuid.uuid4()),
            name=name,
            resource_id=f"{GROUP}/identities/{uuid.uuid4()}",
        )
        await self.directory.identities.put(made)
        for role in roles:
            assignment = RoleAssignment(
                scope=scope or account_id(), principal_id=made.object_id, role=role
            )
            await self.directory.assign_role(assignment)
        return self.authority.mint(made, aud=STORAGE)

    async def send(
        self,
        method: str,
        path: str,
        token: str | None,
        *,
        host: str = BLOBS,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, bytes, Any]:
        """Send a request without normalization, and return status, body and headers."""
        sent = {"Host": host, **(headers or {})}
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token}")
        url = URL(f"http://127.0.0.1:{self.port}{path}", encoded=True)
        async with self.session.request(method, url, headers=sent, data=body) as answer:
            return answer.status, await answer.read(), answer.headers


@pytest.fixture(scope="session")
def storage_key() -> jose.SigningKey:
    return jose.SigningKey(kid="key-0", key=KEY)


@pytest.fixture(scope="session")
def storage_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a directory with an account once; each world has a copy."""
    folder = tmp_path_factory.mktemp("storage")
    asyncio.run(_create_directory(folder))
    return folder


async def _create_directory(folder: Path) -> None:
    async with (
        Database(f"sqlite:///{folder}/directory.db") as database,
        create_directory(database, clock=ManualClock()) as directory,
    ):
        await directory.create_tenant(Tenant(id=TENANT))
        group = ResourceGroup(subscription_id=SUBSCRIPTION, name="rg", location="eastus")
        await directory.groups.put(group)
        await directory.other_resources.put(account("orders"))


def account(name: str, group: str = GROUP) -> OtherResource:
    return OtherResource(
        resource_id=account_id(name, group),
        type="Microsoft.Storage/storageAccounts",
        name=name,
        location="eastus",
    )


@pytest.fixture
async def world(
    tmp_path: Path, storage_folder: Path, storage_key: jose.SigningKey
) -> AsyncIterator[World]:
    shutil.copytree(storage_folder, tmp_path, dirs_exist_ok=True)
    clock, server = ManualClock(), RecordingServer()
    authority = Authority(clock=clock, signing=[storage_key])
    backend, sock = bind("127.0.0.1", 0), bind("127.0.0.1", 0)
    origin = f"http://127.0.0.1:{backend.getsockname()[1]}"
    services = dict.fromkeys(("blob", "queue", "table"), origin)
    settings = StorageSettings(
        tenant_id=TENANT, services=services, keys=parse_accounts(f"orders:{ACCOUNT_KEY}")
    )
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        database = await enter(Database(f"sqlite:///{tmp_path}/directory.db"))
        directory = await enter(create_directory(database, clock=clock))
        app = create_app(settings, directory, StaticKeys(authority), clock)
        port = sock.getsockname()[1]
        await enter(serving(server, backend))
        await enter(serving(app, sock))
        stack.push_async_callback(app.close)
        session = await enter(aiohttp.ClientSession(auto_decompress=False))
        yield World(
            clock=clock,
            authority=authority,
            directory=directory,
            server=server,
            services=services,
            port=port,
            session=session,
            app=app,
        )
