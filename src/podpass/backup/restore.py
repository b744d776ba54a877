"""Restore a backup into a database. The complete file is checked first.

Then everything is restored, or nothing. A cluster is restored in one transaction, without a restart.
"""

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import (
    TEXT,
    Connection,
    Table,
    TypeDecorator,
    cast,
    delete,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, StatementError

from podpass.backup import archive, model, sealing_check, tables
from podpass.backup.model import BackupRefused, InvalidBackupFile, Manifest, Progress
from podpass.backup.tables import STORES, TOPICS, backed_up_tables, reflect_tables
from podpass.database import Database, migrate

_MAX_SECONDS = 24 * 3600.0
_BATCH_ROWS = 500
_INVALID_ROW_ERRORS = (IntegrityError, DataError, ProgrammingError)


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
    check_revisions(manifest)
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
        replace_stores(connection, manifest, parts, progress, replace=replaces)
        if sealing_key is not None and "authority" in manifest.stores:
            sealing_check.check(connection, sealing_key, "the backup's")

    async with Database(url) as database:
        await database.write(step, topics=TOPICS, seconds=_MAX_SECONDS)


class _AnyText(TypeDecorator[str]):
    """A SQLite text column that accepts invalid UTF-8 as bytes, so that a restore keeps it unchanged."""

    impl = TEXT
    cache_ok = True

    def bind_expression(self, bindvalue: Any) -> Any:
        return cast(bindvalue, TEXT)


def check_revisions(manifest: Manifest) -> None:
    """Check that this podpass knows every store and revision of a backup. Raises InvalidBackupFile."""
    for name, store in manifest.stores.items():
        head = STORES[name][1].head if name in STORES else "none"
        if name not in STORES or store.revision > head:
            raise InvalidBackupFile(
                f"the backup is of a newer podpass ({manifest.podpass}): its {name} has schema"
                f" {store.revision}, this podpass reads up to {head}",
                hint="restore it with that podpass, or a newer one; nothing was changed",
            )


def replace_stores(
    connection: Connection,
    manifest: Manifest,
    parts: Iterable[tuple[str, bytes]],
    progress: Progress,
    *,
    replace: bool,
) -> None:
    """Replace the content of the stores in a backup.

    The rows of an older podpass are written into tables of their revision, which are then upgraded. Stores
    that are not in the backup stay unchanged. Raises BackupRefused for a database that has rows, unless
    `replace` is set; InvalidBackupFile, DatabaseUnusable. The caller must roll back after an error.
    """
    check_revisions(manifest)
    for name in manifest.stores:
        schema, chain = STORES[name]
        migrate.prepare(connection, schema, chain)
    if not replace:
        _check_empty(connection, manifest)
    targets = {name: _clear(connection, name, one) for name, one in manifest.stores.items()}
    filled: Counter[str] = Counter()
    try:
        for name, data in parts:
            found = model.table_of(name)
            if found is not None:
                owner, table = found
                columns = manifest.stores[owner].tables[table].columns
                filled[table] += _insert_rows(connection, targets[owner].get(table), columns, data)
                progress(table, filled[table])
    except StatementError as exc:
        if isinstance(exc, DBAPIError) and not isinstance(exc, _INVALID_ROW_ERRORS):
            raise
        raise InvalidBackupFile("the database rejects rows of the backup") from exc
    for name, store in manifest.stores.items():
        _advance_sequences(connection, targets[name].values())
        _, chain = STORES[name]
        if store.revision != chain.head:
            migrate.upgrade(connection, chain, store.revision, chain.head)


def _check_empty(connection: Connection, manifest: Manifest) -> None:
    for name in manifest.stores:
        for table in backed_up_tables(connection, name):
            if connection.execute(select(table).limit(1)).first() is not None:
                raise BackupRefused(
                    f"the database is not empty: table {table.name} has rows",
                    hint="back it up, then restore with --replace; nothing was changed",
                )


def _clear(connection: Connection, name: str, store: model.Store) -> Mapping[str, Table]:
    """Delete the rows of a store, or recreate its tables at an older revision of the backup."""
    _, chain = STORES[name]
    for table in reversed(reflect_tables(connection, name)):
        # Concurrent readers see the old rows until the commit. Dropping the tables would make them wait.
        if store.revision == chain.head:
            connection.execute(delete(table))
        else:
            table.drop(connection)
    if store.revision != chain.head:
        migrate.upgrade(connection, chain, None, store.revision)
    found = {table.name: table for table in backed_up_tables(connection, name)}
    if connection.dialect.name == "sqlite":
        for column in (one for table in found.values() for one in table.columns):
            if isinstance(column.type, TEXT):
                column.type = _AnyText()
    return found


def _insert_rows(
    connection: Connection, table: Table | None, columns: Sequence[str], data: bytes
) -> int:
    if table is None or set(columns) - set(table.columns.keys()):
        raise InvalidBackupFile("a table of the backup does not match its schema revision")
    count = 0
    # One batch in memory: a part of sixteen megabytes may have millions of short rows.
    lines = io.BytesIO(data)
    while rows := [tables.read(line, columns) for line in islice(lines, _BATCH_ROWS)]:
        connection.execute(insert(table), rows)
        count += len(rows)
    return count


def _advance_sequences(connection: Connection, filled: Iterable[Table]) -> None:
    """Set PostgreSQL sequences to the last restored number. SQLite needs no such step."""
    if connection.dialect.name != "postgresql":
        return
    for table in filled:
        column = table.autoincrement_column
        if column is None:
            continue
        names = {"table": table.name, "column": column.name}
        sequence = connection.scalar(text("SELECT pg_get_serial_sequence(:table, :column)"), names)
        last = connection.scalar(select(func.max(column)))
        if sequence is not None and last is not None:
            connection.execute(
                text("SELECT setval(:sequence, :last)"), {"sequence": sequence, "last": last}
            )
