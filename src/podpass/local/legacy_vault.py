"""The vault of an older data dir, which had a file of its own: moved once into the instance's database."""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select

from podpass.database import Database
from podpass.files import remove
from podpass.resource.schema import CHAIN, metadata, secrets, versions


async def take_over(database: Database, old: Path) -> int:
    """Move what `old` holds, if it is there, and count the versions of secrets.

    A kill at any moment leaves them in the old file, or in both, and the next start goes on.

    Errors:  DatabaseUnusable, DatabaseFailed.
    """
    await database.prepare(metadata, CHAIN)
    if not old.exists():
        return 0
    async with Database(f"sqlite:///{old}") as theirs:
        await theirs.prepare(metadata, CHAIN)
        held = await theirs.read(_rows)
    moved = await database.write(lambda connection: _write(connection, held))
    for end in ("", "-wal", "-shm"):
        remove(old.with_name(old.name + end))
    return moved


def _rows(connection: Connection) -> list[list[dict[str, Any]]]:
    return [
        [dict(row) for row in connection.execute(select(table)).mappings()]
        for table in (secrets, versions)
    ]


def _write(connection: Connection, held: list[list[dict[str, Any]]]) -> int:
    # Rows are there when a start was killed before it removed the file.
    if connection.execute(select(secrets.c.key).limit(1)).first() is not None:
        return 0
    for table, rows in zip((secrets, versions), held, strict=True):
        if rows:
            connection.execute(insert(table), rows)
    return len(held[1])
