"""Responses of Graph when its database fails: status, code, message, and one log line."""

from pathlib import Path
from typing import Any

import pytest

from tests.directory.database_faults import check_failed_write_is_logged, corrupt, failing_writes
from tests.directory.graph.harness import TENANT, Graph

LONG = {"displayName": "web", "notes": "n" * 1000, "tags": [f"{n}" * 100 for n in range(10, 90)]}


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/directory.db"


@failing_writes
async def test_failed_write_reports_its_cause_and_the_next_write_succeeds(
    graph: Graph,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fault: Any,
    status: int,
    message: str,
    retry_after: str | None,
) -> None:
    with fault(graph.directory._session.database, tmp_path / "directory.db"):
        reply = await graph.post("/applications", LONG)
        assert (await graph.get("/applications")).value == []
        batch = {"requests": [{"id": "1", "method": "POST", "url": "/applications", "body": LONG}]}
        batch["requests"][0]["headers"] = {"Content-Type": "application/json"}
        [part] = (await graph.post("/$batch", batch)).body["responses"]
    code = "ServiceUnavailable" if status == 503 else "insufficientStorage"
    assert (reply.status, reply.code) == (status, code)
    assert message in reply.message
    assert reply.headers.get("Retry-After") == retry_after
    assert (part["status"], part["body"]["error"]["code"]) == (status, code)
    check_failed_write_is_logged(caplog, times=2)
    assert (await graph.post("/applications", LONG)).status == 201


async def test_damaged_row_is_named_and_does_not_fail_lists(graph: Graph, tmp_path: Path) -> None:
    bad, good = await graph.application("bad"), await graph.application("good")
    corrupt(tmp_path / "directory.db", "UPDATE identities SET kind = 'x' WHERE name = 'bad'")
    graph.directory._session.clear_caches()
    reply = await graph.get(f"/applications/{bad['id']}")
    assert (reply.status, reply.code) == (500, "InternalServerError")
    assert f"the row of {bad['appId']} in table identities cannot be read" in reply.message
    for path in ("/applications", "/applications?$top=1"):
        found = [one["appId"] for one in (await graph.get(path)).value]
        assert found == [good["appId"]]


async def test_invalid_utf8_in_one_identifier_uri_hides_no_other_application(
    graph: Graph, tmp_path: Path
) -> None:
    made = [
        await graph.application(name, identifierUris=[f"api://{TENANT}/{name}"])
        for name in ("first", "bad", "last")
    ]
    change = "UPDATE identifier_uris SET uri = CAST(x'ff' AS TEXT) WHERE client_id = ?"
    corrupt(tmp_path / "directory.db", change, made[1]["appId"])
    found = {one["appId"] for one in (await graph.get("/applications")).value}
    assert found == {made[0]["appId"], made[2]["appId"]}
