"""Group 25: the service's secrets must not appear in readable files, logs, tracebacks and pages."""

import logging
import stat
import traceback
from pathlib import Path
from typing import Any

import pytest

from podpass.crypto import jose
from tests.exchange.world import World

PRIVATE_MARKS = ("PRIVATE KEY", "RSAPrivateKey object", "_private_numbers")
INSIDE = [
    *("/debug", "/debug/pprof/", "/debug/vars", "/metrics", "/admin", "/env", "/keys", "/seal.key"),
    *("/authority.key", "/.git/config", "/..%2f..%2fetc%2fpasswd"),
    *("/%2e%2e/keys/authority/000001.pem", "/static/../../keys/authority/000001.pem", "/docs"),
    *("/openapi.json", "/server-status", "/graph/v1.0/users"),
    *("/v1.0/applications", "/subscriptions"),
]


def key_encodings(world: World) -> list[str]:
    """Return the parts of the signing key in every encoding in which they could be printed."""
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


def list_files(world: World) -> list[Path]:
    folder = world.ca_file.parent
    return [
        path
        for path in folder.rglob("*")
        if (path.is_file() and path.suffix != ".pem") or "keys" in path.parts
    ]


async def test_files_with_secrets_are_readable_by_the_owner_only(world: World) -> None:
    await world.request_token()
    kept = [path for path in list_files(world) if path.is_file() and path.name != "ca.pem"]
    assert kept
    for path in kept:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name


async def test_database_files_contain_no_plain_signing_key(world: World) -> None:
    """A copy or backup of the database contains no usable key, because keys are sealed."""
    await world.request_token()
    data = b"".join(path.read_bytes() for path in list_files(world) if "directory.db" in path.name)
    assert data
    private = world.keys.active.key
    assert jose.private_key_pem(private)[40:200] not in data
    assert private.private_numbers().p.to_bytes(128) not in data
    assert b"PRIVATE KEY" not in data


async def test_key_parts_are_not_logged_at_any_level(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        await world.request_token()
        await world.present("a.b.c")
        await world.send(f"/{world.TENANT}/discovery/v2.0/keys", method="GET")
    logged = "".join(f"{record.getMessage()}{vars(record)}" for record in caplog.records)
    assert logged
    assert not [part for part in key_encodings(world) if part in logged]
    assert not [mark for mark in PRIVATE_MARKS if mark in logged]


async def test_repr_of_key_objects_contains_no_key(world: World) -> None:
    shown = repr((world.keys, world.keys.active, world.keys.published, world.keys.token_sealer))
    assert not [part for part in key_encodings(world) if part in shown]
    assert not [mark for mark in PRIVATE_MARKS if mark in shown]


async def test_traceback_contains_neither_key_nor_token(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the traceback and the caller gets a number; neither contains keys or tokens."""

    def crashing(*_: Any, **__: Any) -> str:
        raise RuntimeError("deliberate")

    token = world.mint()
    monkeypatch.setattr(jose.SigningKey, "signature", crashing)
    with caplog.at_level(logging.DEBUG):
        answer = await world.present(token)
    assert (answer.status, answer.code) == (500, 50000)
    assert "deliberate" not in str(answer.body)
    assert "Traceback" not in str(answer.body)
    logged = "".join(
        f"{vars(record)}{''.join(traceback.format_exception(*record.exc_info)) if record.exc_info else ''}"
        for record in caplog.records
    )
    assert "deliberate" in logged
    assert token.split(".")[2] not in logged
    assert not [part for part in key_encodings(world) if part in logged]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", INSIDE)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_debug_and_management_paths_are_not_served(
    shared: World, path: str, method: str
) -> None:
    """The public port serves neither debugging nor management."""
    answer = await shared.send(path, method=method)
    assert answer.status in {400, 404, 405}
    assert not [mark for mark in PRIVATE_MARKS if mark in str(answer.body)]
