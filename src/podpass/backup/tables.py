"""What a backup holds of a database: every store's tables but those of what is under way."""

from sqlalchemy import Connection, MetaData, Table, inspect

from podpass.database import Chain
from podpass.directory.store import schema as directory
from podpass.directory.store.session import TOPIC as DIRECTORY
from podpass.exchange import schema as authority
from podpass.exchange.signing.key_store import TOPIC as KEYS
from podpass.resource import schema as vault

STORES: dict[str, tuple[MetaData, Chain]] = {
    schema.CHAIN.name: (schema.metadata, schema.CHAIN) for schema in (directory, authority, vault)
}
TOPICS = (DIRECTORY, KEYS)
# Sign-ins that wait for their second half: minutes old, and a code that was used must not come back.
_UNDER_WAY = frozenset(
    table.name for table in (authority.codes, authority.devices, authority.wrong_codes)
)


def tables(connection: Connection, store: str) -> list[Table]:
    """Describe a store's tables as they are, in an order in which they can be filled."""
    schema, _ = STORES[store]
    there = sorted(set(inspect(connection).get_table_names()) & set(schema.tables))
    found = MetaData()
    found.reflect(connection, only=there)
    return [table for table in found.sorted_tables if table.name in there]


def kept(connection: Connection, store: str) -> list[Table]:
    """Describe those of a store's tables that a backup holds."""
    return [table for table in tables(connection, store) if table.name not in _UNDER_WAY]
