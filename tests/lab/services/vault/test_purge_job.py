"""Deletion, recovery and purge of vaults and their secrets, and the purge job."""

import asyncio
import logging
from typing import Any

import pytest

from podpass.crypto.secret import Secret
from podpass.directory.model import ResourceGroup, Vault
from podpass.lab.services.vault.model import SecretAttributes, backup_owner, vault_key
from podpass.lab.services.vault.purge_job import PurgeJob, purge

DAY = 86400
SUBSCRIPTION = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
V = "?api-version=7.4"
GREETING = f"/secrets/greeting{V}"
NOTHING = SecretAttributes(given=frozenset())


async def put(world: Any, token: str) -> int:
    status, _, _ = await world.send("PUT", GREETING, token=token, body={"value": "hello"})
    return int(status)


async def run_purge(world: Any) -> int:
    return await purge(world.directory, world.store, world.clock)


async def test_deleted_vault_is_not_found_and_recovered_vault_has_its_secrets(
    world: Any, token: str
) -> None:
    await put(world, token)
    await world.directory.vaults.delete("demo-vault")
    status, body, headers = await world.send("GET", GREETING, token=token)
    assert (status, body["error"]["code"]) == (404, "VaultNotFound")
    assert "WWW-Authenticate" not in headers
    assert await run_purge(world) == 0
    group = ResourceGroup(subscription_id=SUBSCRIPTION, name="rg", location="eastus")
    await world.directory.groups.put(group)
    await world.directory.vaults.recover("demo-vault")
    # Role assignments of a deleted vault are deleted permanently.
    assert (await world.send("GET", GREETING, token=token))[0] == 403
    await world.grant(world.identities["officer"], "Key Vault Secrets Officer")
    assert (await world.send("GET", GREETING, token=token))[1]["value"] == "hello"


async def test_new_vault_has_no_secrets_of_purged_vault_with_same_name(
    world: Any, token: str
) -> None:
    """This also applies before the purge job runs, because the new vault has another ID."""
    await put(world, token)
    await world.directory.vaults.delete("demo-vault")
    await world.directory.vaults.purge("demo-vault")
    await world.vault("demo-vault")
    await world.grant(world.identities["officer"], "Key Vault Secrets Officer")
    for path in (GREETING, f"/deletedsecrets/greeting{V}"):
        assert (await world.send("GET", path, token=token))[0] == 404
    assert (await world.send("GET", f"/secrets{V}", token=token))[1]["value"] == []
    assert await put(world, token) == 200
    assert await run_purge(world) == 1
    assert (await world.send("GET", GREETING, token=token))[0] == 200


async def test_expired_vault_is_purged_with_its_secrets(world: Any, token: str) -> None:
    await world.vault("demo-vault", retention_days=7)
    await put(world, token)
    await world.directory.vaults.delete("demo-vault")
    world.clock.now += 7 * DAY - 1
    assert await run_purge(world) == 0
    world.clock.now += 1
    assert await run_purge(world) == 1
    assert await world.store.vaults() == frozenset()
    # Nothing is left for a purge of the directory.
    assert await world.directory.vaults.purge_expired() == []
    assert await world.directory.vaults.deleted() == []


async def test_expired_deleted_secrets_of_all_vaults_are_purged(world: Any, token: str) -> None:
    await put(world, token)
    await world.send("DELETE", GREETING, token=token)
    world.clock.now += 90 * DAY
    assert await run_purge(world) == 1
    assert await run_purge(world) == 0


async def test_vault_created_during_purge_keeps_its_secrets(world: Any) -> None:
    store, directory = world.store, world.directory

    class Slow:
        """A directory in which a vault with a secret is created while the vaults are read."""

        vaults = property(lambda self: self)
        purge_expired = directory.vaults.purge_expired

        async def uids(self) -> frozenset[str]:
            found: frozenset[str] = await directory.vaults.uids()
            made = await world.vault("late-vault")
            await store.set(vault_key(made), "a", Secret("x"), NOTHING, 1.0)
            return found

    slow_directory: Any = Slow()
    assert await purge(slow_directory, store, world.clock) == 0
    made = await directory.find_vault("late-vault")
    assert await store.get(vault_key(made), "a") is not None


async def test_job_purges_at_start_and_at_interval(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "podpass")
    await world.store.set("an-orphan", "a", Secret("x"), NOTHING, 1.0)
    job = PurgeJob(world.directory, world.store, world.clock, interval_seconds=0.01)
    async with job:
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
    assert any(record.message == "secrets_purged" for record in caplog.records)


async def test_job_continues_after_failed_purge(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fails = [True]

    class Broken:
        vaults = property(lambda self: self)
        purge_expired = world.directory.vaults.purge_expired

        async def uids(self) -> frozenset[str]:
            if fails and await world.store.vaults():
                fails.clear()
                raise RuntimeError("disk error")
            found: frozenset[str] = await world.directory.vaults.uids()
            return found

    broken: Any = Broken()
    async with PurgeJob(broken, world.store, world.clock, interval_seconds=0.01):
        await world.store.set("an-orphan", "a", Secret("x"), NOTHING, 1.0)
        for _ in range(200):
            await asyncio.sleep(0.01)
            if not await world.store.vaults():
                break
    assert await world.store.vaults() == frozenset()
    assert any(record.message == "purge_failed" for record in caplog.records)


def test_vault_without_id_stores_secrets_under_its_name() -> None:
    old = Vault(name="old-vault", tenant_id="t", location="", resource_id="/subscriptions/S/x")
    assert vault_key(old) == "old-vault"
    assert backup_owner(old) == "t\ns"
