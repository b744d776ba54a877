"""Tables of certificates, in a chain of migrations of their own.

Names are compared without case: `key` is the name in lower case. `vault` is the vault's own id.
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

CHAIN = MigrationChain(
    name="certificates",
    package="podpass.lab.services.vault.certificates.migrations",
    head="0001",
)
metadata = MetaData()
STORE = (metadata, CHAIN)

certificates = strict_table(
    "certificates",
    metadata,
    Column("vault", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("policy_created", WholeNumber, nullable=False),
    Column("policy_updated", WholeNumber, nullable=False),
    Column("pending", Text),
    Column("pending_key", LargeBinary),
    # The version whose contacts were notified.
    Column("notified", Text, nullable=False),
    Column("deleted", WholeNumber),
    Column("purge_on", WholeNumber),
    Index("certificates_due", "purge_on"),
)

versions = strict_table(
    "certificate_versions",
    metadata,
    Column("ordinal", WholeNumber, primary_key=True),
    Column("vault", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("chain", Text, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("exportable", Flag, nullable=False),
    Column("tags", Text, nullable=False),
    Column("enabled", Flag, nullable=False),
    Column("not_before", WholeNumber, nullable=False),
    Column("expires", WholeNumber, nullable=False),
    Column("created", WholeNumber, nullable=False),
    Column("updated", WholeNumber, nullable=False),
    ForeignKeyConstraint(
        ["vault", "key"], ["certificates.vault", "certificates.key"], ondelete="CASCADE"
    ),
    UniqueConstraint("vault", "key", "version"),
    Index("certificate_versions_latest", "vault", "key", "ordinal"),
    sqlite_autoincrement=True,
)

issuers = strict_table(
    "certificate_issuers",
    metadata,
    Column("vault", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("enabled", Flag, nullable=False),
    Column("ca", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created", WholeNumber, nullable=False),
    Column("updated", WholeNumber, nullable=False),
)

contacts = strict_table(
    "certificate_contacts",
    metadata,
    Column("vault", Text, primary_key=True),
    Column("contacts", Text, nullable=False),
)
