"""Responses of Resource Manager when its database fails: status, code, message, and one log line."""

from pathlib import Path
from typing import Any

import pytest

from tests.directory.database_faults import check_failed_write_is_logged, corrupt, failing_writes
from tests.directory.resource_manager.harness import SUB, TENANT

TAGS = {f"{number:04}{'n' * 400}": "v" * 256 for number in range(15)}
GROUP = f"{SUB}/resourceGroups/rg"


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/directory.db"


@failing_writes
async def test_failed_write_reports_its_cause_and_the_next_write_succeeds(
    manager: Any,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fault: Any,
    status: int,
    message: str,
    retry_after: str | None,
) -> None:
    body = {"location": "eastus", "tags": TAGS}
    with fault(manager.directory._session.database, tmp_path / "directory.db"):
        found, answer, headers = await manager.send("PUT", GROUP, body)
        assert (await manager.send("GET", SUB))[0] == 200
    code = "ServiceUnavailable" if status == 503 else "InsufficientStorage"
    assert (found, answer["error"]["code"]) == (status, code)
    assert message in answer["error"]["message"]
    assert headers.get("Retry-After") == retry_after
    check_failed_write_is_logged(caplog)
    assert (await manager.send("PUT", GROUP, body))[0] == 201


async def test_vault_without_a_creation_time_has_no_system_data(
    manager: Any, tmp_path: Path
) -> None:
    path = f"{GROUP}/providers/Microsoft.KeyVault/vaults/old-vault"
    await manager.send("PUT", GROUP, {"location": "eastus"})
    properties = {"tenantId": TENANT, "sku": {"family": "A", "name": "standard"}}
    body = {"location": "eastus", "properties": properties | {"enableRbacAuthorization": True}}
    status, made, _ = await manager.send("PUT", path, body, version="2023-07-01")
    assert (status, "systemData" in made) == (201, True)
    corrupt(tmp_path / "directory.db", "UPDATE vaults SET created = 0")
    manager.directory._session.clear_caches()
    assert "1970" not in str((await manager.send("GET", path, version="2023-07-01"))[1])


async def test_damaged_row_is_named_and_does_not_fail_lists(manager: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        await manager.send("PUT", f"{SUB}/resourceGroups/{name}", {"location": "eastus"})
    corrupt(tmp_path / "directory.db", "UPDATE resource_groups SET tags = 'x' WHERE name = 'one'")
    status, body, _ = await manager.send("GET", f"{SUB}/resourceGroups/one")
    assert (status, body["error"]["code"]) == (500, "InternalServerError")
    assert "the row of one in table resource_groups cannot be read" in body["error"]["message"]
    assert "restore the database" in body["error"]["message"]
    status, body, _ = await manager.send("GET", f"{SUB}/resourceGroups")
    assert (status, [one["name"] for one in body["value"]]) == (200, ["two"])
