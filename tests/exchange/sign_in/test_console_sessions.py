"""Sessions of the console on both databases: each replica accepts them, and each replica ends them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from sqlalchemy import select

from podpass.clock import Clock
from podpass.database import Database
from podpass.directory.model import Tenant, User
from podpass.directory.store.directory import Directory
from podpass.exchange import schema
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.sign_in.codes import SKEW_SECONDS
from podpass.exchange.sign_in.console_sessions import ConsoleSessions
from podpass.exchange.sign_in.passwords import hash_password
from podpass.exchange.sign_in.used_forms import SESSION_SECONDS
from podpass.exchange.sign_in.users import UserAuthenticator
from podpass.exchange.signing.token_sealer import TokenSealer

TENANT = Tenant(id="11111111-1111-4111-8111-111111111111", display_name="t", domains=("a.test",))
ADA = User(
    id="99999999-1111-4111-8111-111111111111",
    tenant_id=TENANT.id,
    name="ada@a.test",
    password=hash_password("right"),
)
EVE = replace(ADA, id="99999999-2222-4222-8222-222222222222", name="eve@a.test")
KEY = bytes(range(32))


class Replica:
    """A process with the shared database; its clock may differ from the other's."""

    def __init__(self, database: Database, directory: Directory, clock: Clock) -> None:
        self.directory, self.seal, self.administrators = directory, TokenSealer(KEY), [ADA.id]
        users = UserAuthenticator(directory, database, clock)
        self.sessions = ConsoleSessions(users, database, self.seal, self.administrators, clock)

    async def open(self, user: User = ADA, password: str = "right") -> str | None:
        return await self.sessions.open(TENANT, user.name, password)


class World:
    """Two replicas, and the time."""

    def __init__(self) -> None:
        self.now = 1_750_000_000.0
        self.one: Replica
        self.other: Replica
        self.database: Database


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    found = World()

    def clock() -> float:
        return found.now

    async with AsyncExitStack() as stack:
        replicas = []
        for _ in range(2):
            database = await stack.enter_async_context(Database(database_url))
            await database.prepare(schema.metadata, schema.CHAIN)
            directory = await stack.enter_async_context(Directory(database, clock=clock))
            replicas.append(Replica(database, directory, clock))
            found.database = database
        found.one, found.other = replicas
        await found.one.directory.create_tenant(TENANT)
        for each in (ADA, EVE):
            await found.one.directory.users.put(each)
        yield found


async def test_every_replica_accepts_a_session(world: World) -> None:
    session = await world.one.open()
    assert session is not None
    assert await world.one.sessions.is_valid(session)
    assert await world.other.sessions.is_valid(session)


async def test_only_an_administrator_with_the_password_gets_a_session(world: World) -> None:
    assert await world.one.open(EVE) is None
    with pytest.raises(AadstsError) as caught:
        await world.one.open(password="wrong")
    assert caught.value.entry.number == 50126


async def test_sign_out_at_one_replica_ends_only_that_session_at_all_replicas(world: World) -> None:
    session, second = await world.one.open(), await world.one.open()
    assert session is not None
    assert second is not None
    await world.one.sessions.end(session)
    await world.one.sessions.end(session)
    for each in (world.one, world.other):
        assert not await each.sessions.is_valid(session)
        assert await each.sessions.is_valid(second)


async def test_changed_password_ends_the_session_at_all_replicas(world: World) -> None:
    session = await world.one.open()
    assert session is not None
    await world.one.directory.users.put(replace(ADA, password=hash_password("another")))
    for each in (world.one, world.other):
        assert not await each.sessions.is_valid(session)


async def test_session_of_a_user_who_is_no_longer_an_administrator_is_invalid(world: World) -> None:
    session = await world.one.open()
    assert session is not None
    world.other.administrators.clear()
    assert not await world.other.sessions.is_valid(session)


async def test_session_expires_and_is_accepted_before_its_start_within_the_skew(
    world: World,
) -> None:
    session = await world.one.open()
    assert session is not None
    begun = world.now
    for seconds, is_valid in (
        (SESSION_SECONDS - 1, True),
        (SESSION_SECONDS, False),
        (-SKEW_SECONDS, True),
        (-SKEW_SECONDS - 1, False),
    ):
        world.now = begun + seconds
        assert await world.other.sessions.is_valid(session) is is_valid


async def test_ended_session_is_stored_until_it_expires(world: World) -> None:
    session = await world.one.open()
    assert session is not None
    await world.one.sessions.end(session)
    world.now += SESSION_SECONDS - 1
    other = await world.one.open()
    assert other is not None
    await world.one.sessions.end(other)  # deletes expired rows
    assert not await world.other.sessions.is_valid(session)


async def test_replaced_sealing_key_ends_all_sessions(world: World) -> None:
    session = await world.one.open()
    assert session is not None
    world.other.seal.set_key(bytes(32))
    assert not await world.other.sessions.is_valid(session)


async def test_value_sealed_for_another_purpose_is_not_a_session(world: World) -> None:
    session = await world.one.open()
    assert session is not None
    values = world.one.seal.open("console-session", session)
    for text in ("", "x", session[:-2], world.one.seal.seal("refresh-token", values)):
        assert not await world.one.sessions.is_valid(text)
        await world.one.sessions.end(text)
    assert await count_ended(world) == 0


async def count_ended(world: World) -> int:
    rows = select(schema.used_forms)
    return len(await world.database.read(lambda c: c.execute(rows).all()))
