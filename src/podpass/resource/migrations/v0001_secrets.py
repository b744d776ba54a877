"""Secrets and their versions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "secrets",
        sa.Column("vault", _TEXT, primary_key=True),
        sa.Column("key", _TEXT, primary_key=True),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("deleted", sa.BigInteger),
        sa.Column("purge_on", sa.BigInteger),
    )
    op.create_table(
        "secret_versions",
        sa.Column("ordinal", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("vault", _TEXT, nullable=False),
        sa.Column("key", _TEXT, nullable=False),
        sa.Column("version", _TEXT, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("content_type", _TEXT),
        sa.Column("tags", _TEXT, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("not_before", sa.BigInteger),
        sa.Column("expires", sa.BigInteger),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(
            ["vault", "key"], ["secrets.vault", "secrets.key"], ondelete="CASCADE"
        ),
        sa.UniqueConstraint("vault", "key", "version"),
        sqlite_autoincrement=True,
    )
    op.create_index("secret_versions_latest", "secret_versions", ["vault", "key", "ordinal"])
