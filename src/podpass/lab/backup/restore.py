"""Restore a backup of a local instance. The complete file is checked first.

Everything is restored, or nothing. A running instance is restored in one transaction, without a restart. For
a stopped instance, a new database and the files are prepared in a separate directory; renaming that directory
completes the restore.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import delete

from podpass import files
from podpass.backup import archive, model
from podpass.backup import restore as core
from podpass.backup.model import BackupRefused, InvalidBackupFile, Manifest, Progress
from podpass.database import Database
from podpass.directory.store.schema import users
from podpass.lab import services
from podpass.lab.backup import instance
from podpass.lab.data import finish_restore
from podpass.lab.data.datadir import (
    DataDir,
    InstanceConfig,
    load_config,
    prepare,
    save_config,
    write_version,
)
from podpass.lab.data.lock import Lock, check_lock_file

_STAGING = "restore.part"


async def restore_instance(
    data_dir: DataDir,
    path: Path,
    progress: Progress,
    *,
    replaces: bool,
    trusts_author: Callable[[Sequence[str]], bool],
) -> tuple[Manifest, bool]:
    """Restore into a data directory; return the manifest, and whether the instance is running.

    `trusts_author` is asked with the parts by which the author of the backup could run programs. Raises
    InvalidBackupFile, BackupRefused, DataDirError, DatabaseFailed, with nothing changed.
    """
    services.add_backup_tables()
    manifest = core.read_checked(path)
    instance.check_instance(manifest)
    prepare(data_dir)
    with _lock_instance(data_dir) as is_stopped:
        _check_trust(instance.parts_of_trust(manifest, with_files=is_stopped), trusts_author)
        if is_stopped:
            await _restore_stopped(data_dir, path, manifest, progress, replaces=replaces)
        else:
            await _restore_running(data_dir, path, manifest, progress, replaces=replaces)
    return manifest, not is_stopped


def _check_trust(found: Sequence[str], trusts_author: Callable[[Sequence[str]], bool]) -> None:
    # The author of an archive may have put in a pod or an image that runs any program as this user, or the
    # password or the role of an administrator, who may create such a pod.
    if not trusts_author(found):
        raise BackupRefused(
            f"the backup contains {', '.join(found)}: its author could run programs as you",
            hint="if you trust the author of the file, pass --trust; nothing was changed",
        )


async def _restore_running(
    data_dir: DataDir, path: Path, manifest: Manifest, progress: Progress, *, replaces: bool
) -> None:
    if not instance.is_same(data_dir, manifest):
        raise BackupRefused(
            "the backup is of another instance than the running one",
            hint="stop the running instance first: `podpass down`",
        )
    keys = _read_keys(path, manifest)
    for name, data in keys.items():
        if not data_dir.path(name).exists() or data_dir.path(name).read_bytes() != data:
            raise BackupRefused(
                f"the backup has another {name} than the running instance",
                hint="stop the instance first: `podpass down`",
            )
    instance.check_sealing(data_dir, manifest)
    await core.restore_rows(
        instance.database_url(data_dir), path, manifest, progress, replaces=replaces
    )


async def _restore_stopped(
    data_dir: DataDir, path: Path, manifest: Manifest, progress: Progress, *, replaces: bool
) -> None:
    finish_restore.finish(data_dir)
    if data_dir.path(instance.DATABASE).exists() and not replaces:
        raise BackupRefused(
            f"{data_dir.root} already holds an instance",
            hint="back it up, then restore with --replace, or use another --data-dir D",
        )
    # Marks the directory as one of podpass, even if the check fails: the user can then copy a key into it.
    write_version(data_dir)
    instance.check_sealing(data_dir, manifest)
    staging = DataDir(data_dir.path(_STAGING))
    shutil.rmtree(staging.root, ignore_errors=True)
    try:
        await _stage(data_dir, staging, path, manifest, progress)
        staging.root.rename(finish_restore.pending_folder(data_dir))
    finally:
        shutil.rmtree(staging.root, ignore_errors=True)
    files.sync_folder(data_dir.root)
    finish_restore.finish(data_dir)


async def _stage(
    data_dir: DataDir, staging: DataDir, path: Path, manifest: Manifest, progress: Progress
) -> None:
    files.create_private_folder(staging.root)
    await core.restore_rows(instance.database_url(staging), path, manifest, progress, replaces=True)
    _write_files(path, manifest, staging)
    if instance.INSTANCE in manifest.files:
        # The next start reads this file, and only the manifest has been checked.
        if not instance.is_same(staging, manifest):
            raise InvalidBackupFile("the instance file of the backup differs from its manifest")
        return
    if instance.is_same(data_dir, manifest):
        return
    mine = load_config(data_dir) if data_dir.path(instance.INSTANCE).exists() else None
    facts = instance.restored_config(mine, manifest)
    save_config(staging, facts)
    await _delete_administrator(staging, facts)


async def _delete_administrator(staging: DataDir, facts: InstanceConfig) -> None:
    """Delete the administrator. The next start recreates it with the password of this instance."""
    statement = delete(users).where(users.c.id == facts.admin_id)
    async with Database(instance.database_url(staging)) as database:
        await database.write(lambda connection: connection.execute(statement))


def _read_keys(path: Path, manifest: Manifest) -> Mapping[str, bytes]:
    """Read the keys of a backup into memory; `check_instance` has limited their size."""
    found: dict[str, bytes] = {}
    for name, data in archive.read_parts(path, manifest):
        file = model.file_of(name)
        if file is not None and file.startswith("keys/"):
            found[file] = found.get(file, b"") + data
    return found


def _write_files(path: Path, manifest: Manifest, staging: DataDir) -> None:
    """Write the files of a backup, with at most one part in memory."""
    written: set[Path] = set()
    for name, data in archive.read_parts(path, manifest):
        file = model.file_of(name)
        if file is not None:
            target = staging.path(file)
            files.create_private_folder(target.parent)
            with files.open_private(target) as stream:
                stream.write(data)
            written.add(target)
    for target in written:
        files.sync(target)


@contextmanager
def _lock_instance(data_dir: DataDir) -> Iterator[bool]:
    """Hold the instance's lock, so that it cannot start. Yield false if it is running."""
    lock = Lock(data_dir.lock_file)
    if not lock.acquire():
        check_lock_file(data_dir.lock_file)
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
