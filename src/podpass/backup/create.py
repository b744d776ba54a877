"""Take a backup: one moment of a database, and with a local instance what belongs to it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Connection

from podpass import __version__, files
from podpass.backup import database_reader, instance, sealing_check
from podpass.backup.archive import Writer
from podpass.backup.model import BackupRefused, Manifest, Progress, Store
from podpass.clock import Clock
from podpass.database import Database
from podpass.local.datadir import DataDir

# However large it is: nobody waits for it, writers least of all.
_SECONDS = 24 * 3600.0


async def of_database(
    url: str, path: Path, progress: Progress, clock: Clock, sealing_key: Path | None = None
) -> Manifest:
    """Back a database up into a new file.

    Shapes:  of `sealing_key` only the fingerprint goes in, so that a restore knows which one it needs; it
             has to be the one that opens what the database has sealed.
    Errors:  BackupRefused, DatabaseUnusable, DatabaseFailed; no file is left behind.
    """
    sealing = {} if sealing_key is None else {"authority": instance.fingerprint(sealing_key)}
    with _new(path) as stream:
        writer, stores = await _rows(url, stream, progress, sealing_key)
        manifest = _manifest(writer, stores, clock, sealing=sealing)
        writer.finish(manifest)
    return manifest


async def of_instance(
    data_dir: DataDir, path: Path, progress: Progress, clock: Clock, *, with_keys: bool
) -> Manifest:
    """Back a local instance up into a new file, whether it runs or not.

    Errors:  BackupRefused, DatabaseUnusable, DatabaseFailed; no file is left behind.
    """
    instance.check_there(data_dir)
    with _new(path) as stream:
        writer, stores = await _rows(instance.url(data_dir), stream, progress)
        instance.add_files(writer, data_dir, with_keys=with_keys)
        manifest = _manifest(
            writer,
            stores,
            clock,
            sealing=instance.sealing(data_dir),
            facts=instance.facts(data_dir),
        )
        writer.finish(manifest)
    return manifest


async def _rows(
    url: str, stream: BinaryIO, progress: Progress, sealing_key: Path | None = None
) -> tuple[Writer, dict[str, Store]]:
    async with Database(url, make=False) as database:

        def step(connection: Connection) -> tuple[Writer, dict[str, Store]]:
            if sealing_key is not None:
                sealing_check.check(connection, sealing_key, "the database's")
            writer = Writer(stream)
            return writer, database_reader.write(connection, writer, progress)

        return await database.read(step, seconds=_SECONDS, once=True)


def _manifest(
    writer: Writer,
    stores: dict[str, Store],
    clock: Clock,
    *,
    sealing: dict[str, str],
    facts: dict[str, str] | None = None,
) -> Manifest:
    return Manifest(
        podpass=__version__,
        created=datetime.fromtimestamp(clock(), tz=UTC).isoformat(timespec="seconds"),
        stores=stores,
        parts=tuple(writer.parts),
        sealing=sealing,
        instance=facts,
    )


@contextmanager
def _new(path: Path) -> Iterator[BinaryIO]:
    """Make a file that is there when it is whole, and on the disk, for its owner's eyes only."""
    if path.exists():
        raise BackupRefused(f"{path} is there already", hint="name a file that is not there yet")
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
            hint="make room there, or name a file on another disk; nothing was left behind"
            if full
            else "name a file in a folder of yours",
        ) from exc
