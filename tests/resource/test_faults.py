"""What a vault answers when a database fails, or a row is damaged; the others are not concerned."""

import logging
from pathlib import Path
from typing import Any

import pytest

from podpass.resource.purge_job import Housekeeping, sweep
from podpass.resource.schema import versions
from tests.directory.faults import damage, full, held, read_only

V = "?api-version=7.4"
LONG = {"value": "v" * 20_000}

# By the three names a version is found, and the number no SQLite lets anybody change into anything else.
OF_ANOTHER_TYPE = [
    (f"{column.name} = {'7.5' if column.type.python_type is bytes else 'x' + repr('ff')}", ["good"])
    for column in versions.columns
    if column.name not in ("ordinal", "vault", "key")
]


@pytest.mark.parametrize(
    ("fault", "status", "code", "said", "again"),
    [
        (full, 507, "InsufficientStorage", "the disk is full", None),
        (read_only, 507, "InsufficientStorage", "read-only", None),
        (held, 503, "ServiceUnavailable", "busy", "2"),
    ],
)
async def test_a_write_that_fails_says_why_and_heals_by_itself(
    world: Any,
    token: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fault: Any,
    status: int,
    code: str,
    said: str,
    again: str | None,
) -> None:
    with fault(world.store._database._runs.engine, tmp_path / "directory.db"):
        answered = await world.ask("PUT", f"/secrets/a{V}", token=token, body=LONG)
        assert (await world.ask("GET", f"/secrets{V}", token=token))[0] == 200
    found, body, headers = answered
    assert (found, body["error"]["code"]) == (status, code)
    assert said in body["error"]["message"]
    assert headers.get("Retry-After") == again
    [line] = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert "SQLITE_" in vars(line)["cause"]
    assert line.exc_info is None
    assert "vvvv" not in repr(vars(line))
    assert (await world.ask("PUT", f"/secrets/a{V}", token=token, body=LONG))[0] == 200


@pytest.mark.parametrize(
    ("change", "listed"),
    [("tags = '{'", ["good"]), ("sealed = x'00'", ["bad", "good"]), *OF_ANOTHER_TYPE],
)
async def test_a_damaged_secret_is_named_and_stops_no_list(
    world: Any, token: str, tmp_path: Path, change: str, listed: list[str]
) -> None:
    for name in ("bad", "good"):
        await world.ask("PUT", f"/secrets/{name}{V}", token=token, body={"value": name})
    damage(tmp_path / "directory.db", f"UPDATE secret_versions SET {change} WHERE key = 'bad'")
    status, body, _ = await world.ask("GET", f"/secrets/bad{V}", token=token)
    assert (status, body["error"]["code"]) == (500, "InternalServerError")
    assert "/bad/" in body["error"]["message"]
    assert "in table secret_versions cannot be read" in body["error"]["message"]
    assert (await world.ask("GET", f"/secrets/good{V}", token=token))[1]["value"] == "good"
    status, body, _ = await world.ask("GET", f"/secrets{V}", token=token)
    assert (status, [one["id"].rsplit("/", 1)[1] for one in body["value"]]) == (200, listed)


async def test_a_vault_that_cannot_be_read_keeps_its_secrets_and_stops_no_start(
    world: Any, token: str, tmp_path: Path
) -> None:
    """Left out of a list, it would look purged, and the sweep would make it so."""
    await world.ask("PUT", f"/secrets/a{V}", token=token, body={"value": "kept"})
    damage(tmp_path / "directory.db", "UPDATE vaults SET access = 'policy'")
    world.directory._session.forget()
    async with Housekeeping(world.directory, world.store, world.clock):
        pass
    assert await sweep(world.directory, world.store, world.clock) == 0
    status, body, _ = await world.ask("GET", f"/secrets/a{V}", token=token)
    assert (status, "demo-vault in table vaults" in body["error"]["message"]) == (500, True)
    damage(tmp_path / "directory.db", "UPDATE vaults SET access = 'rbac'")
    assert (await world.ask("GET", f"/secrets/a{V}", token=token))[1]["value"] == "kept"


async def test_a_sweep_that_fails_at_the_start_is_logged_and_does_not_stop_it(
    world: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with held(None, tmp_path / "directory.db"):
        async with Housekeeping(world.directory, world.store, world.clock):
            pass
    [line] = [each for each in caplog.records if each.getMessage() == "sweep_failed"]
    assert "SQLITE_BUSY" in vars(line)["cause"]
