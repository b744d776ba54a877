"""Read a database into a backup: every row of one snapshot, without blocking writers."""

from collections.abc import Iterable

from sqlalchemy import Connection, Table, inspect, select

from podpass.backup import model, row_format
from podpass.backup.archive import PART_BYTES, Writer
from podpass.backup.model import BackupRefused, Progress
from podpass.backup.tables import STORES, backed_up_tables
from podpass.database import migrate

_BATCH_ROWS = 500
_STAMP_PREFIX = "alembic_version_"


def write(connection: Connection, archive: Writer, progress: Progress) -> dict[str, model.Store]:
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
        lines += row_format.write(row)
        count += 1
        if len(lines) >= PART_BYTES:
            yield count, bytes(lines)
            lines, count = bytearray(), 0
    if count:
        yield count, bytes(lines)
