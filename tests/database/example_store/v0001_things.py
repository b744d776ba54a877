"""Create the table of things."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TEXT = sa.TEXT().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "example_things",
        sa.Column("name", _TEXT, primary_key=True),
        sa.Column("size", sa.Integer, nullable=False),
        sqlite_strict=True,
    )
