"""From a database into a backup: every row of one moment, while others go on writing."""

from collections.abc import Iterable

from sqlalchemy import Connection, Table, inspect, select

from podpass.backup import model, row_format
from podpass.backup.archive import PART_BYTES, Writer
from podpass.backup.model import BackupRefused, Progress
from podpass.backup.tables import STORES, kept
from podpass.database import migrate

_ROWS_AT_ONCE = 500
_STAMPS = "alembic_version_"


def write(connection: Connection, archive: Writer, progress: Progress) -> dict[str, model.Store]:
    """Write every store that a database has, and say what there was of each.

    Shapes:  `progress` is told of each table with its rows, and of one that takes long more than once.
    Errors:  BackupRefused.
    """
    found = {}
    _check_known(connection)
    for name, (_, chain) in STORES.items():
        revision = migrate.recorded(connection, chain)
        if revision is None:
            continue
        tables = {
            str(table.name): model.Table(
                columns=tuple(str(column.name) for column in table.columns),
                rows=_write_table(
                    connection, archive, f"rows/{name}/{table.name}", table, progress
                ),
            )
            for table in kept(connection, name)
        }
        found[name] = model.Store(revision=revision, tables=tables)
    if not found:
        raise BackupRefused(
            "the database has nothing of this podpass",
            hint="start this podpass on it once, which brings the database of an older one up to date",
        )
    return found


def _check_known(connection: Connection) -> None:
    """Refuse a newer database: what this podpass does not know of would be missing, and nobody told."""
    known = {chain.stamp.name: chain for _, chain in STORES.values()}
    for name in inspect(connection).get_table_names():
        chain = known.get(name)
        revision = chain and migrate.recorded(connection, chain)
        newer = revision and chain and revision > chain.head
        if newer or (name.startswith(_STAMPS) and chain is None):
            store = name.removeprefix(_STAMPS)
            raise BackupRefused(
                f"the database is of a newer podpass: this one does not know its {store}"
                + (f" of schema {revision}" if revision else ""),
                hint="back it up with the podpass that serves it, or a newer one",
            )


def _write_table(
    connection: Connection, archive: Writer, name: str, table: Table, progress: Progress
) -> int:
    statement = select(table).execution_options(yield_per=_ROWS_AT_ONCE)
    count = 0
    for number, (rows, piece) in enumerate(_pieces(connection.execute(statement)), start=1):
        count += rows
        archive.add(f"{name}/{number:06d}.jsonl", piece)
        progress(table.name, count)
    if not count:
        progress(table.name, 0)
    return count


def _pieces(rows: Iterable[Iterable[object]]) -> Iterable[tuple[int, bytes]]:
    """Give rows as lines, as many at a time as make one part."""
    written, count = bytearray(), 0
    for row in rows:
        written += row_format.write(row)
        count += 1
        if len(written) >= PART_BYTES:
            yield count, bytes(written)
            written, count = bytearray(), 0
    if count:
        yield count, bytes(written)
