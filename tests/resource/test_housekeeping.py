"""A vault's life and its secrets': what is deleted is unknown, what is purged is gone, nothing else is."""

import asyncio
import logging
from typing import Any

import pytest

from podpass.crypto.secret import Secret
from podpass.directory.model import ResourceGroup, Vault
from podpass.resource.model import Wanted, owner_of, shelf_of
from podpass.resource.purge_job import Housekeeping, sweep

DAY = 86400
SUBSCRIPTION = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
V = "?api-version=7.4"
GREETING = f"/secrets/greeting{V}"
NOTHING = Wanted(given=frozenset())


async def put(world: Any, token: str) -> int:
    status, _, _ = await world.ask("PUT", GREETING, token=token, body={"value": "hello"})
    return int(status)


async def swept(world: Any) -> int:
    return await sweep(world.directory, world.store, world.clock)


async def test_a_deleted_vault_is_unknown_and_a_recovered_one_has_its_secrets(
    world: Any, token: str
) -> None:
    await put(world, token)
    await world.directory.vaults.delete("demo-vault")
    status, body, headers = await world.ask("GET", GREETING, token=token)
    assert (status, body["error"]["code"]) == (404, "VaultNotFound")
    assert "WWW-Authenticate" not in headers
    assert await swept(world) == 0
    group = ResourceGroup(subscription_id=SUBSCRIPTION, name="rg", location="eastus")
    await world.directory.groups.put(group)
    await world.directory.vaults.recover("demo-vault")
    # Roles at a deleted vault are gone for good.
    assert (await world.ask("GET", GREETING, token=token))[0] == 403
    await world.grant(world.people["officer"], "Key Vault Secrets Officer")
    assert (await world.ask("GET", GREETING, token=token))[1]["value"] == "hello"


async def test_a_purged_vaults_successor_sees_none_of_its_secrets(world: Any, token: str) -> None:
    """Even before anything is swept: the successor has another id."""
    await put(world, token)
    await world.directory.vaults.delete("demo-vault")
    await world.directory.vaults.purge("demo-vault")
    await world.vault("demo-vault")
    await world.grant(world.people["officer"], "Key Vault Secrets Officer")
    for path in (GREETING, f"/deletedsecrets/greeting{V}"):
        assert (await world.ask("GET", path, token=token))[0] == 404
    assert (await world.ask("GET", f"/secrets{V}", token=token))[1]["value"] == []
    assert await put(world, token) == 200
    assert await swept(world) == 1
    assert (await world.ask("GET", GREETING, token=token))[0] == 200


async def test_a_vault_whose_time_is_over_goes_with_its_secrets(world: Any, token: str) -> None:
    await world.vault("demo-vault", retention_days=7)
    await put(world, token)
    await world.directory.vaults.delete("demo-vault")
    world.clock.now += 7 * DAY - 1
    assert await swept(world) == 0
    world.clock.now += 1
    assert await swept(world) == 1
    assert await world.store.vaults() == frozenset()
    # Nothing is left for another sweep of the directory's own.
    assert await world.directory.vaults.sweep() == []
    assert await world.directory.vaults.deleted() == []


async def test_a_sweep_purges_deleted_secrets_whose_time_is_over_in_every_vault(
    world: Any, token: str
) -> None:
    await put(world, token)
    await world.ask("DELETE", GREETING, token=token)
    world.clock.now += 90 * DAY
    assert await swept(world) == 1
    assert await swept(world) == 0


async def test_a_vault_that_is_made_during_a_sweep_keeps_what_it_gets(world: Any) -> None:
    store, directory = world.store, world.directory

    class Slow:
        """A directory in which a vault appears, with a secret, while its vaults are read."""

        vaults = property(lambda self: self)
        sweep = directory.vaults.sweep

        async def uids(self) -> frozenset[str]:
            found: frozenset[str] = await directory.vaults.uids()
            made = await world.vault("late-vault")
            await store.set(shelf_of(made), "a", Secret("x"), NOTHING, 1.0)
            return found

    directory_of_slow: Any = Slow()
    assert await sweep(directory_of_slow, store, world.clock) == 0
    made = await directory.find_vault("late-vault")
    assert await store.get(shelf_of(made), "a") is not None


async def test_it_sweeps_at_the_start_and_from_time_to_time(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "podpass")
    await world.store.set("an-orphan", "a", Secret("x"), NOTHING, 1.0)
    keeping = Housekeeping(world.directory, world.store, world.clock, every_seconds=0.01)
    async with keeping:
        assert await world.store.vaults() == frozenset()
        await world.store.set("another", "a", Secret("x"), NOTHING, 1.0)
        for _ in range(200):
            await asyncio.sleep(0.01)
            if not await world.store.vaults():
                break
        assert await world.store.vaults() == frozenset()
    await world.store.set("a-third", "a", Secret("x"), NOTHING, 1.0)
    await asyncio.sleep(0.03)
    assert await world.store.vaults() == {"a-third"}
    assert any(record.message == "secrets_swept" for record in caplog.records)


async def test_a_sweep_that_fails_is_not_the_last(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fails = [True]

    class Broken:
        vaults = property(lambda self: self)
        sweep = world.directory.vaults.sweep

        async def uids(self) -> frozenset[str]:
            if fails and await world.store.vaults():
                fails.clear()
                raise RuntimeError("the disk is away")
            found: frozenset[str] = await world.directory.vaults.uids()
            return found

    broken: Any = Broken()
    async with Housekeeping(broken, world.store, world.clock, every_seconds=0.01):
        await world.store.set("an-orphan", "a", Secret("x"), NOTHING, 1.0)
        for _ in range(200):
            await asyncio.sleep(0.01)
            if not await world.store.vaults():
                break
    assert await world.store.vaults() == frozenset()
    assert any(record.message == "sweep_failed" for record in caplog.records)


def test_a_vault_without_an_id_keeps_its_secrets_under_its_name() -> None:
    old = Vault(name="old-vault", tenant_id="t", location="", resource_id="/subscriptions/S/x")
    assert shelf_of(old) == "old-vault"
    assert owner_of(old) == "t\ns"
