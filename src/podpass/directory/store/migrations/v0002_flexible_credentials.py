"""Add flexible federated credentials, whose subject is an expression."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column that says that the subject is an expression."""
    flag = sa.Boolean().with_variant(sa.Integer(), "sqlite")
    op.add_column(
        "federated_credentials",
        sa.Column("is_flexible", flag, nullable=False, server_default=sa.false()),
    )
