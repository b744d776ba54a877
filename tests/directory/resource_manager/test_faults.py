"""What Resource Manager answers when its database fails: status, code, sentence, and one line in the log."""

import logging
from pathlib import Path
from typing import Any

import pytest

from tests.directory.faults import damage, full, held, read_only
from tests.directory.resource_manager.world import SUB, TENANT

TAGS = {f"{number:04}{'n' * 400}": "v" * 256 for number in range(15)}
GROUP = f"{SUB}/resourceGroups/rg"


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/directory.db"


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
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fault: Any,
    status: int,
    code: str,
    said: str,
    again: str | None,
) -> None:
    body = {"location": "eastus", "tags": TAGS}
    with fault(world.directory._session.database._runs.engine, tmp_path / "directory.db"):
        found, answer, headers = await world.ask("PUT", GROUP, body)
        assert (await world.ask("GET", SUB))[0] == 200
    assert (found, answer["error"]["code"]) == (status, code)
    assert said in answer["error"]["message"]
    assert headers.get("Retry-After") == again
    [line] = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert "SQLITE_" in vars(line)["cause"]
    assert line.exc_info is None
    assert "nnnn" not in repr(vars(line))
    assert (await world.ask("PUT", GROUP, body))[0] == 201


async def test_a_vault_that_does_not_know_when_it_was_made_does_not_say_1970(
    world: Any, tmp_path: Path
) -> None:
    path = f"{GROUP}/providers/Microsoft.KeyVault/vaults/old-vault"
    await world.ask("PUT", GROUP, {"location": "eastus"})
    properties = {"tenantId": TENANT, "sku": {"family": "A", "name": "standard"}}
    body = {"location": "eastus", "properties": properties | {"enableRbacAuthorization": True}}
    status, made, _ = await world.ask("PUT", path, body, version="2023-07-01")
    assert (status, "systemData" in made) == (201, True)
    damage(tmp_path / "directory.db", "UPDATE vaults SET created = 0")
    world.directory._session.forget()
    assert "1970" not in str((await world.ask("GET", path, version="2023-07-01"))[1])


async def test_a_damaged_row_is_named_and_stops_no_list(world: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        await world.ask("PUT", f"{SUB}/resourceGroups/{name}", {"location": "eastus"})
    damage(tmp_path / "directory.db", "UPDATE resource_groups SET tags = 'x' WHERE name = 'one'")
    status, body, _ = await world.ask("GET", f"{SUB}/resourceGroups/one")
    assert (status, body["error"]["code"]) == (500, "InternalServerError")
    assert "the row of one in table resource_groups cannot be read" in body["error"]["message"]
    assert "restore the database" in body["error"]["message"]
    status, body, _ = await world.ask("GET", f"{SUB}/resourceGroups")
    assert (status, [one["name"] for one in body["value"]]) == (200, ["two"])
