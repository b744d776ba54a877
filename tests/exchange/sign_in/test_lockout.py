"""Hashes of passwords, and the lockout after wrong ones: concurrent guesses, clocks that are set back."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from podpass.database import Database
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.schema import CHAIN, metadata
from podpass.exchange.sign_in import passwords
from podpass.exchange.sign_in.codes import SKEW_SECONDS
from podpass.exchange.sign_in.users import MAX_ATTEMPTS, PasswordLockout

USER = "ada"
STORED = passwords.hash_password("right")
LOCKED = 50053


class World:
    """A lockout, its database, and its clock."""

    def __init__(self, database: Database) -> None:
        self.now = 1_750_000_000.0
        self.database = database
        self._lockout = PasswordLockout(database, lambda: self.now)

    async def guess(self, password: str) -> bool | int:
        """Return whether the password is correct, or the number of the error."""
        try:
            return await self._lockout.check(USER, password, STORED)
        except AadstsError as exc:
            return exc.entry.number

    async def lock(self) -> None:
        for _ in range(MAX_ATTEMPTS):
            assert await self.guess("wrong") is False


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with Database(database_url) as database:
        await database.prepare(metadata, CHAIN)
        yield World(database)


async def test_correct_password_among_concurrent_guesses_is_refused(world: World) -> None:
    """Attack: 100 guesses are sent before the first one is compared, and one of them is correct."""
    guesses = ["wrong"] * 99 + ["right"]
    results = await asyncio.gather(*map(world.guess, guesses))
    assert results.count(False) == MAX_ATTEMPTS
    assert results.count(LOCKED) == 100 - MAX_ATTEMPTS
    assert await world.guess("right") == LOCKED


async def test_concurrent_guesses_that_all_passed_the_first_check_are_counted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: each guess is found not to be locked before the first one is counted."""
    count = MAX_ATTEMPTS + 5
    read, all_have_read = world.database.read, asyncio.Barrier(count)

    async def read_together(step: Callable[..., Any]) -> Any:
        result = await read(step)
        await all_have_read.wait()
        return result

    monkeypatch.setattr(world.database, "read", read_together)
    results = await asyncio.gather(*(world.guess("wrong") for _ in range(count)))
    assert results.count(False) == MAX_ATTEMPTS
    assert results.count(LOCKED) == count - MAX_ATTEMPTS


async def test_lockout_holds_after_the_clock_is_set_back_slightly(world: World) -> None:
    """Attack: guess at a replica whose clock is behind."""
    await world.lock()
    world.now -= SKEW_SECONDS
    assert await world.guess("right") == LOCKED


async def test_lockout_ends_after_the_clock_is_set_back_far(world: World) -> None:
    """A clock that was a year ahead must not lock a user for a year."""
    await world.lock()
    world.now -= SKEW_SECONDS + 1
    assert await world.guess("right") is True


def test_password_matches_its_hash() -> None:
    kept = passwords.hash_password("correct")
    assert passwords.check_password("correct", kept)
    assert not passwords.check_password("wrong", kept)
    assert not passwords.check_password("", passwords.hash_password(""))


def test_too_long_password_is_not_hashed() -> None:
    """Attack: every attempt would hash megabytes."""
    longest = "x" * passwords.MAX_CHARS
    assert passwords.check_password(longest, passwords.hash_password(longest))
    assert not passwords.check_password(longest + "x", passwords.hash_password(longest + "x"))


def test_password_hashes_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison must not use `==`, which stops at the first difference."""
    stored = passwords.hash_password("correct")
    compared: list[int] = []
    compare_digest = hmac.compare_digest

    def counting(first: bytes, second: bytes) -> bool:
        compared.append(len(first))
        return compare_digest(first, second)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    assert passwords.check_password("correct", stored)
    assert not passwords.check_password("wrong", stored)
    assert compared == [32, 32]
