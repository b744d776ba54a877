"""Tables of the directory. Text is compared byte for byte; what is compared without case is kept lower."""

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

VERSION = 1
metadata = MetaData()

tenants = Table(
    "tenants",
    metadata,
    Column("id", String, primary_key=True),
    Column("display_name", String, nullable=False),
)

tenant_domains = Table(
    "tenant_domains",
    metadata,
    Column("domain", String, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False, index=True),
)

identities = Table(
    "identities",
    metadata,
    Column("tenant_id", ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("client_id", String, primary_key=True),
    Column("object_id", String, nullable=False, unique=True),
    Column("name", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("resource_id", String),
    Column("resource_key", String, unique=True),  # resource_id in lower case
    Column("enabled", Boolean, nullable=False),
    Index("identities_by_name", "tenant_id", "name"),
)

federated_credentials = Table(
    "federated_credentials",
    metadata,
    Column("tenant_id", String, primary_key=True),
    Column("client_id", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("issuer", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("audience", String, nullable=False),
    Column("description", String, nullable=False),
    ForeignKeyConstraint(
        ["tenant_id", "client_id"],
        ["identities.tenant_id", "identities.client_id"],
        ondelete="CASCADE",
    ),
    UniqueConstraint("tenant_id", "client_id", "issuer", "subject"),
)

vaults = Table(
    "vaults",
    metadata,
    Column("name", String, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("location", String, nullable=False),
    Column("resource_id", String, nullable=False, unique=True),
)

role_assignments = Table(
    "role_assignments",
    metadata,
    Column("principal_id", String, primary_key=True),
    Column("scope", String, primary_key=True),  # lower case
    Column("role", String, primary_key=True),
)
