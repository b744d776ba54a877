"""Deleted secrets are found by when they go."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the index by which they are found."""
    op.create_index("secrets_due", "secrets", ["purge_on"])
