"""Restore a backup into a database. The complete file is checked first.

Then everything is restored, or nothing. A cluster is restored in one transaction, without a restart.
"""

from pathlib import Path

from sqlalchemy import Connection

from podpass.backup import archive, database_writer, sealing_check
from podpass.backup.model import BackupRefused, Manifest, Progress
from podpass.backup.tables import TOPICS
from podpass.database import Database

_MAX_SECONDS = 24 * 3600.0


async def restore_database(
    url: str, path: Path, progress: Progress, *, replaces: bool, sealing_key: Path | None = None
) -> Manifest:
    """Restore into a database, and notify all replicas.

    Raises InvalidBackupFile, BackupRefused, DatabaseUnusable, DatabaseFailed, with nothing changed.
    """
    manifest = read_checked(path)
    if sealing_key is not None:
        given = {"authority": sealing_check.fingerprint(sealing_key)}
        required = {name: value for name, value in manifest.sealing.items() if "authority" in name}
        if set(required.values()) - set(given.values()):
            raise BackupRefused(
                f"the backup's keys are not sealed with {sealing_key}",
                hint="pass the sealing key that was in use when the backup was made",
            )
    await restore_rows(url, path, manifest, progress, replaces=replaces, sealing_key=sealing_key)
    return manifest


def read_checked(path: Path) -> Manifest:
    """Check a backup, and return its manifest. Raises InvalidBackupFile."""
    manifest = archive.check(path)
    database_writer.check(manifest)
    return manifest


async def restore_rows(
    url: str,
    path: Path,
    manifest: Manifest,
    progress: Progress,
    *,
    replaces: bool,
    sealing_key: Path | None = None,
) -> None:
    """Replace the rows of a database by those of a checked backup, in one transaction."""

    def step(connection: Connection) -> None:
        parts = archive.read_parts(path, manifest)
        database_writer.write(connection, manifest, parts, progress, replace=replaces)
        if sealing_key is not None and "authority" in manifest.stores:
            sealing_check.check(connection, sealing_key, "the backup's")

    async with Database(url) as database:
        await database.write(step, topics=TOPICS, seconds=_MAX_SECONDS)
