"""Tables of the vault; what is changed here is a new script in `migrations` too.

Names of secrets are compared without case: `key` is the name in lower case. `vault` is the vault's own id,
which for vaults of schema 1 is their name, so what lies sealed there stays where it is.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
)

from podpass.database.column_types import Flag, Text
from podpass.database.migrate import Chain

CHAIN = Chain(name="vault", package="podpass.resource.migrations", head="0002")
metadata = MetaData()

secrets = Table(
    "secrets",
    metadata,
    Column("vault", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("deleted", BigInteger),
    Column("purge_on", BigInteger),
    Index("secrets_due", "purge_on"),
)

versions = Table(
    "secret_versions",
    metadata,
    # SQLite counts on by itself only with INTEGER, and reuses numbers without AUTOINCREMENT.
    Column("ordinal", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("vault", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("content_type", Text),
    Column("tags", Text, nullable=False),
    Column("enabled", Flag, nullable=False),
    Column("not_before", BigInteger),
    Column("expires", BigInteger),
    Column("created", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    ForeignKeyConstraint(["vault", "key"], ["secrets.vault", "secrets.key"], ondelete="CASCADE"),
    UniqueConstraint("vault", "key", "version"),
    Index("secret_versions_latest", "vault", "key", "ordinal"),
    sqlite_autoincrement=True,
)
