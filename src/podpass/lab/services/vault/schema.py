"""Tables of the vault. A change here needs a new migration in `migrations`.

The tables have the objects of every kind; `vault` is the collection: the vault's own id, and the kind. Names
are compared without case: `key` is the name in lower case.
"""

from sqlalchemy import (
    Column,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    MetaData,
    UniqueConstraint,
)

from podpass.database.column_types import Flag, Text, WholeNumber, strict_table
from podpass.database.migrate import MigrationChain

CHAIN = MigrationChain(name="vault", package="podpass.lab.services.vault.migrations", head="0002")
metadata = MetaData()
STORE = (metadata, CHAIN)

secrets = strict_table(
    "secrets",
    metadata,
    Column("vault", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("deleted", WholeNumber),
    Column("purge_on", WholeNumber),
    Column("settings", Text),
    Column("next_action", WholeNumber),
    Index("secrets_due", "purge_on"),
    Index("secrets_next_action", "next_action"),
)

versions = strict_table(
    "secret_versions",
    metadata,
    # Without AUTOINCREMENT, SQLite reuses the numbers of deleted rows.
    Column("ordinal", WholeNumber, primary_key=True),
    Column("vault", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("content_type", Text),
    Column("tags", Text, nullable=False),
    Column("enabled", Flag, nullable=False),
    Column("not_before", WholeNumber),
    Column("expires", WholeNumber),
    Column("created", WholeNumber, nullable=False),
    Column("updated", WholeNumber, nullable=False),
    Column("document", Text),
    ForeignKeyConstraint(["vault", "key"], ["secrets.vault", "secrets.key"], ondelete="CASCADE"),
    UniqueConstraint("vault", "key", "version"),
    Index("secret_versions_latest", "vault", "key", "ordinal"),
    sqlite_autoincrement=True,
)
