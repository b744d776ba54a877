"""Corrupt rows of pending codes: the error has the key of the row, and no sign-in succeeds."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from podpass.database import CorruptRowError, Database
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.schema import CHAIN, metadata
from podpass.exchange.sign_in import passwords
from podpass.exchange.sign_in.authorization_codes import AuthorizationCodes
from podpass.exchange.sign_in.clients import Platform
from podpass.exchange.sign_in.codes import Approval, AuthorizationCode
from podpass.exchange.sign_in.device_codes import DeviceCodes
from podpass.exchange.sign_in.users import MAX_ATTEMPTS, PasswordLockout
from podpass.exchange.signing.token_sealer import TokenSealer

NOW = 1_750_000_000.0
APPROVAL = Approval(tenant_id="t", user_id="ada", password="print", authenticated=7)
CODE = AuthorizationCode(
    approval=APPROVAL,
    client_id="client",
    redirect="https://app.test/back",
    platform=Platform.SPA,
    scope="openid",
    challenge="c",
    nonce="n",
    issued=NOW,
)


class World:
    """A database, and the stores of pending codes in it."""

    def __init__(self, database: Database, path: Path) -> None:
        self._path = path
        seal = TokenSealer(bytes(range(32)))
        self.codes = AuthorizationCodes(database, seal, lambda: NOW)
        self.devices = DeviceCodes(database, seal, lambda: NOW)
        self.guesses = PasswordLockout(database, lambda: NOW)

    def execute(self, statement: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(self._path)) as database, database:
            database.text_factory = bytes
            return database.execute(statement, values).fetchall()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with Database(f"sqlite:///{tmp_path}/authority.db") as database:
        await database.prepare(metadata, CHAIN)
        yield World(database, tmp_path / "authority.db")


@pytest.mark.parametrize("change", ["sealed = x'ff'"])
async def test_corrupt_code_row_is_reported_by_digest_and_not_redeemed(
    world: World, change: str
) -> None:
    text = await world.codes.issue(CODE)
    [(digest, *kept)] = world.execute("SELECT digest, used, sealed FROM authority_codes")
    world.execute(f"UPDATE authority_codes SET {change}")
    with pytest.raises(CorruptRowError) as caught:
        await world.codes.redeem(text)
    assert f"x'{digest.hex()}' in table authority_codes cannot be read" in caught.value.message
    assert text not in f"{caught.value.message}{caught.value.facts}"
    world.execute("UPDATE authority_codes SET used = ?, sealed = ?", *kept)
    assert await world.codes.redeem(text) == CODE
    with pytest.raises(AadstsError) as refused:
        await world.codes.redeem(text)
    assert refused.value.entry.number == 54005


@pytest.mark.parametrize("change", ["sealed = x'ff'"])
async def test_corrupt_device_row_is_reported_by_digest_and_unchanged(
    world: World, change: str
) -> None:
    text, device = await world.devices.create(client_id="client", segment="common", scope="openid")
    every = "SELECT digest, user_code, polled, sealed FROM authority_devices"
    world.execute(f"UPDATE authority_devices SET {change}")
    [before] = world.execute(every)
    for asked in (
        world.devices.poll(text, "client"),
        world.devices.find(device.user_code),
        world.devices.complete(device.user_code, APPROVAL),
    ):
        with pytest.raises(CorruptRowError) as caught:
            await asked
        said = f"{caught.value.message}{caught.value.facts}"
        assert f"x'{before[0].hex()}' in table authority_devices cannot be read" in said
        assert text not in said
        assert device.user_code not in said
    assert world.execute(every) == [before]


@pytest.mark.parametrize("change", ["since = 9e999", "since = -9e999"])
async def test_corrupt_lockout_row_allows_no_attempt(world: World, change: str) -> None:
    """Attack: a corrupt count must not be reset to zero."""
    kept = passwords.hash_password("right")
    for _ in range(MAX_ATTEMPTS):
        assert not await world.guesses.check("ada", "wrong", kept)
    world.execute(f"UPDATE authority_lockouts SET {change}")
    before = world.execute("SELECT * FROM authority_lockouts")
    for password in ("wrong", "right"):
        with pytest.raises(CorruptRowError, match="ada in table authority_lockouts cannot be read"):
            await world.guesses.check("ada", password, kept)
    assert world.execute("SELECT * FROM authority_lockouts") == before
    assert await world.guesses.check("bob", "right", kept)
