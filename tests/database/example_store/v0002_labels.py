"""Add a column and fill it, and create the table of labels."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TEXT = sa.TEXT().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("example_things", sa.Column("name_key", _TEXT, nullable=False, server_default=""))
    op.execute("UPDATE example_things SET name_key = lower(name)")
    op.create_table(
        "example_labels",
        sa.Column("label", _TEXT, primary_key=True),
        sa.Column(
            "thing", _TEXT, sa.ForeignKey("example_things.name", ondelete="CASCADE"), nullable=False
        ),
        sqlite_strict=True,
    )
