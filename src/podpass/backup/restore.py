"""Restore a backup: checked to its end first, then all of it at once, or nothing.

A running instance or a cluster gets it in one transaction and goes on. Of an instance that does not run, a
new database and the files are made ready in a folder beside; giving that its name is when it happens.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, delete

from podpass import files
from podpass.backup import archive, database_writer, instance, model, sealing_check
from podpass.backup.model import BackupRefused, BackupUnfit, Manifest, Progress
from podpass.backup.tables import TOPICS
from podpass.database import Database
from podpass.directory.store.schema import users
from podpass.local import finish_restore
from podpass.local.administrator import admin_id
from podpass.local.datadir import DataDir, Facts, claim, load_facts, prepare, save_facts
from podpass.local.lock import Lock

_SECONDS = 24 * 3600.0
_MAKING = "restore.part"


async def to_database(
    url: str, path: Path, progress: Progress, *, replaces: bool, sealing_key: Path | None = None
) -> Manifest:
    """Restore into a database; every replica hears of it.

    Errors:  BackupUnfit, BackupRefused, DatabaseUnusable, DatabaseFailed, with nothing changed.
    """
    manifest = _checked(path)
    if sealing_key is not None:
        here = {"authority": instance.fingerprint(sealing_key)}
        theirs = {name: value for name, value in manifest.sealing.items() if "authority" in name}
        if set(theirs.values()) - set(here.values()):
            raise BackupRefused(
                f"the backup's keys are not sealed with {sealing_key}", hint="name the key of then"
            )
    await _fill(url, path, manifest, progress, replaces=replaces, sealing_key=sealing_key)
    return manifest


async def to_instance(
    data_dir: DataDir, path: Path, progress: Progress, *, replaces: bool
) -> tuple[Manifest, bool]:
    """Restore into a data dir, and tell whether its instance runs: then its files stay as they are.

    Errors:  BackupUnfit, BackupRefused, DataDirError, DatabaseFailed, with nothing changed.
    """
    manifest = _checked(path)
    instance.check_told(manifest)
    prepare(data_dir)
    with _alone(data_dir) as alone:
        if alone:
            await _to_stopped(data_dir, path, manifest, progress, replaces=replaces)
        else:
            await _to_running(data_dir, path, manifest, progress, replaces=replaces)
    return manifest, not alone


def _checked(path: Path) -> Manifest:
    manifest = archive.check(path)
    database_writer.check(manifest)
    return manifest


async def _fill(
    url: str,
    path: Path,
    manifest: Manifest,
    progress: Progress,
    *,
    replaces: bool,
    sealing_key: Path | None = None,
) -> None:
    def step(connection: Connection) -> None:
        parts = archive.parts(path, manifest)
        database_writer.write(connection, manifest, parts, progress, replace=replaces)
        if sealing_key is not None and "authority" in manifest.stores:
            sealing_check.check(connection, sealing_key, "the backup's")

    async with Database(url) as database:
        await database.write(step, tells=TOPICS, seconds=_SECONDS)


async def _to_running(
    data_dir: DataDir, path: Path, manifest: Manifest, progress: Progress, *, replaces: bool
) -> None:
    if not instance.is_same(data_dir, manifest):
        raise BackupRefused(
            "the backup is of another instance than the one that runs here",
            hint="stop this one first: `podpass down`",
        )
    keys = _pieces(path, manifest, "keys/")
    for name, data in keys.items():
        if not data_dir.path(name).exists() or data_dir.path(name).read_bytes() != data:
            raise BackupRefused(
                f"the backup brings another {name} than the instance runs with",
                hint="stop it first: `podpass down`",
            )
    instance.check_sealing(data_dir, manifest)
    await _fill(instance.url(data_dir), path, manifest, progress, replaces=replaces)


async def _to_stopped(
    data_dir: DataDir, path: Path, manifest: Manifest, progress: Progress, *, replaces: bool
) -> None:
    finish_restore.finish(data_dir)
    if data_dir.path(instance.DATABASE).exists() and not replaces:
        raise BackupRefused(
            f"{data_dir.root} holds an instance already",
            hint="take a backup of it, then restore with --replace, or name another --data-dir D",
        )
    # Ours from here on, so that a key can be put into it.
    claim(data_dir)
    instance.check_sealing(data_dir, manifest)
    making = DataDir(data_dir.path(_MAKING))
    shutil.rmtree(making.root, ignore_errors=True)
    try:
        await _make_ready(data_dir, making, path, manifest, progress)
        making.root.rename(finish_restore.folder(data_dir))
    finally:
        shutil.rmtree(making.root, ignore_errors=True)
    files.sync_folder(data_dir.root)
    finish_restore.finish(data_dir)


async def _make_ready(
    data_dir: DataDir, making: DataDir, path: Path, manifest: Manifest, progress: Progress
) -> None:
    files.private_folder(making.root)
    await _fill(instance.url(making), path, manifest, progress, replaces=True)
    for name, data in _pieces(path, manifest).items():
        files.private_folder(making.path(name).parent)
        files.write_private(making.path(name), data)
    if instance.INSTANCE in manifest.files:
        # The file is what the next start believes; only the manifest was checked.
        if not instance.is_same(making, manifest):
            raise BackupUnfit("the backup's instance is not the one that its manifest tells of")
        return
    if instance.is_same(data_dir, manifest):
        return
    mine = load_facts(data_dir) if data_dir.path(instance.INSTANCE).exists() else None
    facts = instance.renamed(mine, manifest)
    save_facts(making, facts)
    await _forget_password(making, facts)


async def _forget_password(making: DataDir, facts: Facts) -> None:
    """Let the next start make the administrator anew: the instance has a password of its own."""
    gone = delete(users).where(users.c.id == admin_id(facts))
    async with Database(instance.url(making)) as database:
        await database.write(lambda connection: connection.execute(gone))


def _pieces(path: Path, manifest: Manifest, beginning: str = "") -> Mapping[str, bytes]:
    """Read the files that a backup brings; they are those of one laptop, not rows by the million."""
    found: dict[str, bytes] = {}
    for name, data in archive.parts(path, manifest):
        file = model.file_of(name)
        if file is not None and file.startswith(beginning):
            found[file] = found.get(file, b"") + data
    return found


@contextmanager
def _alone(data_dir: DataDir) -> Iterator[bool]:
    """Take the place of the instance, so that none starts meanwhile; or tell that one runs."""
    lock = Lock(data_dir.lock_file)
    if not lock.acquire():
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
