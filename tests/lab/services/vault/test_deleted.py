"""Deleted secrets, backups and the recovery settings of a vault, over TLS."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from podpass.crypto import jose
from podpass.directory.model import Tenant

DAY = 86400
V = "?api-version=7.4"
OTHER_ID = "99999999-0000-4000-8000-000000000000"
GREETING = f"/secrets/greeting{V}"
GONE = f"/deletedsecrets/greeting{V}"


async def put(world: Any, token: str, name: str = "greeting", value: str = "hello") -> Any:
    status, body, _ = await world.send(
        "PUT", f"/secrets/{name}{V}", token=token, body={"value": value}
    )
    assert status == 200, body
    return body


@pytest.mark.parametrize(
    ("settings", "level", "days"),
    [
        ({}, "Recoverable+Purgeable", 90),
        ({"purge_protection": True}, "Recoverable", 90),
        ({"retention_days": 7}, "CustomizedRecoverable+Purgeable", 7),
        ({"retention_days": 30, "purge_protection": True}, "CustomizedRecoverable", 30),
    ],
)
async def test_recovery_level_follows_vault_settings(
    world: Any, token: str, settings: dict[str, Any], level: str, days: int
) -> None:
    await world.vault("demo-vault", **settings)
    made = await put(world, token)
    assert made["attributes"]["recoveryLevel"] == level
    assert made["attributes"]["recoverableDays"] == days
    _, gone, _ = await world.send("DELETE", GREETING, token=token)
    assert gone["scheduledPurgeDate"] == gone["deletedDate"] + days * DAY
    assert gone["deletedDate"] == int(world.clock.now)
    assert gone["recoveryId"] == "https://demo-vault.vault.azure.net/deletedsecrets/greeting"
    assert "value" not in gone
    _, listed, _ = await world.send("GET", f"/deletedsecrets{V}", token=token)
    assert listed["value"][0]["attributes"]["recoveryLevel"] == level


async def test_deleted_secrets_are_listed_in_pages_without_values(world: Any, token: str) -> None:
    for name in ("a", "b", "c", "d", "kept"):
        await put(world, token, name)
        if name != "kept":
            await world.send("DELETE", f"/secrets/{name}{V}", token=token)
    seen, path = [], f"/deletedsecrets{V}&maxresults=2"
    while path:
        status, body, _ = await world.send("GET", path, token=token)
        assert status == 200
        assert all("value" not in item for item in body["value"])
        seen.append([item["recoveryId"].rpartition("/")[2] for item in body["value"]])
        following = body["nextLink"]
        path = following and following.removeprefix("https://demo-vault.vault.azure.net")
    assert seen == [["a", "b"], ["c", "d"]]
    _, live, _ = await world.send("GET", f"/secrets{V}", token=token)
    assert [item["id"].rpartition("/")[2] for item in live["value"]] == ["kept"]


async def test_deleted_secret_is_not_found_on_other_paths(world: Any, token: str) -> None:
    made = await put(world, token)
    await world.send("DELETE", GREETING, token=token)
    version = made["id"].rpartition("/")[2]
    for method, path in (
        ("GET", GREETING),
        ("GET", f"/secrets/greeting/{version}{V}"),
        ("PATCH", GREETING),
        ("DELETE", GREETING),
        ("POST", f"/secrets/greeting/backup{V}"),
    ):
        body: Any = {} if method == "PATCH" else None
        status, answer, _ = await world.send(method, path, token=token, body=body)
        assert (status, answer["error"]["code"]) == (404, "SecretNotFound"), path
    status, answer, _ = await world.send("GET", f"/secrets/greeting/versions{V}", token=token)
    assert (status, answer["value"]) == (200, [])


async def test_name_of_deleted_secret_is_refused_with_code_of_azure(world: Any, token: str) -> None:
    await put(world, token)
    await world.send("DELETE", GREETING, token=token)
    status, body, _ = await world.send("PUT", GREETING, token=token, body={"value": "x"})
    assert (status, body["error"]["code"]) == (409, "Conflict")
    assert body["error"]["innererror"] == {"code": "ObjectIsDeletedButRecoverable"}


async def test_purge_protection_refuses_purge_until_retention_ends(world: Any, token: str) -> None:
    await world.vault("demo-vault", purge_protection=True, retention_days=7)
    await put(world, token)
    await world.send("DELETE", GREETING, token=token)
    status, body, _ = await world.send("DELETE", GONE, token=token)
    assert (status, body["error"]["code"]) == (403, "Forbidden")
    assert "innererror" not in body["error"]
    assert "purge protection" in body["error"]["message"]
    assert (await world.send("GET", GONE, token=token))[0] == 200
    await world.set_time(world.clock.now + 7 * DAY)
    fresh = world.authority.mint(world.identities["officer"])
    assert (await world.send("GET", GONE, token=fresh))[0] == 404
    await put(world, fresh)


async def test_deleted_secret_is_recoverable_until_last_second(world: Any, token: str) -> None:
    await world.vault("demo-vault", retention_days=7)
    await put(world, token)
    _, gone, _ = await world.send("DELETE", GREETING, token=token)
    for late, status in ((-1, 200), (0, 404)):
        await world.set_time(float(gone["scheduledPurgeDate"] + late))
        fresh = world.authority.mint(world.identities["officer"])
        answer = await world.send("POST", f"/deletedsecrets/greeting/recover{V}", token=fresh)
        assert answer[0] == status
        if status == 200:
            # The next deletion starts a new retention time, so the test recovers the secret now.
            await world.send("DELETE", GREETING, token=fresh)
            gone["scheduledPurgeDate"] += 7 * DAY - 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", GREETING, 200),
        ("POST", f"/secrets/restore{V}", 200),
        ("GET", f"/deletedsecrets{V}", 200),
        ("GET", GONE, 404),
        ("DELETE", GONE, 404),
        ("POST", f"/deletedsecrets/greeting/recover{V}", 404),
    ],
)
async def test_first_request_after_retention_finds_no_secret(
    world: Any, token: str, method: str, path: str, status: int
) -> None:
    await world.vault("demo-vault", purge_protection=True)
    await put(world, token)
    _, blob, _ = await world.send("POST", f"/secrets/greeting/backup{V}", token=token)
    _, gone, _ = await world.send("DELETE", GREETING, token=token)
    await world.set_time(float(gone["scheduledPurgeDate"]))
    fresh = world.authority.mint(world.identities["officer"])
    got, body, _ = await world.send(method, path, token=fresh, body=blob)
    assert got == status
    if path.startswith("/deletedsecrets?"):
        assert body["value"] == []


async def test_backup_is_restored_into_another_vault_of_the_subscription(world: Any) -> None:
    await world.vault("demo-vault2")
    both = await world.identity("both", "Key Vault Secrets Officer")
    await world.grant(both, "Key Vault Secrets Officer", "demo-vault2")
    token = world.authority.mint(both)
    await put(world, token, value="first")
    await put(world, token, value="second")
    status, blob, _ = await world.send("POST", f"/secrets/greeting/backup{V}", token=token)
    assert status == 200
    assert "=" not in blob["value"]
    far = {"host": "demo-vault2.vault.azure.net", "token": token}
    restored = await world.send("POST", f"/secrets/restore{V}", body=blob, **far)
    assert restored[0] == 200
    assert restored[1]["id"].startswith("https://demo-vault2.vault.azure.net/secrets/greeting/")
    assert "value" not in restored[1]
    _, versions, _ = await world.send("GET", f"/secrets/greeting/versions{V}", **far)
    assert len(versions["value"]) == 2
    assert (await world.send("GET", GREETING, **far))[1]["value"] == "second"
    # A second restore fails, because the name exists now.
    status, body, _ = await world.send("POST", f"/secrets/restore{V}", body=blob, **far)
    assert (status, body["error"]["code"]) == (409, "Conflict")
    await world.send("DELETE", GREETING, **far)
    status, body, _ = await world.send("POST", f"/secrets/restore{V}", body=blob, **far)
    assert body["error"]["innererror"] == {"code": "ObjectIsDeletedButRecoverable"}


@pytest.mark.parametrize(
    "how",
    [
        {"tenant_id": OTHER_ID},
        {
            "resource_id": f"/subscriptions/{OTHER_ID}/resourceGroups/rg/providers/Microsoft.KeyVault"
            "/vaults/far-vault"
        },
    ],
    ids=["tenant", "subscription"],
)
async def test_backup_is_refused_in_other_tenant_or_subscription(
    world: Any, token: str, how: dict[str, str]
) -> None:
    """Attack: restore a backup into a vault of the attacker."""
    await world.directory.create_tenant(Tenant(id=OTHER_ID))
    far = await world.vault("far-vault", **how)
    officer = world.identities["officer"]
    await world.grant(officer, "Key Vault Secrets Officer", "far-vault")
    await put(world, token)
    _, blob, _ = await world.send("POST", f"/secrets/greeting/backup{V}", token=token)
    issuer = f"https://sts.windows.net/{far.tenant_id}/"
    there = world.authority.mint(officer, iss=issuer, tid=far.tenant_id)
    status, body, _ = await world.send(
        "POST", f"/secrets/restore{V}", token=there, body=blob, host="far-vault.vault.azure.net"
    )
    assert (status, body["error"]["code"]) == (400, "BadParameter")


@pytest.mark.parametrize(
    "value",
    [None, 7, "", "!!", "AAAA", "AA==", ["x"], "é", jose.b64encode(b"\0" * 200)],
)
async def test_invalid_backup_is_refused(world: Any, token: str, value: Any) -> None:
    status, body, _ = await world.send(
        "POST", f"/secrets/restore{V}", token=token, body={"value": value}
    )
    assert (status, body["error"]["code"]) == (400, "BadParameter")
    assert (await world.send("GET", f"/secrets{V}", token=token))[1]["value"] == []


async def test_backup_with_base64_padding_is_accepted(world: Any, token: str) -> None:
    await put(world, token, value="12")
    _, blob, _ = await world.send("POST", f"/secrets/greeting/backup{V}", token=token)
    await world.send("DELETE", GREETING, token=token)
    assert (await world.send("DELETE", GONE, token=token))[0] == 204
    padded = blob["value"] + "=" * (-len(blob["value"]) % 4)
    answer = await world.send("POST", f"/secrets/restore{V}", token=token, body={"value": padded})
    assert answer[0] == 200


async def test_secret_with_name_restore_is_accepted(world: Any, token: str) -> None:
    await put(world, token, "restore")
    status, body, _ = await world.send("GET", f"/secrets/restore{V}", token=token)
    assert (status, body["value"]) == (200, "hello")


async def test_patch_changes_only_given_attributes(world: Any, token: str) -> None:
    whole: Any = {
        "value": "v",
        "contentType": "text/plain",
        "tags": {"a": "b", "c": "d"},
        "attributes": {"enabled": True, "nbf": 5, "exp": 9},
    }
    await world.send("PUT", GREETING, token=token, body=whole)
    await world.set_time(world.clock.now + 10)
    change: Any
    for change in (
        {},
        {"attributes": None, "tags": None, "contentType": None},
        {"attributes": {"exp": None, "nbf": None, "enabled": None}},
    ):
        status, body, _ = await world.send("PATCH", GREETING, token=token, body=change)
        assert (status, body["contentType"], body["tags"]) == (200, "text/plain", whole["tags"])
        assert {n: body["attributes"][n] for n in ("enabled", "nbf", "exp")} == whole["attributes"]
        assert "value" not in body
    # Tags are replaced completely; a value never changes, a new version is written.
    change = {"tags": {"e": "f"}, "value": "other", "attributes": {"exp": 99}}
    _, body, _ = await world.send("PATCH", GREETING, token=token, body=change)
    assert (body["tags"], body["attributes"]["exp"]) == ({"e": "f"}, 99)
    assert body["attributes"]["nbf"] == 5
    assert body["attributes"]["updated"] == body["attributes"]["created"] + 10
    _, read, _ = await world.send("GET", GREETING, token=token)
    assert read["value"] == "v"


async def test_value_is_readable_before_nbf_and_after_exp(world: Any, token: str) -> None:
    """As in Azure, according to users: `exp` and `nbf` are only information, and `enabled` is enforced."""
    now = int(world.clock.now)
    for attributes in ({"exp": now - 1}, {"nbf": now + 99}):
        body = {"value": "v", "attributes": attributes}
        await world.send("PUT", GREETING, token=token, body=body)
        assert (await world.send("GET", GREETING, token=token))[0] == 200


async def test_only_disabled_version_is_refused(world: Any, token: str) -> None:
    old = await put(world, token, value="old")
    version = old["id"].rpartition("/")[2]
    await put(world, token, value="new")
    off = {"attributes": {"enabled": False}}
    await world.send("PATCH", f"/secrets/greeting/{version}{V}", token=token, body=off)
    closed = await world.send("GET", f"/secrets/greeting/{version}{V}", token=token)
    assert (closed[0], closed[1]["error"]["innererror"]["code"]) == (403, "SecretDisabled")
    assert (await world.send("GET", GREETING, token=token))[1]["value"] == "new"


async def test_backup_of_many_large_values_is_within_the_request_limit(
    world: Any, token: str
) -> None:
    for number in range(12):
        await put(world, token, value=chr(97 + number) * 25 * 1024)
    _, blob, _ = await world.send("POST", f"/secrets/greeting/backup{V}", token=token)
    assert len(blob["value"]) > 300_000
    await world.send("DELETE", GREETING, token=token)
    await world.send("DELETE", GONE, token=token)
    assert (await world.send("POST", f"/secrets/restore{V}", token=token, body=blob))[0] == 200
    assert (await world.send("GET", GREETING, token=token))[1]["value"] == "l" * 25 * 1024


async def test_one_of_many_concurrent_requests_succeeds(world: Any, token: str) -> None:
    """Attack group 31: soft-delete and purge races."""
    await put(world, token)
    _, blob, _ = await world.send("POST", f"/secrets/greeting/backup{V}", token=token)

    async def send_concurrently(method: str, path: str, body: Any = None) -> Counter[int]:
        calls = [world.send(method, path, token=token, body=body) for _ in range(8)]
        return Counter([status for status, _, _ in await asyncio.gather(*calls)])

    recover, restore = f"/deletedsecrets/greeting/recover{V}", f"/secrets/restore{V}"
    assert await send_concurrently("DELETE", GREETING) == {200: 1, 404: 7}
    assert await send_concurrently("POST", recover) == {200: 1, 404: 7}
    assert await send_concurrently("DELETE", GREETING) == {200: 1, 404: 7}
    assert await send_concurrently("POST", restore, blob) == {409: 8}
    assert await send_concurrently("DELETE", GONE) == {204: 1, 404: 7}
    assert await send_concurrently("POST", restore, blob) == {200: 1, 409: 7}
    _, versions, _ = await world.send("GET", f"/secrets/greeting/versions{V}", token=token)
    assert len(versions["value"]) == 1
