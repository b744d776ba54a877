"""From a backup into a database: all of it in one transaction, whatever was there before goes."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, Table, delete, func, insert, select, text
from sqlalchemy.exc import IntegrityError

from podpass.backup import model, row_format
from podpass.backup.model import BackupRefused, BackupUnfit, Manifest, Progress
from podpass.backup.tables import STORES, kept, tables
from podpass.database import migrate

_ROWS_AT_ONCE = 500


def check(manifest: Manifest) -> None:
    """Check that this podpass knows what a backup holds.

    Errors:  BackupUnfit.
    """
    for name, store in manifest.stores.items():
        head = STORES[name][1].head if name in STORES else "none"
        if name not in STORES or store.revision > head:
            raise BackupUnfit(
                f"the backup is of a newer podpass ({manifest.podpass}): its {name} has schema"
                f" {store.revision}, this podpass reads up to {head}",
                hint="restore it with that podpass, or a newer one; nothing was changed",
            )


def write(
    connection: Connection,
    manifest: Manifest,
    parts: Iterable[tuple[str, bytes]],
    progress: Progress,
    *,
    replace: bool,
) -> None:
    """Fill the stores of a database with what a backup holds of them.

    Shapes:  a backup of an older podpass is written into tables of its own time, which are then brought up
             to date. A store of which the backup holds nothing stays as it is.
    Errors:  BackupRefused for a database that holds something, unless it may be replaced; BackupUnfit,
             DatabaseUnusable. The caller's transaction goes back with any of them.
    """
    check(manifest)
    for name in manifest.stores:
        schema, chain = STORES[name]
        migrate.prepare(connection, schema, chain)
    if not replace:
        _check_empty(connection, manifest)
    room = {name: _make_room(connection, name, one) for name, one in manifest.stores.items()}
    filled: Counter[str] = Counter()
    try:
        for name, data in parts:
            found = model.table_of(name)
            if found is not None:
                owner, table = found
                columns = manifest.stores[owner].tables[table].columns
                filled[table] += _fill(connection, room[owner].get(table), columns, data)
                progress(table, filled[table])
    except IntegrityError as exc:
        raise BackupUnfit("rows of the backup do not fit together") from exc
    for name, store in manifest.stores.items():
        _count_on(connection, room[name].values())
        _, chain = STORES[name]
        if store.revision != chain.head:
            migrate.climb(connection, chain, store.revision, chain.head)


def _check_empty(connection: Connection, manifest: Manifest) -> None:
    for name in manifest.stores:
        for table in kept(connection, name):
            if connection.execute(select(table).limit(1)).first() is not None:
                raise BackupRefused(
                    f"the database is not empty: table {table.name} has rows",
                    hint="take a backup of it, then restore with --replace; nothing was changed",
                )


def _make_room(connection: Connection, name: str, store: model.Store) -> Mapping[str, Table]:
    """Empty a store's tables, or make them anew where the backup's are older."""
    _, chain = STORES[name]
    for table in reversed(tables(connection, name)):
        # Whoever reads meanwhile sees the old rows to the end: dropped tables would make them wait.
        if store.revision == chain.head:
            connection.execute(delete(table))
        else:
            table.drop(connection)
    if store.revision != chain.head:
        migrate.climb(connection, chain, None, store.revision)
    return {table.name: table for table in kept(connection, name)}


def _fill(connection: Connection, table: Table | None, columns: Sequence[str], data: bytes) -> int:
    if table is None or set(columns) - set(table.columns.keys()):
        raise BackupUnfit("a table of the backup is not one of the schema that it names")
    rows = [row_format.read(line, columns) for line in data.splitlines()]
    for begin in range(0, len(rows), _ROWS_AT_ONCE):
        connection.execute(insert(table), rows[begin : begin + _ROWS_AT_ONCE])
    return len(rows)


def _count_on(connection: Connection, filled: Iterable[Table]) -> None:
    """Let numbers that PostgreSQL gives go on after the last; SQLite looks for itself."""
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
