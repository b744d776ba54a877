"""Responses of the vault when the database fails or a row is corrupt; other rows are not affected."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from podpass.crypto.secret import Secret
from podpass.lab.services.vault.model import ObjectAttributes
from podpass.lab.services.vault.schema import versions
from tests.directory.database_faults import (
    check_failed_write_is_logged,
    corrupt,
    corrupt_values,
    failing_writes,
    lock_database,
)

V = "?api-version=7.4"
LONG = {"value": "v" * 20_000}

# A version is selected by vault and key.
CORRUPT_VALUES = [(what, ["good"]) for _, what in corrupt_values(versions, "vault", "key")]


@failing_writes
async def test_failed_write_reports_cause_and_recovers(
    world: Any,
    token: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fault: Any,
    status: int,
    message: str,
    retry_after: str | None,
) -> None:
    with fault(world.store._database, tmp_path / "directory.db"):
        answered = await world.send("PUT", f"/secrets/a{V}", token=token, body=LONG)
        assert (await world.send("GET", f"/secrets{V}", token=token))[0] == 200
    found, body, headers = answered
    code = "ServiceUnavailable" if status == 503 else "InsufficientStorage"
    assert (found, body["error"]["code"]) == (status, code)
    assert message in body["error"]["message"]
    assert headers.get("Retry-After") == retry_after
    check_failed_write_is_logged(caplog)
    assert (await world.send("PUT", f"/secrets/a{V}", token=token, body=LONG))[0] == 200


@pytest.mark.parametrize(
    ("change", "listed"),
    [("tags = '{'", ["good"]), ("sealed = x'00'", ["bad", "good"]), *CORRUPT_VALUES],
)
async def test_corrupt_secret_is_named_and_list_continues(
    world: Any, token: str, tmp_path: Path, change: str, listed: list[str]
) -> None:
    for name in ("bad", "good"):
        await world.send("PUT", f"/secrets/{name}{V}", token=token, body={"value": name})
    corrupt(tmp_path / "directory.db", f"UPDATE secret_versions SET {change} WHERE key = 'bad'")
    status, body, _ = await world.send("GET", f"/secrets/bad{V}", token=token)
    assert (status, body["error"]["code"]) == (500, "InternalServerError")
    assert "/bad/" in body["error"]["message"]
    assert "in table secret_versions cannot be read" in body["error"]["message"]
    assert (await world.send("GET", f"/secrets/good{V}", token=token))[1]["value"] == "good"
    status, body, _ = await world.send("GET", f"/secrets{V}", token=token)
    assert (status, [one["id"].rsplit("/", 1)[1] for one in body["value"]]) == (200, listed)


async def test_corrupt_vault_keeps_its_secrets(world: Any, token: str, tmp_path: Path) -> None:
    """If it were omitted from a list, it would appear to be purged, and the job would purge its secrets."""
    await world.send("PUT", f"/secrets/a{V}", token=token, body={"value": "kept"})
    corrupt(tmp_path / "directory.db", "UPDATE vaults SET access = 'policy'")
    world.directory._session.clear_caches()
    await world.maintenance.catch_up()
    status, body, _ = await world.send("GET", f"/secrets/a{V}", token=token)
    assert (status, "demo-vault in table vaults" in body["error"]["message"]) == (500, True)
    corrupt(tmp_path / "directory.db", "UPDATE vaults SET access = 'rbac'")
    assert (await world.send("GET", f"/secrets/a{V}", token=token))[1]["value"] == "kept"


async def test_failed_maintenance_is_logged(
    world: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    await world.store.set("an-orphan", "a", Secret("x"), ObjectAttributes(given=frozenset()), 1.0)

    def failures() -> list[logging.LogRecord]:
        return [each for each in caplog.records if each.msg == "vault_maintenance_failed"]

    with lock_database(world.store._database, tmp_path / "directory.db"):
        async with world.maintenance.running(), asyncio.timeout(60):
            while not failures():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    [line] = failures()
    assert "SQLITE_BUSY" in vars(line)["cause"]
