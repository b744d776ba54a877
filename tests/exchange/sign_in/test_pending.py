"""Sign-ins under way on both databases: what one replica began another finishes, and each works once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from sqlalchemy import select, update

from podpass.database import Database
from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.schema import CHAIN, codes, devices, guesses, metadata, wrong_codes
from podpass.exchange.sign_in import codes as pending
from podpass.exchange.sign_in import passwords
from podpass.exchange.sign_in.authorization_codes import Codes
from podpass.exchange.sign_in.clients import Platform
from podpass.exchange.sign_in.codes import Approval, Code
from podpass.exchange.sign_in.device_codes import Devices
from podpass.exchange.sign_in.lockout import LOCKED_SECONDS, MAX_GUESSES, Guesses
from podpass.exchange.signing.token_sealer import BrokenSeal, Seal

APPROVAL = Approval(tenant_id="t", user_id="ada", password="print", authenticated=7)
CLIENT = "33333333-3333-4333-8333-333333333333"


class Replica:
    """One process on the database; its clock may differ from the other's."""

    def __init__(self, database: Database, world: "Replicas") -> None:
        self.database = database
        self.offset = 0.0
        seal = Seal(bytes(range(32)))

        def clock() -> float:
            return world.now + self.offset

        self.codes = Codes(database, seal, clock)
        self.devices = Devices(database, seal, clock)
        self.guesses = Guesses(database, clock)


class Replicas:
    """Two of them, and the time."""

    def __init__(self) -> None:
        self.now = 1_750_000_000.0
        self.one: Replica
        self.other: Replica

    def code(self, **changes: Any) -> Code:
        return Code(
            approval=APPROVAL,
            client_id=CLIENT,
            redirect="https://app.test/back",
            platform=Platform.SPA,
            scope="openid",
            challenge="c",
            nonce="n",
            **{"issued": self.now, **changes},
        )

    async def count(self, table: Any) -> int:
        return len(await self.rows(table))

    async def rows(self, table: Any) -> list[Any]:
        return list(await self.one.database.read(lambda c: c.execute(select(table)).all()))


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Replicas]:
    made = Replicas()
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(Database(database_url)) for _ in range(2)]
        await opened[0].prepare(metadata, CHAIN)
        made.one, made.other = (Replica(each, made) for each in opened)
        yield made


async def refusal(asking: Any) -> int:
    with pytest.raises(Refused) as caught:
        await asking
    return caught.value.entry.number


async def begin(replica: Replica) -> tuple[str, pending.Device]:
    return await replica.devices.begin(client_id=CLIENT, segment="common", scope="openid")


# --------------------------------------------------------------------------------- authorization codes


async def test_another_replica_redeems_a_code_whole(world: Replicas) -> None:
    text = await world.one.codes.issue(world.code())
    assert await world.other.codes.redeem(text) == world.code()


async def test_a_code_works_once_however_many_present_it_at_once(world: Replicas) -> None:
    """Attack 26: eight redemptions of one code at the same moment, at two replicas."""
    text = await world.one.codes.issue(world.code())
    asking = [replica.codes.redeem(text) for replica in (world.one, world.other) for _ in range(4)]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    taken = [answer for answer in answers if isinstance(answer, Code)]
    refused = [answer.entry.number for answer in answers if isinstance(answer, Refused)]
    assert (len(taken), refused) == (1, [54005] * 7)


async def test_a_code_that_nobody_gave_out_is_unknown(world: Replicas) -> None:
    assert await refusal(world.one.codes.redeem("made-up")) == 70000


async def test_an_expired_code_is_refused_and_used_up(world: Replicas) -> None:
    text = await world.one.codes.issue(world.code())
    world.now += pending.CODE_SECONDS
    assert await refusal(world.other.codes.redeem(text)) == 70008
    world.now -= 1  # a clock that is set back does not bring it back
    assert await refusal(world.other.codes.redeem(text)) == 54005


async def test_a_replica_whose_clock_is_behind_takes_a_code(world: Replicas) -> None:
    world.other.offset = -pending.SKEW_SECONDS
    text = await world.one.codes.issue(world.code())
    assert await world.other.codes.redeem(text)
    world.other.offset -= 1
    text = await world.one.codes.issue(world.code())
    assert await refusal(world.other.codes.redeem(text)) == 70008


async def test_expired_codes_are_deleted(world: Replicas) -> None:
    for _ in range(3):
        await world.one.codes.issue(world.code())
    world.now += pending.CODE_SECONDS
    await world.other.codes.issue(world.code())
    assert await world.count(codes) == 1


async def test_too_many_codes_drop_the_oldest(
    world: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "MAX_HELD", 3)
    texts = []
    for _ in range(4):
        texts.append(await world.one.codes.issue(world.code()))
        world.now += 1
    assert await world.count(codes) == 3
    assert await refusal(world.one.codes.redeem(texts[0])) == 70000
    assert await world.one.codes.redeem(texts[1])


async def test_neither_code_nor_user_lies_open_in_the_database(world: Replicas) -> None:
    text = await world.one.codes.issue(world.code())
    device, about = await begin(world.one)
    kept = repr(await world.rows(codes)) + repr(await world.rows(devices))
    for secret in (text, device, about.user_code, "ada", "app.test", CLIENT):
        assert secret not in kept


async def test_what_a_code_stands_for_cannot_be_given_to_another(world: Replicas) -> None:
    """Attack: who can write the database puts an approved sign-in under a code of their own."""
    mine, theirs = [await world.one.codes.issue(world.code()) for _ in range(2)]
    first, second = await world.rows(codes)
    await world.one.database.write(
        lambda c: [
            c.execute(update(codes).where(codes.c.digest == digest).values(sealed=sealed))
            for digest, sealed in ((first.digest, second.sealed), (second.digest, first.sealed))
        ]
    )
    for text in (mine, theirs):
        with pytest.raises(BrokenSeal):
            await world.one.codes.redeem(text)


# -------------------------------------------------------------------------------------- device codes


async def test_a_user_signs_in_at_another_replica_than_the_device_polls(world: Replicas) -> None:
    text, device = await begin(world.one)
    assert await refusal(world.one.devices.poll(text, CLIENT)) == 70016
    typed = f" {device.user_code[:4].lower()}-{device.user_code[4:]} "
    assert await world.other.devices.find(typed) == device
    await world.other.devices.settle(device.user_code, APPROVAL)
    world.now += pending.INTERVAL_SECONDS
    assert (await world.one.devices.poll(text, CLIENT)).approval == APPROVAL


async def test_a_sign_in_is_given_to_one_of_those_who_poll_at_once(world: Replicas) -> None:
    """Attack 26: eight polls of one device code at the same moment, at two replicas."""
    text, device = await begin(world.one)
    await world.one.devices.settle(device.user_code, APPROVAL)
    asking = [
        replica.devices.poll(text, CLIENT) for replica in (world.one, world.other) for _ in range(4)
    ]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    refused = [answer.entry.number for answer in answers if isinstance(answer, Refused)]
    assert refused == [70018] * 7


async def test_two_users_who_approve_at_once_are_one(world: Replicas) -> None:
    text, device = await begin(world.one)
    other = Approval(tenant_id="t", user_id="eve", password="print", authenticated=8)
    asking = [
        world.one.devices.settle(device.user_code, APPROVAL),
        world.other.devices.settle(device.user_code, other),
    ]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    first, second = answers
    assert isinstance(first, Refused) != isinstance(second, Refused)
    signed_in = (await world.one.devices.poll(text, CLIENT)).approval
    assert signed_in == (APPROVAL if first is None else other)


async def test_a_declined_device_is_told_so_once(world: Replicas) -> None:
    text, device = await begin(world.one)
    await world.other.devices.settle(device.user_code, None)
    assert await refusal(world.one.devices.poll(text, CLIENT)) == 65004
    assert await refusal(world.one.devices.poll(text, CLIENT)) == 70018


async def test_another_client_does_not_get_the_sign_in(world: Replicas) -> None:
    text, device = await begin(world.one)
    await world.one.devices.settle(device.user_code, APPROVAL)
    assert await refusal(world.other.devices.poll(text, "another")) == 70018
    assert (await world.other.devices.poll(text, CLIENT)).approval == APPROVAL


async def test_haste_is_noticed_across_replicas(world: Replicas) -> None:
    text, _ = await begin(world.one)
    assert await refusal(world.one.devices.poll(text, CLIENT)) == 70016
    world.now += 1
    assert await refusal(world.other.devices.poll(text, CLIENT)) == 50196


async def test_a_device_whose_time_is_over_is_told_so_and_makes_room(
    world: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "MAX_HELD", 2)
    text, device = await begin(world.one)
    await begin(world.other)
    assert await refusal(begin(world.one)) == 90055
    world.now += pending.DEVICE_SECONDS
    assert await refusal(world.one.devices.poll(text, CLIENT)) == 70020
    assert await refusal(world.one.devices.find(device.user_code)) == 70020
    await begin(world.other)
    assert await world.count(devices) == 1


async def test_guesses_at_all_replicas_are_counted_together(world: Replicas) -> None:
    """Attack: guess user codes at every replica, and all at the same moment."""
    _, device = await begin(world.one)
    guesses = [
        (world.one, world.other)[number % 2].devices.find(f"AAAAAAA{number:02d}")
        for number in range(pending.MAX_WRONG + 10)
    ]
    answers = await asyncio.gather(*guesses, return_exceptions=True)
    numbers = [answer.entry.number for answer in answers if isinstance(answer, Refused)]
    assert (numbers.count(70018), numbers.count(50053)) == (pending.MAX_WRONG, 10)
    assert await refusal(world.other.devices.find(device.user_code)) == 50053
    world.now += pending.WRONG_SECONDS
    assert await world.other.devices.find(device.user_code) == device
    assert await refusal(world.one.devices.find("AAAAAAAAA")) == 70018
    assert await world.count(wrong_codes) == 1


# ----------------------------------------------------------------------------------------- passwords


async def test_wrong_passwords_at_all_replicas_are_counted_together(world: Replicas) -> None:
    """Attack: guess at every replica, so that each counts only its part; one clock is behind."""
    kept = passwords.hash_password("right")
    world.other.offset = -30.0
    tries = [
        (world.one, world.other)[number % 2].guesses.check("ada", "wrong", kept)
        for number in range(2 * MAX_GUESSES)
    ]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    assert answers.count(False) == MAX_GUESSES
    for replica in (world.one, world.other):
        assert await refusal(replica.guesses.check("ada", "right", kept)) == 50053
    assert await world.other.guesses.check("another", "right", kept)
    world.now += LOCKED_SECONDS
    assert await world.one.guesses.check("ada", "right", kept)
    assert await world.count(guesses) == 0
