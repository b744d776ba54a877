"""The tables of a backup, those of every store except sign-ins in progress; and their rows as lines of JSON.

A local instance adds the stores of its services. Without them, a database that has one is refused.
"""

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from sqlalchemy import Connection, MetaData, Table, inspect

from podpass.backup.model import InvalidBackupFile
from podpass.database import MigrationChain
from podpass.directory.store import schema as directory
from podpass.directory.store.session import TOPIC as DIRECTORY
from podpass.exchange import schema as authority
from podpass.exchange.signing.key_store import TOPIC as KEYS

STORES: dict[str, tuple[MetaData, MigrationChain]] = {
    schema.CHAIN.name: (schema.metadata, schema.CHAIN) for schema in (directory, authority)
}
TOPICS = (DIRECTORY, KEYS)
# Sign-ins in progress expire after minutes, and a restore must not make a used code valid again.
_IN_PROGRESS = frozenset(
    table.name
    for table in (authority.codes, authority.devices, authority.wrong_codes, authority.used_forms)
)


def reflect_tables(connection: Connection, store: str) -> list[Table]:
    """Reflect the existing tables of a store, in an order that satisfies foreign keys."""
    schema, _ = STORES[store]
    existing = sorted(set(inspect(connection).get_table_names()) & set(schema.tables))
    found = MetaData()
    found.reflect(connection, only=existing)
    return [table for table in found.sorted_tables if table.name in existing]


def backed_up_tables(connection: Connection, store: str) -> list[Table]:
    """Reflect the tables of a store that belong in a backup."""
    return [table for table in reflect_tables(connection, store) if table.name not in _IN_PROGRESS]


_BYTES = "base64"


def write(values: Iterable[Any]) -> bytes:
    """Serialize the values of a row. Bytes, which JSON lacks, become an object."""
    return orjson.dumps([_to_json(value) for value in values]) + b"\n"


def read(line: bytes, columns: Sequence[str]) -> dict[str, Any]:
    """Parse a row. Raises InvalidBackupFile."""
    try:
        return dict(zip(columns, map(_from_json, orjson.loads(line)), strict=True))
    except (ValueError, TypeError, KeyError, binascii.Error) as exc:
        raise InvalidBackupFile("a row of the backup cannot be read") from exc


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return {_BYTES: base64.b64encode(value).decode()}
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        return base64.b64decode(value[_BYTES], validate=True)
    if isinstance(value, list):
        raise TypeError
    return value
