"""Deletion, recovery and purge of vaults and their secrets, and the scheduled work of the vaults."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from podpass.crypto.secret import Secret
from podpass.directory.model import ResourceGroup
from podpass.lab.services.vault import maintenance
from podpass.lab.services.vault.keys import rotation, rotation_policy
from podpass.lab.services.vault.model import (
    KEYS,
    ObjectAttributes,
    ObjectState,
    Vault,
    backup_owner,
    vault_key,
)

DAY = 86400
SUBSCRIPTION = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
V = "?api-version=7.4"
GREETING = f"/secrets/greeting{V}"
Purged = Callable[[], Awaitable[int]]
NOTHING = ObjectAttributes(given=frozenset())


async def put(world: Any, token: str) -> int:
    status, _, _ = await world.send("PUT", GREETING, token=token, body={"value": "hello"})
    return int(status)


@pytest.fixture
def purged(world: Any, caplog: pytest.LogCaptureFixture) -> Purged:
    """Return a function that runs the due work, and returns the number of purged secrets."""
    caplog.set_level(logging.INFO, "podpass")

    async def run() -> int:
        caplog.clear()
        await world.maintenance.catch_up()
        lines = [each for each in caplog.records if each.message == "secrets_purged"]
        return sum(each.__dict__["secrets"] for each in lines)

    return run


async def test_deleted_vault_is_not_found_and_recovered_vault_has_its_secrets(
    world: Any, token: str, purged: Purged
) -> None:
    await put(world, token)
    await world.vaults.delete("demo-vault")
    status, body, headers = await world.send("GET", GREETING, token=token)
    assert (status, body["error"]["code"]) == (404, "VaultNotFound")
    assert "WWW-Authenticate" not in headers
    assert await purged() == 0
    group = ResourceGroup(subscription_id=SUBSCRIPTION, name="rg", location="eastus")
    await world.directory.groups.put(group)
    await world.vaults.recover("demo-vault")
    # Role assignments of a deleted vault are deleted permanently.
    assert (await world.send("GET", GREETING, token=token))[0] == 403
    await world.grant(world.identities["officer"], "Key Vault Secrets Officer")
    assert (await world.send("GET", GREETING, token=token))[1]["value"] == "hello"


async def test_new_vault_has_no_secrets_of_purged_vault_with_same_name(
    world: Any, token: str, purged: Purged
) -> None:
    """This also applies before the purge job runs, because the new vault has another ID."""
    await put(world, token)
    await world.vaults.delete("demo-vault")
    await world.vaults.purge("demo-vault")
    await world.vault("demo-vault")
    await world.grant(world.identities["officer"], "Key Vault Secrets Officer")
    for path in (GREETING, f"/deletedsecrets/greeting{V}"):
        assert (await world.send("GET", path, token=token))[0] == 404
    assert (await world.send("GET", f"/secrets{V}", token=token))[1]["value"] == []
    assert await put(world, token) == 200
    assert await purged() == 1
    assert (await world.send("GET", GREETING, token=token))[0] == 200


async def test_expired_vault_is_purged_with_its_secrets(
    world: Any, token: str, purged: Purged
) -> None:
    await world.vault("demo-vault", retention_days=7)
    await put(world, token)
    await world.vaults.delete("demo-vault")
    world.clock.now += 7 * DAY - 1
    assert await purged() == 0
    world.clock.now += 1
    assert await purged() == 1
    assert await world.store.vaults() == frozenset()
    # Nothing is left for a purge of the directory.
    assert await world.vaults.purge_expired() == []
    assert await world.vaults.deleted() == []


async def test_expired_deleted_secrets_of_all_vaults_are_purged(
    world: Any, token: str, purged: Purged
) -> None:
    await put(world, token)
    await world.send("DELETE", GREETING, token=token)
    world.clock.now += 90 * DAY
    assert await purged() == 1
    assert await purged() == 0


async def test_vault_created_during_purge_keeps_its_secrets(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_uids, store = world.vaults.uids, world.store

    async def create_vault() -> frozenset[str]:
        found: frozenset[str] = await read_uids()
        made = await world.vault("late-vault")
        await store.set(vault_key(made), "a", Secret("x"), NOTHING, 1.0)
        return found

    monkeypatch.setattr(world.vaults, "uids", create_vault)
    await world.maintenance.catch_up()
    made = await world.vaults.get("late-vault")
    assert await store.get(vault_key(made), "a") is not None


async def wait_until_empty(world: Any) -> None:
    async with asyncio.timeout(30):
        while await world.store.vaults():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_work_is_done_at_start_and_at_interval_until_the_end(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "podpass")
    await world.store.set("an-orphan", "a", Secret("x"), NOTHING, 1.0)
    async with world.maintenance.running(interval_seconds=0.01):
        await wait_until_empty(world)
        await world.store.set("another", "a", Secret("x"), NOTHING, 1.0)
        await wait_until_empty(world)
    await world.store.set("a-third", "a", Secret("x"), NOTHING, 1.0)
    await asyncio.sleep(0.03)
    assert await world.store.vaults() == {"a-third"}
    assert any(record.message == "secrets_purged" for record in caplog.records)


async def test_work_continues_after_a_failure(
    world: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_uids = world.vaults.uids

    async def fail_once() -> frozenset[str]:
        monkeypatch.setattr(world.vaults, "uids", read_uids)
        raise RuntimeError("disk error")

    monkeypatch.setattr(world.vaults, "uids", fail_once)
    await world.store.set("an-orphan", "a", Secret("x"), NOTHING, 1.0)
    async with world.maintenance.running(interval_seconds=0.01):
        await wait_until_empty(world)
    assert any(record.message == "vault_maintenance_failed" for record in caplog.records)


ROTATE = {"trigger": {"timeAfterCreate": "P20D"}, "action": {"type": "Rotate"}}


async def put_due_key(
    world: Any, name: str, settings: Any = None, *, vault_name: str = "demo-vault"
) -> None:
    """Write a key whose rotation is due."""
    await world.vault(vault_name)
    vault = f"{vault_key(await world.vaults.get(vault_name))}{KEYS.suffix}"
    key = ec.generate_private_key(ec.SECP256R1())
    made = rotation.new_key_version(vault, name, key, ("sign",), NOTHING, 1.0)
    parsed = rotation_policy.parse({"lifetimeActions": [ROTATE]})
    policy = rotation_policy.to_json(replace(parsed, created=1, updated=1))
    state = ObjectState(
        collection=vault, name=name, settings=settings or {"rotation": policy}, next_action=1
    )
    await world.store.put([made], states=[state])


async def count_versions(world: Any, name: str, *, vault_name: str = "demo-vault") -> int:
    vault = f"{vault_key(await world.vaults.get(vault_name))}{KEYS.suffix}"
    return len(await world.store.page_versions(vault, name, after=0, limit=9))


async def test_failed_action_is_removed_and_does_not_stop_other_actions(
    world: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attack: a key that cannot be rotated stops the rotation, and the requests, of all vaults."""
    monkeypatch.setattr(maintenance, "_BATCH", 2)
    for name in ("a", "c", "d", "e"):
        await put_due_key(world, name)
    # The policy cannot be parsed. The error is a KeyError, not an error of podpass.
    await put_due_key(world, "b", {"rotation": {"lifetimeActions": []}})
    for _ in range(3):
        await world.set_time(world.clock.now + DAY)
    failures = [each for each in caplog.records if each.msg == "vault_action_failed"]
    assert [each.__dict__["key"] for each in failures] == ["b"]
    counts = {name: await count_versions(world, name) for name in "abcde"}
    assert counts == {"a": 2, "b": 1, "c": 2, "d": 2, "e": 2}


async def test_objects_of_a_deleted_vault_stay_as_they_are_and_do_not_stop_others(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its objects stay due, so they fill each batch of a job that does not continue after the last one."""
    monkeypatch.setattr(maintenance, "_BATCH", 2)
    old = {"world": world, "vault_name": "aaa-old-vault"}
    for name in ("a", "b", "c"):
        await put_due_key(name=name, **old)
    await put_due_key(world, "z")
    counted = [await count_versions(name=name, **old) for name in "abc"]
    await world.vaults.delete("aaa-old-vault")
    async with asyncio.timeout(30):
        await world.maintenance.catch_up()
    assert await count_versions(world, "z") == 2
    group = ResourceGroup(subscription_id=SUBSCRIPTION, name="rg", location="eastus")
    await world.directory.groups.put(group)
    await world.vaults.recover("aaa-old-vault")
    assert [await count_versions(name=name, **old) for name in "abc"] == counted == [1, 1, 1]
    await world.maintenance.catch_up()
    assert [await count_versions(name=name, **old) for name in "abc"] == [2, 2, 2]


async def test_action_that_is_due_again_at_once_is_put_off_for_a_day(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a renewal by a CA that expires soon would repeat at every run."""
    runs: list[str] = []

    async def rotate(_store: object, found: ObjectState, _audit: object) -> None:
        runs.append(found.name)

    monkeypatch.setattr(maintenance, "_ACTIONS", {KEYS.suffix: rotate})
    await put_due_key(world, "a")
    for _ in range(3):
        await world.maintenance.catch_up()
    assert runs == ["a"]
    await world.set_time(world.clock.now + DAY)
    assert runs == ["a", "a"]


def test_vault_without_id_stores_secrets_under_its_name() -> None:
    old = Vault(name="old-vault", tenant_id="t", location="", resource_id="/subscriptions/S/x")
    assert vault_key(old) == "old-vault"
    assert backup_owner(old) == "t\ns"
