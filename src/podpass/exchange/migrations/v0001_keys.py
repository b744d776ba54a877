"""Signing keys, seals and sign-ins under way."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "authority_keys",
        sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kid", sa.String(64), nullable=False, unique=True),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("activates", sa.Double, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "authority_seals",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "authority_codes",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("issued", sa.Double, nullable=False),
        sa.Column("used", sa.Integer, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_index("authority_codes_issued", "authority_codes", ["issued"])
    op.create_table(
        "authority_devices",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("user_code", sa.LargeBinary(32), nullable=True, unique=True),
        sa.Column("begun", sa.Double, nullable=False),
        sa.Column("polled", sa.Double, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
    )
    op.create_index("authority_devices_begun", "authority_devices", ["begun"])
    op.create_table(
        "authority_wrong_codes",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_index("authority_wrong_codes_at", "authority_wrong_codes", ["at"])
    op.create_table(
        "authority_guesses",
        sa.Column("user_id", sa.String(64), primary_key=True),
        sa.Column("wrong", sa.Integer, nullable=False),
        sa.Column("since", sa.Double, nullable=False),
    )
