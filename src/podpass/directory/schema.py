"""Tables of the directory. Text is compared byte for byte; a `_key` column is what is compared without case.

What has to be unique beyond its key is a unique index, which can be given to a table that is there already.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    false,
    true,
)

VERSION = 2
metadata = MetaData()

# Pages and beginnings of names are ranges of bytes, whatever the database's own order of letters is.
_TEXT = String().with_variant(String(collation="C"), "postgresql")


def _text(name: str, default: str = "") -> Column[str]:
    return Column(name, String, nullable=False, server_default=default)


def _time(name: str) -> Column[float]:
    return Column(name, Double, nullable=False, server_default="0")


def _document(name: str) -> Column[str]:
    """JSON that no statement looks into."""
    return Column(name, String, nullable=False, server_default="{}")


def _of_identity() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["tenant_id", "client_id"],
        ["identities.tenant_id", "identities.client_id"],
        ondelete="CASCADE",
    )


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
    Column("client_id", _TEXT, primary_key=True),
    Column("object_id", _TEXT, nullable=False, unique=True),
    Column("name", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("resource_id", String),
    Column("resource_key", _TEXT, unique=True),
    Column("enabled", Boolean, nullable=False),
    Column("application_id", _TEXT),
    Column("unique_name", _TEXT),
    Column("name_key", _TEXT, nullable=False, server_default=""),
    Column("has_principal", Boolean, nullable=False, server_default=true()),
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
    Column("tenant_id", String, primary_key=True),
    Column("uri_key", _TEXT, primary_key=True),
    Column("client_id", _TEXT, nullable=False),
    Column("place", Integer, nullable=False),
    Column("uri", String, nullable=False),
    _of_identity(),
    Index("identifier_uris_by_client", "tenant_id", "client_id"),
)

federated_credentials = Table(
    "federated_credentials",
    metadata,
    Column("tenant_id", String, primary_key=True),
    Column("client_id", _TEXT, primary_key=True),
    Column("name", String, primary_key=True),
    Column("issuer", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("audience", String, nullable=False),
    Column("description", String, nullable=False),
    _text("id"),
    _time("created"),
    _of_identity(),
    UniqueConstraint("tenant_id", "client_id", "issuer", "subject"),
)

password_credentials = Table(
    "password_credentials",
    metadata,
    Column("tenant_id", String, primary_key=True),
    Column("client_id", _TEXT, primary_key=True),
    Column("key_id", String, primary_key=True),
    Column("display_name", String, nullable=False),
    Column("hint", String, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    _time("begins"),
    _time("expires"),
    _of_identity(),
)

key_credentials = Table(
    "key_credentials",
    metadata,
    Column("tenant_id", String, primary_key=True),
    Column("client_id", _TEXT, primary_key=True),
    Column("key_id", String, primary_key=True),
    Column("display_name", String, nullable=False),
    Column("certificate", LargeBinary, nullable=False),
    Column("thumbprint", String, nullable=False),
    _time("begins"),
    _time("expires"),
    _of_identity(),
)

users = Table(
    "users",
    metadata,
    Column("id", String, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("name", String, nullable=False),
    Column("name_key", String, nullable=False),
    _text("display_name"),
    _text("password"),
    _time("created"),
    UniqueConstraint("tenant_id", "name_key"),
)

resource_groups = Table(
    "resource_groups",
    metadata,
    Column("subscription_id", _TEXT, primary_key=True),
    Column("name_key", _TEXT, primary_key=True),
    Column("name", String, nullable=False),
    Column("location", String, nullable=False),
    _document("tags"),
    _time("created"),
)

vaults = Table(
    "vaults",
    metadata,
    # A deleted vault stays in the table, and so keeps its name from any other.
    Column("name", _TEXT, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("location", String, nullable=False),
    Column("resource_id", String, nullable=False, unique=True),
    Column("resource_key", _TEXT),
    _text("uid"),
    _text("access", "rbac"),
    _text("policies", "[]"),
    Column("retention_days", Integer, nullable=False, server_default="90"),
    Column("purge_protection", Boolean, nullable=False, server_default=false()),
    _document("tags"),
    _time("created"),
    _document("document"),
    Column("deleted", Double),
    Column("purge_on", Double),
    Index("vaults_by_resource", "resource_key", unique=True),
)

clusters = Table(
    "clusters",
    metadata,
    Column("resource_key", _TEXT, primary_key=True),
    Column("resource_id", String, nullable=False),
    Column("subscription_id", String, nullable=False),
    Column("group", String, nullable=False),
    Column("name", String, nullable=False),
    Column("location", String, nullable=False),
    _document("tags"),
    _time("created"),
    _document("document"),
)

role_definitions = Table(
    "role_definitions",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("name_key", String, nullable=False, unique=True),
    _text("description"),
    _document("document"),
    _time("created"),
)

role_assignments = Table(
    "role_assignments",
    metadata,
    Column("principal_id", _TEXT, primary_key=True),
    Column("scope", _TEXT, primary_key=True),  # lower case
    Column("role", String, primary_key=True),
    Column("name", _TEXT),
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
    Column("id", String, primary_key=True),
    Column("principal_id", String, nullable=False),
    Column("principal_type", String, nullable=False),
    Column("resource_id", String, nullable=False, index=True),
    Column("app_role_id", String, nullable=False),
    _time("created"),
    UniqueConstraint("principal_id", "resource_id", "app_role_id"),
)

audit_entries = Table(
    "audit_entries",
    metadata,
    # SQLite counts on by itself only with INTEGER, and reuses numbers without AUTOINCREMENT.
    Column("serial", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    _time("time"),
    Column("actor", String, nullable=False),
    Column("actor_name", String, nullable=False),
    Column("action", String, nullable=False),
    Column("target", String, nullable=False),
    Column("correlation_id", String, nullable=False),
    sqlite_autoincrement=True,
)
