"""Create the tables of certificates, their versions, issuers and contacts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# SQLite enforces the types of STRICT tables, which it knows by the names TEXT, INTEGER, REAL and BLOB only.
_TEXT = sa.TEXT().with_variant(sa.String(collation="C"), "postgresql")
_FLAG = sa.Boolean().with_variant(sa.Integer(), "sqlite")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create tables and indexes."""
    op.create_table(
        "certificates",
        sa.Column("vault", _TEXT, primary_key=True),
        sa.Column("key", _TEXT, primary_key=True),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("policy", _TEXT, nullable=False),
        sa.Column("policy_created", _NUMBER, nullable=False),
        sa.Column("policy_updated", _NUMBER, nullable=False),
        sa.Column("pending", _TEXT),
        sa.Column("pending_key", sa.LargeBinary),
        sa.Column("notified", _TEXT, nullable=False),
        sa.Column("deleted", _NUMBER),
        sa.Column("purge_on", _NUMBER),
        sqlite_strict=True,
    )
    op.create_table(
        "certificate_versions",
        sa.Column("ordinal", _NUMBER, primary_key=True),
        sa.Column("vault", _TEXT, nullable=False),
        sa.Column("key", _TEXT, nullable=False),
        sa.Column("version", _TEXT, nullable=False),
        sa.Column("chain", _TEXT, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("content_type", _TEXT, nullable=False),
        sa.Column("exportable", _FLAG, nullable=False),
        sa.Column("tags", _TEXT, nullable=False),
        sa.Column("enabled", _FLAG, nullable=False),
        sa.Column("not_before", _NUMBER, nullable=False),
        sa.Column("expires", _NUMBER, nullable=False),
        sa.Column("created", _NUMBER, nullable=False),
        sa.Column("updated", _NUMBER, nullable=False),
        sa.ForeignKeyConstraint(
            ["vault", "key"], ["certificates.vault", "certificates.key"], ondelete="CASCADE"
        ),
        sa.UniqueConstraint("vault", "key", "version"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_table(
        "certificate_issuers",
        sa.Column("vault", _TEXT, primary_key=True),
        sa.Column("key", _TEXT, primary_key=True),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("document", _TEXT, nullable=False),
        sa.Column("enabled", _FLAG, nullable=False),
        sa.Column("ca", sa.LargeBinary, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created", _NUMBER, nullable=False),
        sa.Column("updated", _NUMBER, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "certificate_contacts",
        sa.Column("vault", _TEXT, primary_key=True),
        sa.Column("contacts", _TEXT, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("certificates_due", "certificates", ["purge_on"])
    op.create_index(
        "certificate_versions_latest", "certificate_versions", ["vault", "key", "ordinal"]
    )
