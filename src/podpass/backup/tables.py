"""The tables of a backup: those of every store, except sign-ins in progress.

A local instance adds the stores of its services. Without them, a database that has one is refused.
"""

from sqlalchemy import Connection, MetaData, Table, inspect

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
