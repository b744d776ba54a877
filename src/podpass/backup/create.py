"""Create a backup: a consistent snapshot of a database."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Connection

from podpass import __version__, files
from podpass.backup import database_reader, sealing_check
from podpass.backup.archive import Writer
from podpass.backup.model import BackupRefused, Manifest, Progress, Store
from podpass.clock import Clock
from podpass.database import Database

# A day, because a backup may be large. Writers do not wait for the backup.
_MAX_SECONDS = 24 * 3600.0


async def back_up_database(
    url: str, path: Path, progress: Progress, clock: Clock, sealing_key: Path | None = None
) -> Manifest:
    """Back up a database into a new file.

    The file records only the fingerprint of `sealing_key`, so that a restore can check its key. It must be
    the key that opens the sealed values of the database. Raises BackupRefused, DatabaseUnusable,
    DatabaseFailed. No file remains after an error.
    """
    sealing = {} if sealing_key is None else {"authority": sealing_check.fingerprint(sealing_key)}
    with create_file(path) as stream:
        writer, stores = await write_rows(url, stream, progress, sealing_key)
        manifest = build_manifest(writer, stores, clock, sealing=sealing)
        writer.finish(manifest)
    return manifest


async def write_rows(
    url: str, stream: BinaryIO, progress: Progress, sealing_key: Path | None = None
) -> tuple[Writer, dict[str, Store]]:
    """Write the rows of all stores; return the archive, which is still open, and its stores."""
    async with Database(url, make=False) as database:

        def step(connection: Connection) -> tuple[Writer, dict[str, Store]]:
            if sealing_key is not None:
                sealing_check.check(connection, sealing_key, "the database's")
            writer = Writer(stream)
            return writer, database_reader.write(connection, writer, progress)

        return await database.read(step, seconds=_MAX_SECONDS, once=True)


def build_manifest(
    writer: Writer,
    stores: dict[str, Store],
    clock: Clock,
    *,
    sealing: dict[str, str],
    facts: dict[str, str] | None = None,
) -> Manifest:
    """Return the manifest of an archive with all its parts."""
    return Manifest(
        podpass=__version__,
        created=datetime.fromtimestamp(clock(), tz=UTC).isoformat(timespec="seconds"),
        stores=stores,
        parts=tuple(writer.parts),
        sealing=sealing,
        instance=facts,
    )


@contextmanager
def create_file(path: Path) -> Iterator[BinaryIO]:
    """Create a file that only its owner can read. It gets its name when it is complete and on the disk."""
    if path.exists():
        raise BackupRefused(f"{path} exists already", hint="use the path of a new file")
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, files.PRIVATE_FILE)
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(path)
            files.sync_folder(path.parent)
        finally:
            part.unlink(missing_ok=True)
    except OSError as exc:
        full = exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise BackupRefused(
            f"{path} cannot be written: {exc.strerror}",
            hint="free space on that disk, or use a path on another disk; no file remains"
            if full
            else "use a path in an existing directory that you can write to",
        ) from exc
