"""Group 25: where the service's own secrets must not appear: files of others, logs, tracebacks, pages."""

import logging
import stat
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from podpass.crypto import jose

if TYPE_CHECKING:
    from tests.exchange.world import World

PRIVATE_MARKS = ("PRIVATE KEY", "RSAPrivateKey object", "_private_numbers")
INSIDE = [
    "/debug",
    "/debug/pprof/",
    "/debug/vars",
    "/metrics",
    "/admin",
    "/env",
    "/keys",
    "/seal.key",
    "/authority.key",
    "/.git/config",
    "/..%2f..%2fetc%2fpasswd",
    "/%2e%2e/keys/authority/000001.pem",
    "/static/../../keys/authority/000001.pem",
    "/docs",
    "/openapi.json",
    "/server-status",
    "/graph/v1.0/users",
    "/v1.0/applications",
    "/subscriptions",
]


def numbers_of(world: "World") -> list[str]:
    """Give the parts of the signing key in every writing in which it might be printed."""
    private = world.keys.active.key.private_numbers()
    parts = (private.d, private.p, private.q)
    return [
        written
        for part in parts
        for written in (
            str(part),
            f"{part:x}",
            jose.b64encode(part.to_bytes((part.bit_length() + 7) // 8)),
        )
    ]


def files_of(world: "World") -> list[Path]:
    folder = world.ca_file.parent
    return [
        path
        for path in folder.rglob("*")
        if (path.is_file() and path.suffix != ".pem") or "keys" in path.parts
    ]


async def test_no_file_that_holds_a_secret_is_anybody_elses(world: "World") -> None:
    await world.ask()
    kept = [path for path in files_of(world) if path.is_file() and path.name != "ca.pem"]
    assert kept
    for path in kept:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name


async def test_no_database_file_holds_a_signing_key_in_plain(world: "World") -> None:
    """Whoever gets a copy of the database, or a backup of it, gets no key: that is sealed."""
    await world.ask()
    data = b"".join(path.read_bytes() for path in files_of(world) if "directory.db" in path.name)
    assert data
    private = world.keys.active.key
    assert jose.private_pem(private)[40:200] not in data
    assert private.private_numbers().p.to_bytes(128) not in data
    assert b"PRIVATE KEY" not in data


async def test_nothing_of_a_key_is_logged_at_any_level(
    world: "World", caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await world.ask()
        await world.ask(client_assertion="a.b.c")
        await world.send(f"/{world.TENANT}/discovery/v2.0/keys", method="GET")
    told = "".join(f"{record.getMessage()}{vars(record)}" for record in caplog.records)
    assert told
    assert not [part for part in numbers_of(world) if part in told]
    assert not [mark for mark in PRIVATE_MARKS if mark in told]


async def test_no_repr_of_what_holds_a_key_shows_it(world: "World") -> None:
    shown = repr((world.keys, world.keys.active, world.keys.published, world.keys.seal))
    assert not [part for part in numbers_of(world) if part in shown]
    assert not [mark for mark in PRIVATE_MARKS if mark in shown]


async def test_a_crash_shows_neither_key_nor_token(
    world: "World", monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The traceback goes to the log, the caller gets a number; neither has what was in the hands."""

    def crashing(*_: Any, **__: Any) -> str:
        raise RuntimeError("deliberate")

    token = world.mint()
    monkeypatch.setattr(jose.SigningKey, "signature", crashing)
    with caplog.at_level(logging.DEBUG):
        answer = await world.ask(client_assertion=token)
    assert (answer.status, answer.code) == (500, 50000)
    assert "deliberate" not in str(answer.body)
    assert "Traceback" not in str(answer.body)
    told = "".join(
        f"{vars(record)}{''.join(traceback.format_exception(*record.exc_info)) if record.exc_info else ''}"
        for record in caplog.records
    )
    assert "deliberate" in told
    assert token.split(".")[2] not in told
    assert not [part for part in numbers_of(world) if part in told]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", INSIDE)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_service_has_no_door_to_its_inside(
    shared: "World", path: str, method: str
) -> None:
    """Neither debugging nor management is on the port that everybody reaches."""
    answer = await shared.send(path, method=method)
    assert answer.status in {400, 404, 405}
    assert not [mark for mark in PRIVATE_MARKS if mark in str(answer.body)]
