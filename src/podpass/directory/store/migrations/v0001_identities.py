"""Tenants, identities and what they trust, vaults, roles."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "tenants",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column("display_name", _TEXT, nullable=False),
    )
    op.create_table(
        "tenant_domains",
        sa.Column("domain", _TEXT, primary_key=True),
        _tenant(nullable=False, index=True),
    )
    op.create_table(
        "identities",
        _tenant(primary_key=True),
        sa.Column("client_id", _TEXT, primary_key=True),
        sa.Column("object_id", _TEXT, nullable=False, unique=True),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("resource_id", _TEXT),
        sa.Column("resource_key", _TEXT, unique=True),
        sa.Column("enabled", sa.Boolean, nullable=False),
    )
    op.create_index("identities_by_name", "identities", ["tenant_id", "name"])
    _make_what_is_theirs()


def _make_what_is_theirs() -> None:
    op.create_table(
        "federated_credentials",
        sa.Column("tenant_id", _TEXT, primary_key=True),
        sa.Column("client_id", _TEXT, primary_key=True),
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("issuer", _TEXT, nullable=False),
        sa.Column("subject", _TEXT, nullable=False),
        sa.Column("audience", _TEXT, nullable=False),
        sa.Column("description", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "client_id"],
            ["identities.tenant_id", "identities.client_id"],
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("tenant_id", "client_id", "issuer", "subject"),
    )
    op.create_table(
        "vaults",
        sa.Column("name", _TEXT, primary_key=True),
        _tenant(nullable=False),
        sa.Column("location", _TEXT, nullable=False),
        sa.Column("resource_id", _TEXT, nullable=False, unique=True),
    )
    op.create_table(
        "role_assignments",
        sa.Column("principal_id", _TEXT, primary_key=True),
        sa.Column("scope", _TEXT, primary_key=True),
        sa.Column("role", _TEXT, primary_key=True),
    )


def _tenant(
    *, primary_key: bool = False, nullable: bool = False, index: bool = False
) -> "sa.Column[str]":
    return sa.Column(
        "tenant_id",
        _TEXT,
        sa.ForeignKey("tenants.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=nullable,
        index=index,
    )
