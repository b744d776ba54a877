"""Attack 26: keys rotate every second under load, and no token is refused.

Two replicas share one SQLite file. The guard (as a library) and the vault (over TLS) fetch the published
keys, each from a different replica.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from podpass.crypto import jose
from podpass.database import Database
from podpass.directory.model import RoleAssignment
from podpass.directory.store.directory import Directory
from podpass.exchange.app import create_app
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.exchange.signing.schedule import KeySchedule
from podpass.http import server
from podpass.http.fetcher import Fetcher, FetchRules
from podpass.lab.services import create_directory
from podpass.lab.services.vault.app import create_app as create_vault
from podpass.lab.services.vault.model import Vault
from podpass.lab.services.vault.settings import VaultSettings
from podpass.lab.services.vault.store import VaultStore
from podpass.lab.services.vault.vaults import Vaults
from podpass.resource.authority_keys import PublishedKeys
from podpass.resource.guard import Guard
from podpass.settings import AuthoritySettings
from tests.exchange import world as worlds
from tests.exchange.world import Start, World

# Long enough for a busy machine: three seconds until keys are stale, and until an old key is deleted.
SCHEDULE = KeySchedule(rotation_seconds=1, ahead_seconds=1, token_seconds=0.3, skew_seconds=6)
VAULT = "demo-vault.vault.azure.net"
_KEYS_PATH = f"/{worlds.TENANT}/discovery/v2.0/keys"


def ticks() -> float:
    return time.monotonic() * 2


@dataclass(kw_only=True)
class Replica:
    """One replica of the token service."""

    url: str
    keys: AuthorityKeys


@dataclass(kw_only=True)
class RotationSetup:
    """The replicas, and the guard and vault that verify their tokens."""

    world: World
    replicas: list[Replica]
    guard: Guard
    vault: str
    signed_with: set[str] = field(default_factory=set)

    async def request_token(self, replica: Replica) -> str:
        """Get a token whose key every replica already publishes."""
        url, form = replica.url + worlds.TOKEN_PATH, self.world.form()
        async with self.world.session.post(url, data=form) as answer:
            body = await answer.json()
            assert answer.status == 200, body
        token = str(body["access_token"])
        kid = str(jose.parse(token).kid)
        self.signed_with.add(kid)
        for each in self.replicas:
            assert kid in await self.published(each)
        return token

    async def published(self, replica: Replica) -> set[str]:
        async with self.world.session.get(replica.url + _KEYS_PATH) as answer:
            return {key["kid"] for key in (await answer.json())["keys"]}

    async def check(self, token: str) -> None:
        """Send a token to the guard and to the vault."""
        principal = await self.guard.admit([f"Bearer {token}"])
        assert principal.object_id == worlds.OBJECT
        headers = {"Authorization": f"Bearer {token}", "Host": VAULT}
        url = f"{self.vault}/secrets?api-version=7.4"
        async with self.world.session.get(url, headers=headers) as answer:
            assert answer.status == 200, await answer.text()


@pytest.fixture
async def setup(start: Start, ca: trustme.CA, tmp_path: Path) -> AsyncIterator[RotationSetup]:
    world = await start(clock=time.time)
    world.now = time.time()
    async with AsyncExitStack() as stack:
        directory = await stack.enter_async_context(create_directory(world.keys.database))
        await _give_a_vault(directory)
        replicas = [await _replica(stack, ca, world) for _ in range(2)]
        fetchers = [_keys(replica, tmp_path) for replica in replicas]
        store = await stack.enter_async_context(
            VaultStore(world.keys.database, tmp_path / "vault.key")
        )
        vault = create_vault(VaultSettings(), directory, store, fetchers[0], time.time)
        port = await worlds.listen(stack, ca, vault, "localhost")
        audiences = {"https://vault.azure.net"}
        guard = Guard(tenant_id=worlds.TENANT, audiences=audiences, keys=fetchers[1])
        yield RotationSetup(
            world=world, replicas=replicas, guard=guard, vault=f"https://localhost:{port}"
        )


async def _replica(stack: AsyncExitStack, ca: trustme.CA, world: World) -> Replica:
    url = f"sqlite:///{world.sealing.with_name('directory.db')}"
    database = await stack.enter_async_context(Database(url))
    directory = await stack.enter_async_context(Directory(database))
    opened = await AuthorityKeys.open(database, world.sealing, time.time, SCHEDULE, ticks=ticks)
    keys = await stack.enter_async_context(opened.running())
    sock = server.bind("127.0.0.1", 0)
    url = f"https://localhost:{sock.getsockname()[1]}"
    settings = AuthoritySettings(origins=(url,))
    app = create_app(settings, directory, world.fetcher, keys, time.time)
    await worlds.listen(stack, ca, app, "localhost", sock)
    return Replica(url=url, keys=keys)


def _keys(replica: Replica, folder: Path) -> PublishedKeys:
    port = int(replica.url.rpartition(":")[2])
    hosts = {f"localhost:{port}": ("127.0.0.1", port)}
    fetcher = Fetcher(FetchRules(hosts=hosts, ca_file=folder / "ca.pem"))
    return PublishedKeys(fetcher, replica.url + _KEYS_PATH, time.time, interval_seconds=0.05)


async def _give_a_vault(directory: Directory) -> None:
    where = "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/demo-vault"
    vault = Vault(name="demo-vault", tenant_id=worlds.TENANT, location="eastus", resource_id=where)
    await directory.store(Vaults).put(vault)
    role = "Key Vault Secrets User"
    await directory.assign_role(RoleAssignment(scope=where, principal_id=worlds.OBJECT, role=role))


@pytest.mark.processes
@pytest.mark.timeout(180)
async def test_no_token_is_refused_during_rotations(setup: RotationSetup) -> None:
    first = set(await setup.published(setup.replicas[0]))
    done = asyncio.Event()

    async def load(replica: Replica) -> None:
        tokens: deque[tuple[float, str]] = deque()
        while not done.is_set():
            await asyncio.sleep(0.02)  # 50 tokens a second cover each step of a rotation
            token = await setup.request_token(replica)
            await setup.check(token)
            tokens.append((time.time(), token))
            # Check again when the token has the maximum age of the schedule.
            while tokens and time.time() - tokens[0][0] >= SCHEDULE.token_seconds * 0.9:
                await setup.check(tokens.popleft()[1])

    async def watch() -> None:
        while not done.is_set():
            await asyncio.sleep(0.05)
            gone = first - await setup.published(setup.replicas[1])
            if gone and len(setup.signed_with) >= 4:
                done.set()

    async with asyncio.timeout(50), asyncio.TaskGroup() as group:
        for replica in setup.replicas * 2:
            group.create_task(load(replica))
        group.create_task(watch())


@pytest.mark.timeout(180)
async def test_immediate_rotation_is_followed_by_consumers_that_refetch(
    setup: RotationSetup,
) -> None:
    one, other = setup.replicas
    await setup.check(await setup.request_token(one))
    rotated_key = await one.keys.rotate(at_once=True)
    token = await setup.request_token(one)
    assert rotated_key.kid in await setup.published(other)
    await setup.check(token)
