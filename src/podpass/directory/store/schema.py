"""Tables of the directory. Text is compared byte for byte; a `_key` column is what is compared without case.

What has to be unique beyond its key is a unique index, which can be given to a table that is there already.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
    false,
    true,
)

from podpass.database.column_types import Flag, Moment, Text
from podpass.database.migrate import Chain

CHAIN = Chain(name="directory", package="podpass.directory.store.migrations", head="0003")
metadata = MetaData()


def _text(name: str, default: str = "") -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


def _time(name: str) -> Column[float]:
    return Column(name, Moment, nullable=False, server_default="0")


def _document(name: str) -> Column[str]:
    """JSON that no statement looks into."""
    return Column(name, Text, nullable=False, server_default="{}")


def _of_identity() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["tenant_id", "client_id"],
        ["identities.tenant_id", "identities.client_id"],
        ondelete="CASCADE",
    )


tenants = Table(
    "tenants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("display_name", Text, nullable=False),
)

tenant_domains = Table(
    "tenant_domains",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False, index=True),
)

identities = Table(
    "identities",
    metadata,
    Column("tenant_id", ForeignKey("tenants.id", ondelete="CASCADE"), primary_key=True),
    Column("client_id", Text, primary_key=True),
    Column("object_id", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("resource_id", Text),
    Column("resource_key", Text, unique=True),
    Column("enabled", Flag, nullable=False),
    Column("application_id", Text),
    Column("unique_name", Text),
    Column("name_key", Text, nullable=False, server_default=""),
    Column("has_principal", Flag, nullable=False, server_default=true()),
    _text("location"),
    _document("tags"),
    _time("created"),
    _document("document"),
    _document("principal"),
    Index("identities_by_name", "tenant_id", "name"),
    Index("identities_by_application", "application_id", unique=True),
    Index("identities_by_unique_name", "tenant_id", "unique_name", unique=True),
    Index("identities_by_name_key", "tenant_id", "name_key", "client_id"),
    Index("identities_by_resource", "tenant_id", "resource_key"),
    Index("identities_by_kind", "tenant_id", "kind", "client_id"),
)

identifier_uris = Table(
    "identifier_uris",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("uri_key", Text, primary_key=True),
    Column("client_id", Text, nullable=False),
    Column("place", Integer, nullable=False),
    Column("uri", Text, nullable=False),
    _of_identity(),
    Index("identifier_uris_by_client", "tenant_id", "client_id"),
)

federated_credentials = Table(
    "federated_credentials",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("client_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("audience", Text, nullable=False),
    Column("description", Text, nullable=False),
    _text("id"),
    _time("created"),
    _of_identity(),
    UniqueConstraint("tenant_id", "client_id", "issuer", "subject"),
)

password_credentials = Table(
    "password_credentials",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("client_id", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("hint", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    _time("begins"),
    _time("expires"),
    _of_identity(),
)

key_credentials = Table(
    "key_credentials",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("client_id", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("display_name", Text, nullable=False),
    Column("certificate", LargeBinary, nullable=False),
    Column("thumbprint", Text, nullable=False),
    _time("begins"),
    _time("expires"),
    _of_identity(),
)

users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False),
    _text("display_name"),
    _text("password"),
    _time("created"),
    UniqueConstraint("tenant_id", "name_key"),
)

resource_groups = Table(
    "resource_groups",
    metadata,
    Column("subscription_id", Text, primary_key=True),
    Column("name_key", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("location", Text, nullable=False),
    _document("tags"),
    _time("created"),
)

vaults = Table(
    "vaults",
    metadata,
    # A deleted vault stays in the table, and so keeps its name from any other.
    Column("name", Text, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("location", Text, nullable=False),
    Column("resource_id", Text, nullable=False, unique=True),
    Column("resource_key", Text),
    _text("uid"),
    _text("access", "rbac"),
    _text("policies", "[]"),
    Column("retention_days", Integer, nullable=False, server_default="90"),
    Column("purge_protection", Flag, nullable=False, server_default=false()),
    _document("tags"),
    _time("created"),
    _document("document"),
    Column("deleted", Moment),
    Column("purge_on", Moment),
    Index("vaults_by_resource", "resource_key", unique=True),
)

clusters = Table(
    "clusters",
    metadata,
    Column("resource_key", Text, primary_key=True),
    Column("resource_id", Text, nullable=False),
    Column("subscription_id", Text, nullable=False),
    Column("group", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("location", Text, nullable=False),
    _document("tags"),
    _time("created"),
    _document("document"),
)

role_definitions = Table(
    "role_definitions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False, unique=True),
    _text("description"),
    _document("document"),
    _time("created"),
)

role_assignments = Table(
    "role_assignments",
    metadata,
    Column("principal_id", Text, primary_key=True),
    Column("scope", Text, primary_key=True),  # lower case
    Column("role", Text, primary_key=True),
    Column("name", Text),
    _text("principal_type", "ServicePrincipal"),
    _text("description"),
    _time("created"),
    _text("created_by"),
    Index("role_assignments_by_name", "name", unique=True),
    Index("role_assignments_by_scope", "scope", "name"),
)

app_role_assignments = Table(
    "app_role_assignments",
    metadata,
    Column("id", Text, primary_key=True),
    Column("principal_id", Text, nullable=False),
    Column("principal_type", Text, nullable=False),
    Column("resource_id", Text, nullable=False, index=True),
    Column("app_role_id", Text, nullable=False),
    _time("created"),
    UniqueConstraint("principal_id", "resource_id", "app_role_id"),
)

audit_entries = Table(
    "audit_entries",
    metadata,
    # SQLite counts on by itself only with INTEGER, and reuses numbers without AUTOINCREMENT.
    Column("serial", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    _time("time"),
    Column("actor", Text, nullable=False),
    Column("actor_name", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("correlation_id", Text, nullable=False),
    sqlite_autoincrement=True,
)
