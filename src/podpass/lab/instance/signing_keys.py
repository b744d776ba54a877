"""Copy the sealed signing keys of the token service out of a database and into an empty one.

Tokens that clients have cached stay valid when a pod with an empty folder replaces another one. The copied
values are sealed: without the sealing key they cannot be used.
"""

import base64
from typing import Any

import orjson
from sqlalchemy import Connection, Table, insert, select

from podpass.database import Database
from podpass.errors import Error
from podpass.exchange.schema import seals, signing_keys
from podpass.exchange.signing.key_set import prepare_tables

_TABLES = (signing_keys, seals)


class DamagedCopy(Error):
    """The copy of the signing keys cannot be read."""

    code = "signing_keys_copy_damaged"


async def copy_out(database: Database) -> bytes:
    """Return the rows of the signing keys as JSON."""

    def read(connection: Connection) -> dict[str, list[dict[str, Any]]]:
        return {str(table.name): _read_rows(connection, table) for table in _TABLES}

    return orjson.dumps(await database.read(read), default=_encode, option=orjson.OPT_SORT_KEYS)


async def copy_in(database: Database, copy: bytes) -> bool:
    """Write the rows of a copy into a database without keys; return whether it had none.

    Raises DamagedCopy.
    """
    try:
        tables = orjson.loads(copy)
        rows = {
            table: [
                {**row, "sealed": base64.b64decode(row["sealed"])} for row in tables[table.name]
            ]
            for table in _TABLES
        }
    except (ValueError, KeyError, TypeError) as exc:
        raise DamagedCopy("the copy of the signing keys is damaged") from exc
    await prepare_tables(database)

    def write(connection: Connection) -> bool:
        if connection.execute(select(signing_keys.c.kid)).first() is not None:
            return False
        for table, found in rows.items():
            if found:
                connection.execute(insert(table), found)
        return True

    return await database.write(write)


def _read_rows(connection: Connection, table: Table) -> list[dict[str, Any]]:
    names = [str(name) for name in table.c.keys()]  # noqa: SIM118 columns are no mapping; plain keys for JSON
    rows = connection.execute(select(table).order_by(*table.primary_key))
    return [dict(zip(names, row, strict=True)) for row in rows]


def _encode(value: object) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError
