"""Keys of an earlier version's folder: taken over once, and gone from the disk when they are safe."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from podpass.database import Database
from podpass.exchange.signing import key as key_material
from podpass.exchange.signing import legacy_files
from podpass.exchange.signing.key import AuthorityKey
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.exchange.signing.legacy_files import KeyFilesUnfit
from podpass.exchange.signing.schedule import Schedule
from podpass.exchange.signing.token_sealer import Seal

NOW = 1_750_000_000.0
SEAL = bytes(range(32))


@pytest.fixture(scope="session")
def made() -> list[AuthorityKey]:
    return [key_material.generate(NOW) for _ in range(3)]


@pytest.fixture
def folder(tmp_path: Path, made: list[AuthorityKey]) -> Path:
    """A folder as an earlier version left it: the second key signs."""
    folder = tmp_path / "authority"
    folder.mkdir()
    for number, key in enumerate(made, 1):
        (folder / f"{number:06d}.pem").write_bytes(key_material.write(key))
    (folder / "active").write_text("2")
    (folder / "seal.key").write_bytes(SEAL)
    return folder


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with Database(f"sqlite:///{tmp_path / 'directory.db'}") as database:
        yield database


async def opened(database: Database, folder: Path) -> AuthorityKeys:
    sealing = folder.parent / "authority.key"
    return await AuthorityKeys.open(database, sealing, lambda: NOW, files=folder)


async def test_every_key_goes_on_as_it_was(
    database: Database, folder: Path, made: list[AuthorityKey]
) -> None:
    keys = await opened(database, folder)
    assert [key.kid for key in keys.published] == [key.kid for key in made]
    assert keys.active.kid == made[1].kid
    # Refresh tokens that were given out before are still good.
    assert keys.seal.read("p", Seal(SEAL).close("p", {"v": 1})) == {"v": 1}


async def test_the_files_are_gone_when_the_database_has_them(
    database: Database, folder: Path
) -> None:
    keys = await opened(database, folder)
    assert not folder.exists()
    again = await opened(database, folder)
    assert [key.kid for key in again.published] == [key.kid for key in keys.published]
    assert stat.S_IMODE((folder.parent / "authority.key").stat().st_mode) == 0o600


async def test_a_start_that_was_cut_off_before_they_were_gone_is_made_up_for(
    database: Database, folder: Path, made: list[AuthorityKey]
) -> None:
    keys = await opened(database, folder)
    folder.mkdir()
    (folder / "000001.pem").write_bytes(key_material.write(made[0]))
    again = await opened(database, folder)
    assert len(again.published) == len(keys.published)
    assert not folder.exists()


async def test_a_key_that_the_database_does_not_have_is_not_deleted(
    database: Database, folder: Path
) -> None:
    await opened(database, folder)
    folder.mkdir()
    strange = await asyncio.to_thread(key_material.generate, NOW)
    (folder / "000009.pem").write_bytes(key_material.write(strange))
    (folder / "000010.pem").write_text("x")
    keys = await opened(database, folder)
    assert strange.kid not in {key.kid for key in keys.published}
    assert {path.name for path in folder.iterdir()} == {"000009.pem", "000010.pem"}


async def test_a_rotation_cut_off_before_its_new_key_is_made_up_for(
    database: Database, folder: Path, made: list[AuthorityKey]
) -> None:
    (folder / "active").write_text("3")
    keys = await opened(database, folder)
    assert keys.active.kid == made[2].kid
    assert len(keys.published) == 4


async def test_a_key_that_was_to_come_counts_as_published_since_its_file(
    database: Database, folder: Path, made: list[AuthorityKey]
) -> None:
    os.utime(folder / "000003.pem", (NOW - 10**6, NOW - 10**6))
    keys = await opened(database, folder)
    turn = await keys.rotate()
    assert (turn.kid, turn.activates) == (made[2].kid, NOW)


async def test_an_empty_folder_begins_afresh(database: Database, tmp_path: Path) -> None:
    keys = await opened(database, tmp_path / "authority")
    assert len(keys.published) == 2


@pytest.mark.parametrize(
    ("name", "text"), [("active", "x"), ("000002.pem", "x"), ("seal.key", "short")]
)
async def test_damage_is_named_and_not_papered_over(
    database: Database, folder: Path, name: str, text: str
) -> None:
    (folder / name).write_text(text)
    with pytest.raises(KeyFilesUnfit, match=name) as caught:
        await opened(database, folder)
    assert caught.value.hint
    assert (folder / "000001.pem").exists()


def test_an_active_key_that_is_gone_is_not_replaced_in_silence(folder: Path) -> None:
    (folder / "000002.pem").unlink()
    with pytest.raises(KeyFilesUnfit) as caught:
        legacy_files.read(folder, NOW, Schedule())
    assert "000002.pem" in caught.value.hint
