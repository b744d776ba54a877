"""What Graph answers when its database fails: status, code, sentence, and one line in the log."""

import logging
from pathlib import Path
from typing import Any

import pytest

from tests.directory.faults import damage, full, held, read_only
from tests.directory.graph.world import TENANT, World

LONG = {"displayName": "web", "notes": "n" * 1000, "tags": [f"{n}" * 100 for n in range(10, 90)]}


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/directory.db"


@pytest.mark.parametrize(
    ("fault", "status", "code", "said", "again"),
    [
        (full, 507, "insufficientStorage", "the disk is full", None),
        (read_only, 507, "insufficientStorage", "read-only", None),
        (held, 503, "ServiceUnavailable", "busy", "2"),
    ],
)
async def test_a_write_that_fails_says_why_and_heals_by_itself(
    world: World,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fault: Any,
    status: int,
    code: str,
    said: str,
    again: str | None,
) -> None:
    with fault(world.directory._session.database._runs.engine, tmp_path / "directory.db"):
        reply = await world.post("/applications", LONG)
        assert (await world.get("/applications")).value == []
        batch = {"requests": [{"id": "1", "method": "POST", "url": "/applications", "body": LONG}]}
        batch["requests"][0]["headers"] = {"Content-Type": "application/json"}
        [part] = (await world.post("/$batch", batch)).body["responses"]
    assert (reply.status, reply.code) == (status, code)
    assert said in reply.message
    assert reply.headers.get("Retry-After") == again
    assert (part["status"], part["body"]["error"]["code"]) == (status, code)
    first, second = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert "SQLITE_" in vars(first)["cause"]
    assert first.exc_info is second.exc_info is None
    assert (await world.post("/applications", LONG)).status == 201


async def test_a_damaged_row_is_named_and_stops_no_list(world: World, tmp_path: Path) -> None:
    bad, good = await world.application("bad"), await world.application("good")
    damage(tmp_path / "directory.db", "UPDATE identities SET kind = 'x' WHERE name = 'bad'")
    world.directory._session.forget()
    reply = await world.get(f"/applications/{bad['id']}")
    assert (reply.status, reply.code) == (500, "InternalServerError")
    assert f"the row of {bad['appId']} in table identities cannot be read" in reply.message
    for path in ("/applications", "/applications?$top=1"):
        found = [one["appId"] for one in (await world.get(path)).value]
        assert found == [good["appId"]]


async def test_bytes_in_one_address_stop_no_list(world: World, tmp_path: Path) -> None:
    made = [
        await world.application(name, identifierUris=[f"api://{TENANT}/{name}"])
        for name in ("first", "bad", "last")
    ]
    change = "UPDATE identifier_uris SET uri = x'ff' WHERE client_id = ?"
    damage(tmp_path / "directory.db", change, made[1]["appId"])
    found = {one["appId"] for one in (await world.get("/applications")).value}
    assert found == {made[0]["appId"], made[2]["appId"]}
