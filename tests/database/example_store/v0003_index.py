"""Add the index by key."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_index("example_things_by_key", "example_things", ["name_key"])
