"""Tables of the vault, and how those of an older podpass become these.

Names of secrets are compared without case: `key` is the name in lower case. `vault` is the vault's own id,
which for vaults of schema 1 is their name, so what lies sealed there stays where it is.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

VERSION = 2
metadata = MetaData()

secrets = Table(
    "secrets",
    metadata,
    Column("vault", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("deleted", BigInteger),
    Column("purge_on", BigInteger),
)
_DUE = Index("secrets_due", secrets.c.purge_on)

versions = Table(
    "secret_versions",
    metadata,
    # SQLite counts on by itself only with INTEGER, and reuses numbers without AUTOINCREMENT.
    Column("ordinal", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("vault", String, nullable=False),
    Column("key", String, nullable=False),
    Column("version", String, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("content_type", String),
    Column("tags", String, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("not_before", BigInteger),
    Column("expires", BigInteger),
    Column("created", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    ForeignKeyConstraint(["vault", "key"], ["secrets.vault", "secrets.key"], ondelete="CASCADE"),
    UniqueConstraint("vault", "key", "version"),
    Index("secret_versions_latest", "vault", "key", "ordinal"),
    sqlite_autoincrement=True,
)


def _from_1(connection: Connection) -> None:
    _DUE.create(connection)


STEPS = {1: _from_1}
