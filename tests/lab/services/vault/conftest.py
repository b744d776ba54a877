"""Fixtures of the vault: over TLS, with an authority whose keys it fetches, for real clients."""

import asyncio
import contextlib
import shutil
import ssl
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import trustme
from yarl import URL

from podpass.crypto import jose
from podpass.database import Database
from podpass.directory.model import Identity, RoleAssignment, Tenant
from podpass.directory.store.directory import Directory
from podpass.http.fetcher import Fetcher, FetchRules
from podpass.http.server import bind, server_tls, serving
from podpass.lab.services import create_directory
from podpass.lab.services.vault.app import create_app
from podpass.lab.services.vault.authorization import find_vault
from podpass.lab.services.vault.maintenance import Maintenance
from podpass.lab.services.vault.model import Vault, vault_id
from podpass.lab.services.vault.settings import AZURE_VAULTS, VaultOrigin, VaultSettings
from podpass.lab.services.vault.slow_work import WorkLimits
from podpass.lab.services.vault.store import VaultStore
from podpass.lab.services.vault.vaults import Vaults
from podpass.resource.authority_keys import PublishedKeys
from tests.authority import TENANT, Authority, ManualClock

SUBSCRIPTION = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
VAULT_HOST = "demo-vault.vault.azure.net"
LOGIN_HOST = "login.microsoftonline.com"
HOSTS = ("*.vault.azure.net", "*.vault.localhost", "localhost", "127.0.0.1", LOGIN_HOST)


@dataclass
class World:
    """One instance of the vault, and the callers in its directory."""

    clock: ManualClock
    authority: Authority
    directory: Directory
    vaults: Vaults
    store: VaultStore
    ca_file: Path
    port: int
    session: aiohttp.ClientSession
    maintenance: Maintenance
    limits: WorkLimits
    identities: dict[str, Identity] = field(default_factory=dict)

    async def identity(self, name: str, role: str | None, vault: str = "demo-vault") -> Identity:
        """Add an identity, with a role on a vault or without a role."""
        made = Identity(
            tenant_id=TENANT,
            client_id=str(uuid.uuid4()),
            object_id=str(uuid.uuid4()),
            name=name,
            resource_id=f"/subscriptions/{SUBSCRIPTION}/identities/{name}",
        )
        await self.directory.identities.put(made)
        if role is not None:
            await self.grant(made, role, vault)
        self.identities[name] = made
        return made

    async def grant(self, who: Identity, role: str, vault: str = "demo-vault") -> None:
        """Assign a role on a vault."""
        there = await self.vaults.get(vault) or self.vault_of(vault)
        assignment = RoleAssignment(scope=there.resource_id, principal_id=who.object_id, role=role)
        await self.directory.assign_role(assignment)

    async def vault(self, name: str, **how: Any) -> Vault:
        """Create a vault, or change its settings."""
        await self.vaults.put(replace(self.vault_of(name), **how))
        return await find_vault(self.vaults, name)

    @staticmethod
    def vault_of(name: str) -> Vault:
        resource_id = vault_id(SUBSCRIPTION, "rg", name)
        return Vault(name=name, tenant_id=TENANT, location="eastus", resource_id=resource_id)

    async def set_time(self, now: float) -> None:
        """Set the clock, and run the work that is due then."""
        self.clock.now = now
        await self.maintenance.catch_up()

    async def send(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        host: str = VAULT_HOST,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any, Any]:
        """Send a request without normalization, and return status, JSON and headers."""
        sent = {"Host": host, **(headers or {})}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        data = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        # The URL is not encoded again: yarl would correct the invalid URLs of these tests.
        url = URL(f"https://127.0.0.1:{self.port}{path}", encoded=True)
        async with self.session.request(method, url, headers=sent, data=data) as answer:
            content = await answer.read()
            return answer.status, orjson.loads(content) if content else None, answer.headers


@pytest.fixture(scope="session")
def signing_keys() -> list[jose.SigningKey]:
    return [jose.SigningKey(kid=f"key-{n}", key=jose.generate_rsa()) for n in range(2)]


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a database with a tenant, a vault and its key once."""
    folder = tmp_path_factory.mktemp("stored")
    asyncio.run(_create_database(folder))
    return folder


async def _create_database(folder: Path) -> None:
    async with (
        Database(f"sqlite:///{folder}/directory.db") as database,
        create_directory(database, clock=ManualClock()) as directory,
        VaultStore(database, folder / "vault.key"),
    ):
        await directory.create_tenant(Tenant(id=TENANT))
        await directory.store(Vaults).put(World.vault_of("demo-vault"))


@pytest.fixture(scope="session")
def vault_tls(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    leaf = tmp_path_factory.mktemp("vault") / "leaf.pem"
    ca.issue_cert(*HOSTS).private_key_and_cert_chain_pem.write_to_path(str(leaf))
    return server_tls(str(leaf), str(leaf))


@pytest.fixture
async def world(
    tmp_path: Path,
    stored: Path,
    signing_keys: list[jose.SigningKey],
    ca: trustme.CA,
    vault_tls: ssl.SSLContext,
) -> AsyncIterator[World]:
    shutil.copytree(stored, tmp_path, dirs_exist_ok=True)
    clock, ca_file = ManualClock(), tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(ca_file))
    authority = Authority(clock=clock, signing=list(signing_keys[:1]))
    login, sock = bind("127.0.0.1", 0), bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    direct = VaultOrigin(
        suffix="vault.localhost",
        authority="https://localhost:18443",
        resource=f"https://vault.localhost:{port}",
    )
    settings = VaultSettings(origins=(AZURE_VAULTS, direct))
    rules = FetchRules(hosts={LOGIN_HOST: login.getsockname()}, ca_file=ca_file)
    keys = PublishedKeys(Fetcher(rules), f"https://{LOGIN_HOST}/common/discovery/v2.0/keys", clock)
    trust = ssl.create_default_context(cafile=ca_file)
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        database = await enter(Database(f"sqlite:///{tmp_path}/directory.db"))
        directory = await enter(create_directory(database, clock=clock))
        store = await enter(VaultStore(database, tmp_path / "vault.key"))
        await enter(serving(authority, login, vault_tls))
        app: Any = create_app(settings, directory, store, keys, clock)
        await enter(serving(app, sock, vault_tls))
        session = await enter(aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)))
        yield World(
            clock=clock,
            authority=authority,
            directory=directory,
            vaults=directory.store(Vaults),
            store=store,
            ca_file=ca_file,
            port=port,
            session=session,
            maintenance=Maintenance(directory.store(Vaults), store, clock),
            limits=app._limits,
        )


@pytest.fixture
async def officer(world: World) -> Identity:
    return await world.identity("officer", "Key Vault Secrets Officer")


@pytest.fixture
async def token(world: World, officer: Identity) -> str:
    return world.authority.mint(officer)
