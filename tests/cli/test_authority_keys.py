"""`podpass authority keys` and `rotate`, on the database of a running service."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import update

from podpass.cli import authority_keys
from podpass.crypto.envelope import InvalidSealingKey
from podpass.database import Database, DatabaseUnusable
from podpass.errors import Error
from podpass.exchange.schema import signing_keys
from podpass.exchange.signing.key_set import AuthorityKeys, KeyNotRetired
from podpass.exchange.signing.key_store import DamagedKeysError
from podpass.exchange.signing.schedule import KeySchedule
from tests.directory.database_faults import corrupt


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def service(data_dir: Path) -> AsyncIterator[AuthorityKeys]:
    """Return the keys of a running service, in the data directory of a local instance."""
    data_dir.mkdir()
    schedule = KeySchedule(ahead_seconds=3600)
    async with Database(f"sqlite:///{data_dir / 'directory.db'}") as database:
        keys = await AuthorityKeys.open(
            database, data_dir / "keys" / "authority.key", schedule=schedule
        )
        async with keys.running():
            yield keys


async def run(data_dir: Path, name: str, *arguments: str) -> Result:
    command = getattr(authority_keys, name)
    given = [*arguments, "--data-dir", str(data_dir)]
    return await asyncio.to_thread(CliRunner().invoke, command, given)


async def list_keys(data_dir: Path) -> list[dict[str, Any]]:
    result = await run(data_dir, "keys", "-o", "json")
    assert result.exit_code == 0, result.output
    return list(json.loads(result.stdout))


async def test_keys_are_listed_with_their_times(data_dir: Path, service: AuthorityKeys) -> None:
    active, coming = await list_keys(data_dir)
    assert (active["kid"], active["state"]) == (service.active.kid, "active")
    assert (coming["kid"], coming["state"]) == (service.published[1].kid, "upcoming")
    assert active["signs_until"] == coming["signs_from"]
    assert coming["published_until"] is None
    table = (await run(data_dir, "keys")).stdout
    assert table.split()[0] == "KID"
    assert active["kid"] in table


async def test_rotation_prints_when_the_next_key_signs(
    data_dir: Path, service: AuthorityKeys
) -> None:
    before = service.active.kid
    result = await run(data_dir, "rotate", "--publish-ahead-seconds", "3600")
    assert result.exit_code == 0
    _, coming = await list_keys(data_dir)
    assert (
        f"{coming['kid']} is published and will sign from {coming['signs_from']}" in result.output
    )
    assert service.active.kid == before


async def test_a_running_service_signs_with_the_next_key_within_a_second(
    data_dir: Path, service: AuthorityKeys
) -> None:
    before, after = (key.kid for key in service.published)
    result = await run(data_dir, "rotate", "--at-once")
    assert result.exit_code == 0
    assert f"{after} has signed since" in result.stdout
    assert f"{before} no longer signs; it is published until" in result.stdout
    assert "for up to a day" in result.stderr
    async with asyncio.timeout(5):
        while service.active.kid != after:  # noqa: ASYNC110 another connection wrote it
            await asyncio.sleep(0.01)
    assert [key["state"] for key in await list_keys(data_dir)] == ["old", "active", "upcoming"]


async def test_leaked_key_is_replaced_and_withdrawn(data_dir: Path, service: AuthorityKeys) -> None:
    leaked = service.active.kid
    refused = await run(data_dir, "rotate", "--retire", leaked)
    assert isinstance(refused.exception, KeyNotRetired)
    assert "rotate the active key first" in refused.exception.hint
    assert (await run(data_dir, "rotate", "--at-once", "--retire", leaked)).exit_code == 0
    assert leaked not in {key["kid"] for key in await list_keys(data_dir)}
    async with asyncio.timeout(5):
        while leaked in {key.kid for key in service.published}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_keys_can_be_replaced_after_the_sealing_key_is_lost(
    data_dir: Path, service: AuthorityKeys
) -> None:
    before = {key.kid for key in service.published}
    sealing = data_dir / "keys" / "authority.key"
    sealing.unlink()
    refused = await run(data_dir, "rotate")
    assert isinstance(refused.exception, InvalidSealingKey)
    assert "--retire-others" in refused.exception.hint
    sealing.write_bytes(bytes(32))
    assert isinstance((await run(data_dir, "rotate")).exception, InvalidSealingKey)
    assert (await run(data_dir, "rotate", "--retire-others")).exit_code == 0
    assert not before & {key["kid"] for key in await list_keys(data_dir)}
    again = await AuthorityKeys.open(service.database, sealing)
    assert again.token_sealer.open("p", again.token_sealer.seal("p", {"v": 1})) == {"v": 1}


async def test_replacing_undecryptable_keys_logs_no_error(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data_dir.mkdir()
    sealing = data_dir / "keys" / "authority.key"
    async with Database(f"sqlite:///{data_dir / 'directory.db'}") as database:
        await AuthorityKeys.open(database, sealing)
    sealing.write_bytes(bytes(32))
    assert (await run(data_dir, "rotate", "--retire-others")).exit_code == 0
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


async def test_a_damaged_old_key_can_be_withdrawn(data_dir: Path, service: AuthorityKeys) -> None:
    old = service.active.kid
    await service.rotate(at_once=True)
    corrupt = update(signing_keys).where(signing_keys.c.kid == old).values(sealed=b"x" * 99)
    await service.database.write(lambda connection: connection.execute(corrupt))
    assert isinstance((await run(data_dir, "rotate")).exception, DamagedKeysError)
    assert (await run(data_dir, "rotate", "--retire", old)).exit_code == 0
    assert (await run(data_dir, "rotate")).exit_code == 0


async def test_folder_without_an_instance_is_reported(tmp_path: Path) -> None:
    result = await run(tmp_path / "nothing", "keys")
    assert "there is no instance in" in str(result.exception)
    assert not (tmp_path / "nothing").exists()


async def test_damaged_upcoming_key_is_reported_and_can_be_replaced(
    data_dir: Path, service: AuthorityKeys
) -> None:
    first, second = (key.kid for key in service.published)
    assert "damaged" not in (await run(data_dir, "keys")).stderr
    corrupt = update(signing_keys).where(signing_keys.c.kid == second).values(sealed=b"x" * 99)
    await service.database.write(lambda connection: connection.execute(corrupt))
    assert f"{second} is damaged" in (await run(data_dir, "keys")).stderr
    assert "--retire KID" in getattr((await run(data_dir, "rotate")).exception, "hint", "")
    assert (await run(data_dir, "rotate", "--retire", second)).exit_code == 0
    async with asyncio.timeout(5):
        while second in {key.kid for key in service.published} or len(service.published) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert service.active.kid == first


@pytest.mark.parametrize("change", ["activates = 9e999", "created = -9e999", "created = 9e999"])
async def test_key_with_invalid_times_is_reported_as_damaged_and_can_be_withdrawn(
    data_dir: Path, service: AuthorityKeys, change: str
) -> None:
    """SQLite accepts any value in any column."""
    first, second = (key.kid for key in service.published)
    corrupt(data_dir / "directory.db", f"UPDATE authority_keys SET {change} WHERE kid = ?", second)
    listed = await run(data_dir, "keys")
    assert first in listed.stdout
    assert f"{second} is damaged" in listed.stderr
    assert "--retire KID" in getattr((await run(data_dir, "rotate")).exception, "hint", "")
    assert (await run(data_dir, "rotate", "--retire", second)).exit_code == 0
    assert second not in (await run(data_dir, "keys")).output


async def test_key_with_an_invalid_utf8_kid_is_not_reported_as_withdrawn(
    data_dir: Path, service: AuthorityKeys
) -> None:
    """Fails if the command does not check whether a row was deleted."""
    second, path = service.published[1].kid, data_dir / "directory.db"
    corrupt(path, "UPDATE authority_keys SET kid = CAST(x'ff' AS TEXT) WHERE kid = ?", second)
    name = str(b"\xff")
    assert f"{name} is damaged" in (await run(data_dir, "keys")).stderr
    caught = (await run(data_dir, "rotate", "--retire", name)).exception
    assert isinstance(caught, KeyNotRetired)
    assert f"{name} is damaged" in (await run(data_dir, "keys")).stderr


async def test_all_keys_can_be_replaced_whatever_their_rows_contain(
    data_dir: Path, service: AuthorityKeys
) -> None:
    before = {key.kid for key in service.published}
    for kid, change in zip(before, ("activates = 9e999", "kid = CAST(x'ff' AS TEXT)"), strict=True):
        corrupt(data_dir / "directory.db", f"UPDATE authority_keys SET {change} WHERE kid = ?", kid)
    assert (await run(data_dir, "rotate", "--retire-others")).exit_code == 0
    listed = await run(data_dir, "keys", "-o", "json")
    assert (len(json.loads(listed.stdout)), listed.stderr) == (2, "")


@pytest.mark.parametrize("value", ["x''", "x'ff'"])
async def test_key_with_a_changed_sealed_value_is_reported_as_damaged(
    data_dir: Path, service: AuthorityKeys, value: str
) -> None:
    kid, path = service.published[1].kid, data_dir / "directory.db"
    corrupt(path, f"UPDATE authority_keys SET sealed = {value} WHERE kid = ?", kid)
    assert f"{kid} is damaged" in (await run(data_dir, "keys")).stderr
    assert "--retire KID" in getattr((await run(data_dir, "rotate")).exception, "hint", "")


@pytest.mark.parametrize("arguments", [("--at-once",), ("--retire-others",), ("--retire", "x")])
async def test_mistyped_or_empty_database_gets_no_keys_and_no_sealing_key(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    path, sealing = tmp_path / "auhtority.db", tmp_path / "s.key"
    given = ["--database", f"sqlite:///{path}", "--sealing-key-file", str(sealing)]
    for command, more in ((authority_keys.rotate, arguments), (authority_keys.keys, ())):
        result = await asyncio.to_thread(CliRunner().invoke, command, [*given, *more])
        assert isinstance(result.exception, DatabaseUnusable)
        assert not path.exists()
    path.touch()
    result = await asyncio.to_thread(
        CliRunner().invoke, authority_keys.rotate, [*given, *arguments]
    )
    assert isinstance(result.exception, Error)
    assert "no signing keys" in result.exception.message
    assert not sealing.exists()
