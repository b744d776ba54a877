"""Tables of the directory. Text is compared by bytes; a `_key` column holds the value in lower case.

A uniqueness rule beyond the primary key is a unique index, because a migration can add one to an existing
table.
"""

from sqlalchemy import (
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    UniqueConstraint,
    false,
    true,
)

from podpass.database.column_types import Flag, Moment, Text, WholeNumber, strict_table
from podpass.database.migrate import MigrationChain

CHAIN = MigrationChain(name="directory", package="podpass.directory.store.migrations", head="0002")
metadata = MetaData()


def _text(name: str, default: str = "") -> Column[str]:
    return Column(name, Text, nullable=False, server_default=default)


def _time(name: str) -> Column[float]:
    return Column(name, Moment, nullable=False, server_default="0")


def _document(name: str) -> Column[str]:
    """Return a column of JSON text, which no statement queries."""
    return Column(name, Text, nullable=False, server_default="{}")


def _identity_key() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["tenant_id", "client_id"],
        ["identities.tenant_id", "identities.client_id"],
        ondelete="CASCADE",
    )


tenants = strict_table(
    "tenants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("display_name", Text, nullable=False),
)

tenant_domains = strict_table(
    "tenant_domains",
    metadata,
    Column("domain", Text, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False, index=True),
)

identities = strict_table(
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

identifier_uris = strict_table(
    "identifier_uris",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("uri_key", Text, primary_key=True),
    Column("client_id", Text, nullable=False),
    Column("place", Integer, nullable=False),
    Column("uri", Text, nullable=False),
    _identity_key(),
    Index("identifier_uris_by_client", "tenant_id", "client_id"),
)

federated_credentials = strict_table(
    "federated_credentials",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("client_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("issuer", Text, nullable=False),
    # Of a flexible credential this is the expression, so that the constraint keeps expressions unique too.
    Column("subject", Text, nullable=False),
    Column("audience", Text, nullable=False),
    Column("description", Text, nullable=False),
    _text("id"),
    _time("created"),
    Column("is_flexible", Flag, nullable=False, server_default=false()),
    _identity_key(),
    UniqueConstraint("tenant_id", "client_id", "issuer", "subject"),
)

password_credentials = strict_table(
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
    _identity_key(),
)

key_credentials = strict_table(
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
    _identity_key(),
)

users = strict_table(
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

resource_groups = strict_table(
    "resource_groups",
    metadata,
    Column("subscription_id", Text, primary_key=True),
    Column("name_key", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("location", Text, nullable=False),
    _document("tags"),
    _time("created"),
)

vaults = strict_table(
    "vaults",
    metadata,
    # A deleted vault stays in the table, so that no other vault can take its name.
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

clusters = strict_table(
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

other_resources = strict_table(
    "other_resources",
    metadata,
    Column("resource_key", Text, primary_key=True),
    Column("resource_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("location", Text, nullable=False),
    _document("tags"),
    _time("created"),
    _document("document"),
    Index("other_resources_by_name", "type", "name"),
)

dns_record_sets = strict_table(
    "dns_record_sets",
    metadata,
    Column(
        "zone_key", ForeignKey("other_resources.resource_key", ondelete="CASCADE"), primary_key=True
    ),
    Column("name_key", Text, primary_key=True),
    Column("type", Text, primary_key=True),
    Column("zone_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("ttl", Integer, nullable=False),
    _document("document"),
)

linkers = strict_table(
    "linkers",
    metadata,
    Column("resource_key", Text, primary_key=True),
    Column("resource_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    _time("created"),
    _document("document"),
)

role_definitions = strict_table(
    "role_definitions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False, unique=True),
    _text("description"),
    _document("document"),
    _time("created"),
)

role_assignments = strict_table(
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

app_role_assignments = strict_table(
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

permission_grants = strict_table(
    "permission_grants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False),
    Column("client_id", Text, nullable=False),
    Column("resource_id", Text, nullable=False, index=True),
    Column("principal_id", Text, nullable=False),  # empty for all users of the tenant
    Column("scope", Text, nullable=False),
    _time("created"),
    UniqueConstraint("client_id", "resource_id", "tenant_id", "principal_id"),
    Index("permission_grants_by_tenant", "tenant_id", "id"),
)

audit_entries = strict_table(
    "audit_entries",
    metadata,
    # Without AUTOINCREMENT, SQLite reuses the numbers of deleted rows.
    Column("serial", WholeNumber, primary_key=True),
    _time("time"),
    Column("actor", Text, nullable=False),
    Column("actor_name", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("correlation_id", Text, nullable=False),
    _document("details"),
    sqlite_autoincrement=True,
)
