"""Create the tables for signing keys, seals and sign-ins in progress."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# SQLite enforces the types of STRICT tables, which it knows by the names TEXT, INTEGER, REAL and BLOB only.
_TIME: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")


def _text(length: int) -> "sa.types.TypeEngine[str]":
    return sa.String(length).with_variant(sa.TEXT(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "authority_keys",
        sa.Column("ordinal", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kid", _text(64), nullable=False, unique=True),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("activates", _TIME, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "authority_seals",
        sa.Column("name", _text(32), primary_key=True),
        sa.Column("created", _TIME, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
    )
    op.create_table(
        "authority_codes",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("issued", _TIME, nullable=False),
        sa.Column("used", sa.Integer, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("authority_codes_issued", "authority_codes", ["issued"])
    op.create_table(
        "authority_devices",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("user_code", sa.LargeBinary(32), nullable=True, unique=True),
        sa.Column("begun", _TIME, nullable=False),
        sa.Column("polled", _TIME, nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("authority_devices_begun", "authority_devices", ["begun"])
    op.create_table(
        "authority_wrong_codes",
        sa.Column("id", _text(36), primary_key=True),
        sa.Column("at", _TIME, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("authority_wrong_codes_at", "authority_wrong_codes", ["at"])
    op.create_table(
        "authority_used_forms",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("at", _TIME, nullable=False),
        sqlite_strict=True,
    )
    op.create_index("authority_used_forms_at", "authority_used_forms", ["at"])
    op.create_table(
        "authority_lockouts",
        sa.Column("user_id", _text(64), primary_key=True),
        sa.Column("wrong", sa.Integer, nullable=False),
        sa.Column("since", _TIME, nullable=False),
        sqlite_strict=True,
    )
