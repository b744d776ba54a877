"""Managed identities are listed by their resource; some databases of 0002 have the index already."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the index by which they are listed."""
    op.create_index(
        "identities_by_resource", "identities", ["tenant_id", "resource_key"], if_not_exists=True
    )
