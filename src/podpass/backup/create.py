"""Create a backup: a consistent snapshot of a database."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Connection, Table, inspect, select

from podpass import __version__, files
from podpass.backup import model, sealing_check, tables
from podpass.backup.archive import PART_BYTES, Writer
from podpass.backup.model import BackupRefused, Manifest, Progress, Store
from podpass.backup.tables import STORES, backed_up_tables
from podpass.clock import Clock
from podpass.database import Database, migrate

# A day, because a backup may be large. Writers do not wait for the backup.
_MAX_SECONDS = 24 * 3600.0
_BATCH_ROWS = 500
_STAMP_PREFIX = "alembic_version_"


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
            return writer, write_stores(connection, writer, progress)

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


def write_stores(
    connection: Connection, archive: Writer, progress: Progress
) -> dict[str, model.Store]:
    """Write every store of a database, and describe each for the manifest.

    `progress` is called with each table and its row count, several times for a large table. Raises
    BackupRefused.
    """
    found = {}
    _check_known(connection)
    for name, (_, chain) in STORES.items():
        revision = migrate.current_revision(connection, chain)
        if revision is None:
            continue
        tables = {
            str(table.name): model.Table(
                columns=tuple(str(column.name) for column in table.columns),
                rows=_write_table(
                    connection, archive, f"rows/{name}/{table.name}", table, progress
                ),
            )
            for table in backed_up_tables(connection, name)
        }
        found[name] = model.Store(revision=revision, tables=tables)
    if not found:
        raise BackupRefused(
            "the database has no tables of this podpass",
            hint="start this podpass on it once, which creates or upgrades its tables",
        )
    return found


def _check_known(connection: Connection) -> None:
    """Reject the database of a newer podpass: its unknown tables would be missing from the backup."""
    known = {chain.stamp.name: chain for _, chain in STORES.values()}
    for name in inspect(connection).get_table_names():
        chain = known.get(name)
        revision = chain and migrate.current_revision(connection, chain)
        newer = revision and chain and revision > chain.head
        if newer or (name.startswith(_STAMP_PREFIX) and chain is None):
            store = name.removeprefix(_STAMP_PREFIX)
            raise BackupRefused(
                f"the database is of a newer podpass: this one does not know its {store}"
                + (f" of schema {revision}" if revision else ""),
                hint="back it up with the podpass that uses it, or a newer one",
            )


def _write_table(
    connection: Connection, archive: Writer, name: str, table: Table, progress: Progress
) -> int:
    statement = select(table).execution_options(yield_per=_BATCH_ROWS)
    count = 0
    for number, (rows, piece) in enumerate(
        _serialize_in_parts(connection.execute(statement)), start=1
    ):
        count += rows
        archive.add(f"{name}/{number:06d}.jsonl", piece)
        progress(table.name, count)
    if not count:
        progress(table.name, 0)
    return count


def _serialize_in_parts(rows: Iterable[Iterable[object]]) -> Iterable[tuple[int, bytes]]:
    """Serialize rows into pieces, each of the size of one part. Yield the row count with each piece."""
    lines, count = bytearray(), 0
    for row in rows:
        lines += tables.write(row)
        count += 1
        if len(lines) >= PART_BYTES:
            yield count, bytes(lines)
            lines, count = bytearray(), 0
    if count:
        yield count, bytes(lines)
