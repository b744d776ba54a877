"""Authorization codes and device codes on both databases, used by two replicas."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from sqlalchemy import select, update

from podpass.database import Database
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.schema import (
    CHAIN,
    codes,
    devices,
    lockouts,
    metadata,
    used_forms,
    wrong_codes,
)
from podpass.exchange.sign_in import codes as pending
from podpass.exchange.sign_in import passwords
from podpass.exchange.sign_in.authorization_codes import AuthorizationCodes
from podpass.exchange.sign_in.clients import Platform
from podpass.exchange.sign_in.codes import SKEW_SECONDS, Approval, AuthorizationCode
from podpass.exchange.sign_in.device_codes import DeviceCodes
from podpass.exchange.sign_in.used_forms import SESSION_SECONDS, UsedForms
from podpass.exchange.sign_in.users import LOCKOUT_SECONDS, MAX_ATTEMPTS, PasswordLockout
from podpass.exchange.signing.token_sealer import BrokenSeal, TokenSealer

APPROVAL = Approval(tenant_id="t", user_id="ada", password="print", authenticated=7)
CLIENT = "33333333-3333-4333-8333-333333333333"


class Replica:
    """A process with the shared database; its clock may differ from the other's."""

    def __init__(self, database: Database, world: "Replicas") -> None:
        self.database = database
        self.offset = 0.0
        seal = TokenSealer(bytes(range(32)))

        def clock() -> float:
            return world.now + self.offset

        self.codes = AuthorizationCodes(database, seal, clock)
        self.devices = DeviceCodes(database, seal, clock)
        self.forms = UsedForms(database, seal, clock)
        self.guesses = PasswordLockout(database, clock)


class Replicas:
    """Two replicas, and the time."""

    def __init__(self) -> None:
        self.now = 1_750_000_000.0
        self.one: Replica
        self.other: Replica

    def code(self, **changes: Any) -> AuthorizationCode:
        return AuthorizationCode(
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


async def expect_refusal(asking: Any) -> int:
    with pytest.raises(AadstsError) as caught:
        await asking
    return caught.value.entry.number


async def create(replica: Replica) -> tuple[str, pending.DeviceCode]:
    return await replica.devices.create(client_id=CLIENT, segment="common", scope="openid")


# --------------------------------------------------------------------------------- authorization codes


async def test_another_replica_redeems_code_with_all_data(world: Replicas) -> None:
    text = await world.one.codes.issue(world.code())
    assert await world.other.codes.redeem(text) == world.code()


async def test_concurrent_redemptions_of_a_code_succeed_once(world: Replicas) -> None:
    """Attack 26: eight concurrent redemptions of one code, at two replicas."""
    text = await world.one.codes.issue(world.code())
    asking = [replica.codes.redeem(text) for replica in (world.one, world.other) for _ in range(4)]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    taken = [answer for answer in answers if isinstance(answer, AuthorizationCode)]
    refused = [answer.entry.number for answer in answers if isinstance(answer, AadstsError)]
    assert (len(taken), refused) == (1, [54005] * 7)


async def test_all_replicas_together_accept_a_consent_form_once(world: Replicas) -> None:
    asking = [replica.forms.use("a") for replica in (world.one, world.other) for _ in range(4)]
    answers = await asyncio.gather(*asking, world.one.forms.use("b"), return_exceptions=True)
    refused = [answer.entry.number for answer in answers if isinstance(answer, AadstsError)]
    assert (answers.count(None), refused) == (2, [50089] * 7)


async def test_used_form_is_stored_until_a_slow_replica_refuses_it_as_expired(
    world: Replicas,
) -> None:
    await world.one.forms.use("a")
    world.other.offset = -SKEW_SECONDS + 1.0
    world.now += SESSION_SECONDS + SKEW_SECONDS - 2
    await world.one.forms.use("b")
    assert await expect_refusal(world.other.forms.use("a")) == 50089
    world.now += 3
    await world.one.forms.use("c")
    assert await world.count(used_forms) == 2


async def test_expired_code_is_refused_permanently(world: Replicas) -> None:
    text = await world.one.codes.issue(world.code())
    world.now += pending.CODE_SECONDS
    assert await expect_refusal(world.other.codes.redeem(text)) == 70008
    world.now -= 1  # the code stays invalid after the clock is set back
    assert await expect_refusal(world.other.codes.redeem(text)) == 54005


async def test_replica_with_slow_clock_redeems_code(world: Replicas) -> None:
    world.other.offset = -pending.SKEW_SECONDS
    text = await world.one.codes.issue(world.code())
    assert await world.other.codes.redeem(text)
    world.other.offset -= 1
    text = await world.one.codes.issue(world.code())
    assert await expect_refusal(world.other.codes.redeem(text)) == 70008


async def test_expired_codes_are_deleted(world: Replicas) -> None:
    for _ in range(3):
        await world.one.codes.issue(world.code())
    world.now += pending.CODE_SECONDS
    await world.other.codes.issue(world.code())
    assert await world.count(codes) == 1


async def test_oldest_code_is_evicted_at_limit(
    world: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pending, "MAX_STORED", 3)
    texts = []
    for _ in range(4):
        texts.append(await world.one.codes.issue(world.code()))
        world.now += 1
    assert await world.count(codes) == 3
    assert await expect_refusal(world.one.codes.redeem(texts[0])) == 70000
    assert await world.one.codes.redeem(texts[1])


async def test_database_contains_no_plain_code_and_no_user(world: Replicas) -> None:
    text = await world.one.codes.issue(world.code())
    device, about = await create(world.one)
    kept = repr(await world.rows(codes)) + repr(await world.rows(devices))
    for secret in (text, device, about.user_code, "ada", "app.test", CLIENT):
        assert secret not in kept


async def test_sealed_data_of_a_code_is_bound_to_its_row(world: Replicas) -> None:
    """Attack: an attacker with write access copies an approved sign-in to their own code."""
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


async def test_device_may_poll_another_replica_than_the_user(world: Replicas) -> None:
    text, device = await create(world.one)
    assert await expect_refusal(world.one.devices.poll(text, CLIENT)) == 70016
    typed = f" {device.user_code[:4].lower()}-{device.user_code[4:]} "
    assert await world.other.devices.find(typed) == device
    await world.other.devices.complete(device.user_code, APPROVAL)
    world.now += pending.INTERVAL_SECONDS
    assert (await world.one.devices.poll(text, CLIENT)).approval == APPROVAL


async def test_concurrent_polls_succeed_once(world: Replicas) -> None:
    """Attack 26: eight concurrent polls of one device code, at two replicas."""
    text, device = await create(world.one)
    await world.one.devices.complete(device.user_code, APPROVAL)
    asking = [
        replica.devices.poll(text, CLIENT) for replica in (world.one, world.other) for _ in range(4)
    ]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    refused = [answer.entry.number for answer in answers if isinstance(answer, AadstsError)]
    assert refused == [70018] * 7


async def test_concurrent_approvals_succeed_once(world: Replicas) -> None:
    text, device = await create(world.one)
    other = Approval(tenant_id="t", user_id="eve", password="print", authenticated=8)
    asking = [
        world.one.devices.complete(device.user_code, APPROVAL),
        world.other.devices.complete(device.user_code, other),
    ]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    first, second = answers
    assert isinstance(first, AadstsError) != isinstance(second, AadstsError)
    signed_in = (await world.one.devices.poll(text, CLIENT)).approval
    assert signed_in == (APPROVAL if first is None else other)


async def test_slow_down_is_enforced_across_replicas(world: Replicas) -> None:
    text, _ = await create(world.one)
    assert await expect_refusal(world.one.devices.poll(text, CLIENT)) == 70016
    world.now += 1
    assert await expect_refusal(world.other.devices.poll(text, CLIENT)) == 50196


async def test_wrong_user_codes_are_counted_across_replicas(world: Replicas) -> None:
    """Attack: guess user codes concurrently at all replicas."""
    _, device = await create(world.one)
    guesses = [
        (world.one, world.other)[number % 2].devices.find(f"AAAAAAA{number:02d}")
        for number in range(pending.MAX_WRONG_CODES + 10)
    ]
    answers = await asyncio.gather(*guesses, return_exceptions=True)
    numbers = [answer.entry.number for answer in answers if isinstance(answer, AadstsError)]
    assert (numbers.count(70018), numbers.count(50053)) == (pending.MAX_WRONG_CODES, 10)
    assert await expect_refusal(world.other.devices.find(device.user_code)) == 50053
    world.now += pending.WRONG_CODE_SECONDS
    assert await world.other.devices.find(device.user_code) == device
    assert await expect_refusal(world.one.devices.find("AAAAAAAAA")) == 70018
    assert await world.count(wrong_codes) == 1


async def test_concurrent_user_codes_that_all_passed_the_first_check_are_counted(
    world: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: each guess is found not to be limited before the first wrong one is recorded."""
    count = pending.MAX_WRONG_CODES + 5
    read, all_have_read = world.one.database.read, asyncio.Barrier(count)

    async def read_together(step: Any) -> Any:
        result = await read(step)
        await all_have_read.wait()
        return result

    monkeypatch.setattr(world.one.database, "read", read_together)
    wrong = (world.one.devices.find(f"AAAAAAA{number:02d}") for number in range(count))
    results = await asyncio.gather(*wrong, return_exceptions=True)
    numbers = [result.entry.number for result in results if isinstance(result, AadstsError)]
    assert (numbers.count(70018), numbers.count(50053)) == (pending.MAX_WRONG_CODES, 5)


# ----------------------------------------------------------------------------------------- passwords


async def test_wrong_passwords_are_counted_across_replicas(world: Replicas) -> None:
    """Attack: guess at all replicas, so that each would count only a part; one clock is slow."""
    kept = passwords.hash_password("right")
    world.other.offset = -30.0
    tries = [
        (world.one, world.other)[number % 2].guesses.check("ada", "wrong", kept)
        for number in range(2 * MAX_ATTEMPTS)
    ]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    assert answers.count(False) == MAX_ATTEMPTS
    for replica in (world.one, world.other):
        assert await expect_refusal(replica.guesses.check("ada", "right", kept)) == 50053
    assert await world.other.guesses.check("another", "right", kept)
    world.now += LOCKOUT_SECONDS
    assert await world.one.guesses.check("ada", "right", kept)
    assert await world.count(lockouts) == 0
