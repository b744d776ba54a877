"""Create the tables of secrets and their versions."""

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
        "secrets",
        sa.Column("vault", _TEXT, primary_key=True),
        sa.Column("key", _TEXT, primary_key=True),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("deleted", _NUMBER),
        sa.Column("purge_on", _NUMBER),
        sqlite_strict=True,
    )
    op.create_table(
        "secret_versions",
        sa.Column("ordinal", _NUMBER, primary_key=True),
        sa.Column("vault", _TEXT, nullable=False),
        sa.Column("key", _TEXT, nullable=False),
        sa.Column("version", _TEXT, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("content_type", _TEXT),
        sa.Column("tags", _TEXT, nullable=False),
        sa.Column("enabled", _FLAG, nullable=False),
        sa.Column("not_before", _NUMBER),
        sa.Column("expires", _NUMBER),
        sa.Column("created", _NUMBER, nullable=False),
        sa.Column("updated", _NUMBER, nullable=False),
        sa.ForeignKeyConstraint(
            ["vault", "key"], ["secrets.vault", "secrets.key"], ondelete="CASCADE"
        ),
        sa.UniqueConstraint("vault", "key", "version"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_index("secret_versions_latest", "secret_versions", ["vault", "key", "ordinal"])
    op.create_index("secrets_due", "secrets", ["purge_on"])
