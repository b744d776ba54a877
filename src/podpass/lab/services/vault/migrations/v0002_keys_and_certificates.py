"""Add what keys and certificates need: settings and the next action of an object, a document of a version."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TEXT = sa.TEXT().with_variant(sa.String(collation="C"), "postgresql")
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add columns that the objects of older versions leave empty."""
    op.add_column("secrets", sa.Column("settings", _TEXT))
    op.add_column("secrets", sa.Column("next_action", _NUMBER))
    op.add_column("secret_versions", sa.Column("document", _TEXT))
    op.create_index("secrets_next_action", "secrets", ["next_action"])
