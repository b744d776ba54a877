"""Create the table of consents, and move the grants of delegated permissions there."""

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

# SQLite enforces the types of STRICT tables, which it knows by these names only.
_TEXT = sa.TEXT().with_variant(sa.String(collation="C"), "postgresql")
_TIME: sa.types.TypeEngine[float] = sa.Double().with_variant(sa.REAL(), "sqlite")
_GRANTS = "permission_grants"
_TEXT_COLUMNS = ("id", "tenant_id", "client_id", "resource_id", "principal_id", "scope")


def upgrade() -> None:
    """Create the table, and fill it from the documents of the service principals."""
    op.create_table(
        _GRANTS,
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column(
            "tenant_id", _TEXT, sa.ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("client_id", _TEXT, nullable=False),
        sa.Column("resource_id", _TEXT, nullable=False, index=True),
        sa.Column("principal_id", _TEXT, nullable=False),
        sa.Column("scope", _TEXT, nullable=False),
        sa.Column("created", _TIME, nullable=False, server_default="0"),
        sa.UniqueConstraint("client_id", "resource_id", "tenant_id", "principal_id"),
        sqlite_strict=True,
    )
    op.create_index("permission_grants_by_tenant", _GRANTS, ["tenant_id", "id"])
    _move_grants()


def _move_grants() -> None:
    columns = ("tenant_id", "client_id", "object_id", "principal")
    identities = sa.table("identities", *(sa.column(name, _TEXT) for name in columns))
    grants = sa.table(
        _GRANTS, *(sa.column(name, _TEXT) for name in _TEXT_COLUMNS), sa.column("created", _TIME)
    )
    connection = op.get_bind()
    for row in connection.execute(
        sa.select(identities).where(identities.c.principal.contains('"grants"'))
    ).all():
        document = _parse(row.principal)
        moved = list(_rows(row, document.pop("grants", None)))
        if moved:
            connection.execute(sa.insert(grants), moved)
        key = (identities.c.tenant_id == row.tenant_id) & (identities.c.client_id == row.client_id)
        connection.execute(sa.update(identities).where(key).values(principal=json.dumps(document)))


def _parse(text: str) -> dict[str, Any]:
    document = json.loads(text)
    return document if isinstance(document, dict) else {}


def _rows(row: Any, stored: Any) -> Iterator[dict[str, Any]]:
    for one in stored if isinstance(stored, list) else ():
        yield {
            "id": one["id"],
            "tenant_id": row.tenant_id,
            "client_id": row.object_id,
            "resource_id": one["resourceId"],
            "principal_id": one["principalId"] or "",
            "scope": one["scope"] or "",
            "created": 0.0,
        }
