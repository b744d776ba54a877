"""Rows of sign-ins that hold what podpass never wrote are told by their place; nothing comes of them."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from podpass.database import Database, RowDamaged
from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.schema import CHAIN, metadata
from podpass.exchange.sign_in import passwords
from podpass.exchange.sign_in.authorization_codes import Codes
from podpass.exchange.sign_in.clients import Platform
from podpass.exchange.sign_in.codes import Approval, Code
from podpass.exchange.sign_in.device_codes import Devices
from podpass.exchange.sign_in.lockout import MAX_GUESSES, Guesses
from podpass.exchange.signing.token_sealer import Seal

NOW = 1_750_000_000.0
NOT_UTF8 = "CAST(x'ff' AS TEXT)"
APPROVAL = Approval(tenant_id="t", user_id="ada", password="print", authenticated=7)
CODE = Code(
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
    """A database of the service, and who keeps sign-ins in it."""

    def __init__(self, database: Database, path: Path) -> None:
        self._path = path
        seal = Seal(bytes(range(32)))
        self.codes = Codes(database, seal, lambda: NOW)
        self.devices = Devices(database, seal, lambda: NOW)
        self.guesses = Guesses(database, lambda: NOW)

    def execute(self, statement: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(self._path)) as database, database:
            database.text_factory = bytes
            return database.execute(statement, values).fetchall()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with Database(f"sqlite:///{tmp_path}/authority.db") as database:
        await database.prepare(metadata, CHAIN)
        yield World(database, tmp_path / "authority.db")


@pytest.mark.parametrize(
    "change",
    [f"sealed = {NOT_UTF8}", "sealed = 'zz'", "sealed = x'ff'", f"used = {NOT_UTF8}", "used = 'x'"],
)
async def test_a_damaged_code_is_told_by_its_digest_and_not_spent(
    world: World, change: str
) -> None:
    text = await world.codes.issue(CODE)
    [(digest, *kept)] = world.execute("SELECT digest, used, sealed FROM authority_codes")
    world.execute(f"UPDATE authority_codes SET {change}")
    with pytest.raises(RowDamaged) as caught:
        await world.codes.redeem(text)
    assert f"x'{digest.hex()}' in table authority_codes cannot be read" in caught.value.message
    assert text not in f"{caught.value.message}{caught.value.facts}"
    world.execute("UPDATE authority_codes SET used = ?, sealed = ?", *kept)
    assert await world.codes.redeem(text) == CODE
    with pytest.raises(Refused) as refused:
        await world.codes.redeem(text)
    assert refused.value.entry.number == 54005


@pytest.mark.parametrize(
    "change",
    [f"sealed = {NOT_UTF8}", "sealed = 'zz'", "sealed = x'ff'", f"polled = {NOT_UTF8}"],
)
async def test_a_damaged_device_is_told_by_its_digest_and_stays_as_it_is(
    world: World, change: str
) -> None:
    text, device = await world.devices.begin(client_id="client", segment="common", scope="openid")
    every = "SELECT digest, user_code, polled, sealed FROM authority_devices"
    world.execute(f"UPDATE authority_devices SET {change}")
    [before] = world.execute(every)
    for asked in (
        world.devices.poll(text, "client"),
        world.devices.find(device.user_code),
        world.devices.settle(device.user_code, APPROVAL),
    ):
        with pytest.raises(RowDamaged) as caught:
            await asked
        said = f"{caught.value.message}{caught.value.facts}"
        assert f"x'{before[0].hex()}' in table authority_devices cannot be read" in said
        assert text not in said
        assert device.user_code not in said
    assert world.execute(every) == [before]


@pytest.mark.parametrize("value", ["'zz'", NOT_UTF8])
async def test_a_device_of_a_damaged_digest_is_approved_by_nobody(world: World, value: str) -> None:
    _, device = await world.devices.begin(client_id="client", segment="common", scope="openid")
    world.execute(f"UPDATE authority_devices SET digest = {value}")
    with pytest.raises(RowDamaged, match="in table authority_devices cannot be read"):
        await world.devices.settle(device.user_code, APPROVAL)


@pytest.mark.parametrize(
    "change", [f"wrong = {NOT_UTF8}", "wrong = 'x'", f"since = {NOT_UTF8}", "since = 9e999"]
)
async def test_damaged_guesses_let_nobody_guess_on(world: World, change: str) -> None:
    """Attack: a count that cannot be read must not begin anew."""
    kept = passwords.hash_password("right")
    for _ in range(MAX_GUESSES):
        assert not await world.guesses.check("ada", "wrong", kept)
    world.execute(f"UPDATE authority_guesses SET {change}")
    before = world.execute("SELECT * FROM authority_guesses")
    for password in ("wrong", "right"):
        with pytest.raises(RowDamaged, match="ada in table authority_guesses cannot be read"):
            await world.guesses.check("ada", password, kept)
    assert world.execute("SELECT * FROM authority_guesses") == before
    assert await world.guesses.check("bob", "right", kept)
