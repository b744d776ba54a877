"""A backup needs its sealing key, and a podpass that knows every store of the database."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text

from podpass.backup import create, restore
from podpass.backup.model import BackupRefused
from podpass.clock import system
from podpass.database import Database, DatabaseUnusable
from tests.backup.sample_databases import (
    KEY,
    back_up,
    fill,
    ignore_progress,
    read_all_rows,
    restore_backup,
)


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    right, wrong = tmp_path / "right.key", tmp_path / "wrong.key"
    right.write_bytes(KEY)
    wrong.write_bytes(b"w" * 32)
    return right, wrong


async def _changed(url: str, *statements: str) -> None:
    async with Database(url) as database:
        await database.write(lambda one: [one.execute(text(line)) for line in statements])


async def test_restore_with_another_sealing_key_changes_nothing_even_if_the_backup_records_none(
    database_url: str, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    right, wrong = keys
    await fill(database_url, tmp_path)
    assert (await back_up(database_url, tmp_path / "backup")).sealing == {}
    before = await read_all_rows(database_url)
    with pytest.raises(BackupRefused, match="keys are not sealed with") as caught:
        await restore.restore_database(
            database_url, tmp_path / "backup", ignore_progress, replaces=True, sealing_key=wrong
        )
    assert "nothing was changed" in caught.value.hint
    assert await read_all_rows(database_url) == before
    await restore.restore_database(
        database_url, tmp_path / "backup", ignore_progress, replaces=True, sealing_key=right
    )


async def test_restore_with_another_sealing_key_than_the_recorded_one_writes_nothing(
    database_url: str, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    """The fingerprint in the backup is compared before the transaction begins."""
    right, wrong = keys
    await fill(database_url, tmp_path)
    await create.back_up_database(database_url, tmp_path / "backup", ignore_progress, system, right)
    written: list[str] = []
    with pytest.raises(BackupRefused, match="the backup's keys are not sealed with"):
        await restore.restore_database(
            database_url,
            tmp_path / "backup",
            lambda table, _rows: written.append(table),
            replaces=True,
            sealing_key=wrong,
        )
    assert written == []


async def test_sealing_key_is_accepted_if_signing_keys_are_corrupt(
    database_url: str, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    await fill(database_url, tmp_path)
    # All signing keys are corrupt; the key of the refresh tokens still opens.
    await _changed(
        database_url, "UPDATE authority_keys SET sealed = (SELECT sealed FROM authority_seals)"
    )
    taken = await create.back_up_database(
        database_url, tmp_path / "backup", ignore_progress, system, keys[0]
    )
    assert set(taken.sealing) == {"authority"}


async def test_backup_with_a_wrong_sealing_key_is_refused(
    database_url: str, tmp_path: Path, keys: tuple[Path, Path]
) -> None:
    await fill(database_url, tmp_path)
    with pytest.raises(BackupRefused, match="the database's keys are not sealed with"):
        await create.back_up_database(
            database_url, tmp_path / "backup", ignore_progress, system, keys[1]
        )
    assert [path.name for path in tmp_path.iterdir() if "backup" in path.name] == []


@pytest.mark.parametrize("store", ["directory", "authority", "vault"])
async def test_database_of_a_newer_podpass_is_not_backed_up(
    database_url: str, tmp_path: Path, store: str
) -> None:
    await fill(database_url, tmp_path)
    await _changed(database_url, f"UPDATE alembic_version_{store} SET version_num = '0999'")
    with pytest.raises(BackupRefused, match=f"newer podpass.* {store} of schema 0999") as caught:
        await back_up(database_url, tmp_path / "backup")
    assert "with the podpass that uses it" in caught.value.hint
    assert not (tmp_path / "backup").exists()


async def test_database_with_an_unknown_store_is_not_backed_up(
    database_url: str, tmp_path: Path
) -> None:
    await fill(database_url, tmp_path)
    await _changed(database_url, "CREATE TABLE alembic_version_ledger (version_num VARCHAR(32))")
    with pytest.raises(BackupRefused, match="does not know its ledger"):
        await back_up(database_url, tmp_path / "backup")
    await _changed(database_url, "DROP TABLE alembic_version_ledger")


async def test_backup_of_a_missing_database_does_not_create_it(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnusable, match="No such file"):
        await back_up(f"sqlite:///{tmp_path}/mistyped.db", tmp_path / "backup")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("journal", [False, True])
async def test_database_on_a_read_only_disk_is_backed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, journal: bool
) -> None:
    folder = tmp_path / "a disk"
    folder.mkdir()
    url = f"sqlite:///{folder}/a.db"
    await fill(url, tmp_path)
    before = await read_all_rows(url)
    if journal:
        # As after a killed process: these rows exist only in the journal.
        copy = sqlite3.connect(folder / "a.db")
        copy.execute("UPDATE tenants SET display_name = 'later'")
        copy.commit()
    opened = os.open

    def open_full_disk(path: str, flags: int, mode: int = 0o777) -> int:
        if str(path).startswith(str(folder)) and flags & os.O_WRONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return opened(path, flags, mode)

    monkeypatch.setattr(os, "open", open_full_disk)
    with pytest.raises(DatabaseUnusable) as caught:
        await Database(url).open()
    assert "make its disk writable again" in caught.value.hint
    await back_up(url, tmp_path / "backup")
    monkeypatch.undo()
    await restore_backup(f"sqlite:///{tmp_path}/b.db", tmp_path / "backup")
    held = await read_all_rows(f"sqlite:///{tmp_path}/b.db")
    assert {name for name in held if held[name] != before[name]} == (
        {"tenants"} if journal else set()
    )
    if journal:
        copy.close()


async def test_full_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    await fill(url, tmp_path)
    monkeypatch.setattr(os, "fsync", _full)
    with pytest.raises(BackupRefused, match="No space left") as caught:
        await back_up(url, tmp_path / "backup")
    assert caught.value.hint.startswith("free space on that disk")
    assert not [path for path in tmp_path.iterdir() if "backup" in path.name]


def _full(_handle: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
