"""Create the tables of the directory."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# SQLite enforces the types of STRICT tables, which it knows by these four names only.
_TEXT = sa.TEXT().with_variant(sa.String(collation="C"), "postgresql")
_FLAG = sa.Boolean().with_variant(sa.Integer(), "sqlite")
_TIME: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create tables and indexes."""
    _create_tenants()
    _create_identities()
    _create_credentials()
    _create_resources()
    _create_dns_record_sets()
    _create_roles()
    _create_audit()
    _create_indexes()


def _table(name: str, *items: sa.schema.SchemaItem, autoincrement: bool = False) -> None:
    options = {"sqlite_autoincrement": True} if autoincrement else {}
    op.create_table(name, *items, sqlite_strict=True, **options)


def _key(*names: str) -> "list[sa.Column[str]]":
    return [sa.Column(name, _TEXT, primary_key=True) for name in names]


def _required(*names: str) -> "list[sa.Column[str]]":
    return [sa.Column(name, _TEXT, nullable=False) for name in names]


def _text(name: str, default: str = "") -> "sa.Column[str]":
    return sa.Column(name, _TEXT, nullable=False, server_default=default)


def _time(name: str) -> "sa.Column[float]":
    return sa.Column(name, _TIME, nullable=False, server_default="0")


def _tenant(*, primary_key: bool = False, index: bool = False) -> "sa.Column[str]":
    return sa.Column(
        "tenant_id",
        _TEXT,
        sa.ForeignKey("tenants.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=False,
        index=index,
    )


def _identity() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", "client_id"],
        ["identities.tenant_id", "identities.client_id"],
        ondelete="CASCADE",
    )


def _create_tenants() -> None:
    _table("tenants", *_key("id"), *_required("display_name"))
    _table("tenant_domains", *_key("domain"), _tenant(index=True))
    _table(
        "users",
        *_key("id"),
        _tenant(),
        *_required("name", "name_key"),
        _text("display_name"),
        _text("password"),
        _time("created"),
        sa.UniqueConstraint("tenant_id", "name_key"),
    )


def _create_identities() -> None:
    _table(
        "identities",
        _tenant(primary_key=True),
        *_key("client_id"),
        sa.Column("object_id", _TEXT, nullable=False, unique=True),
        *_required("name", "kind"),
        sa.Column("resource_id", _TEXT),
        sa.Column("resource_key", _TEXT, unique=True),
        sa.Column("enabled", _FLAG, nullable=False),
        sa.Column("application_id", _TEXT),
        sa.Column("unique_name", _TEXT),
        _text("name_key"),
        sa.Column("has_principal", _FLAG, nullable=False, server_default=sa.true()),
        _text("location"),
        _text("tags", "{}"),
        _time("created"),
        _text("document", "{}"),
        _text("principal", "{}"),
    )
    _table(
        "identifier_uris",
        *_key("tenant_id", "uri_key"),
        *_required("client_id"),
        sa.Column("place", sa.Integer, nullable=False),
        *_required("uri"),
        _identity(),
    )


def _create_credentials() -> None:
    _table(
        "federated_credentials",
        *_key("tenant_id", "client_id", "name"),
        *_required("issuer", "subject", "audience", "description"),
        _text("id"),
        _time("created"),
        _identity(),
        sa.UniqueConstraint("tenant_id", "client_id", "issuer", "subject"),
    )
    _table(
        "password_credentials",
        *_key("tenant_id", "client_id", "key_id"),
        *_required("display_name", "hint"),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        _time("begins"),
        _time("expires"),
        _identity(),
    )
    _table(
        "key_credentials",
        *_key("tenant_id", "client_id", "key_id"),
        *_required("display_name"),
        sa.Column("certificate", sa.LargeBinary, nullable=False),
        *_required("thumbprint"),
        _time("begins"),
        _time("expires"),
        _identity(),
    )


def _create_resources() -> None:
    _table(
        "resource_groups",
        *_key("subscription_id", "name_key"),
        *_required("name", "location"),
        _text("tags", "{}"),
        _time("created"),
    )
    _table(
        "vaults",
        *_key("name"),
        _tenant(),
        *_required("location"),
        sa.Column("resource_id", _TEXT, nullable=False, unique=True),
        sa.Column("resource_key", _TEXT),
        _text("uid"),
        _text("access", "rbac"),
        _text("policies", "[]"),
        sa.Column("retention_days", sa.Integer, nullable=False, server_default="90"),
        sa.Column("purge_protection", _FLAG, nullable=False, server_default=sa.false()),
        _text("tags", "{}"),
        _time("created"),
        _text("document", "{}"),
        sa.Column("deleted", _TIME),
        sa.Column("purge_on", _TIME),
    )
    _table(
        "clusters",
        *_key("resource_key"),
        *_required("resource_id", "subscription_id", "group", "name", "location"),
        _text("tags", "{}"),
        _time("created"),
        _text("document", "{}"),
    )
    _table(
        "other_resources",
        *_key("resource_key"),
        *_required("resource_id", "type", "name", "location"),
        _text("tags", "{}"),
        _time("created"),
        _text("document", "{}"),
    )
    _table(
        "linkers",
        *_key("resource_key"),
        *_required("resource_id", "name"),
        _time("created"),
        _text("document", "{}"),
    )


def _create_dns_record_sets() -> None:
    _table(
        "dns_record_sets",
        sa.Column(
            "zone_key",
            _TEXT,
            sa.ForeignKey("other_resources.resource_key", ondelete="CASCADE"),
            primary_key=True,
        ),
        *_key("name_key", "type"),
        *_required("zone_id", "name"),
        sa.Column("ttl", sa.Integer, nullable=False),
        _text("document", "{}"),
    )


def _create_roles() -> None:
    _table(
        "role_definitions",
        *_key("id"),
        *_required("name"),
        sa.Column("name_key", _TEXT, nullable=False, unique=True),
        _text("description"),
        _text("document", "{}"),
        _time("created"),
    )
    _table(
        "role_assignments",
        *_key("principal_id", "scope", "role"),
        sa.Column("name", _TEXT),
        _text("principal_type", "ServicePrincipal"),
        _text("description"),
        _time("created"),
        _text("created_by"),
    )
    _table(
        "app_role_assignments",
        *_key("id"),
        *_required("principal_id", "principal_type"),
        sa.Column("resource_id", _TEXT, nullable=False, index=True),
        *_required("app_role_id"),
        _time("created"),
        sa.UniqueConstraint("principal_id", "resource_id", "app_role_id"),
    )
    _table(
        "permission_grants",
        *_key("id"),
        _tenant(),
        *_required("client_id"),
        sa.Column("resource_id", _TEXT, nullable=False, index=True),
        *_required("principal_id", "scope"),
        _time("created"),
        sa.UniqueConstraint("client_id", "resource_id", "tenant_id", "principal_id"),
    )


def _create_audit() -> None:
    _table(
        "audit_entries",
        sa.Column("serial", _SERIAL, primary_key=True),
        _time("time"),
        *_required("actor", "actor_name", "action", "target", "correlation_id"),
        _text("details", "{}"),
        autoincrement=True,
    )


def _create_indexes() -> None:
    identities = "identities"
    op.create_index("identities_by_name", identities, ["tenant_id", "name"])
    op.create_index("identities_by_application", identities, ["application_id"], unique=True)
    unique = ["tenant_id", "unique_name"]
    op.create_index("identities_by_unique_name", identities, unique, unique=True)
    op.create_index("identities_by_name_key", identities, ["tenant_id", "name_key", "client_id"])
    op.create_index("identities_by_resource", identities, ["tenant_id", "resource_key"])
    op.create_index("identities_by_kind", identities, ["tenant_id", "kind", "client_id"])
    op.create_index("identifier_uris_by_client", "identifier_uris", ["tenant_id", "client_id"])
    op.create_index("vaults_by_resource", "vaults", ["resource_key"], unique=True)
    op.create_index("other_resources_by_name", "other_resources", ["type", "name"])
    op.create_index("role_assignments_by_name", "role_assignments", ["name"], unique=True)
    op.create_index("role_assignments_by_scope", "role_assignments", ["scope", "name"])
    op.create_index("permission_grants_by_tenant", "permission_grants", ["tenant_id", "id"])
