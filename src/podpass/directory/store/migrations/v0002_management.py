"""What Resource Manager and Graph manage: credentials, people, groups, clusters, roles, audit."""

import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

from podpass.directory import resource_ids

revision = "0002"
down_revision = "0001"

# There was one location before.
_LOCATION = "eastus"
_TEXT = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Give what is there the columns it lacks, fill them, and make the tables that are new."""
    for table, columns in _columns().items():
        for column in columns:
            op.add_column(table, column)
    _make_credentials()
    _make_people()
    _make_resources()
    _make_roles()
    connection = op.get_bind()
    _fill_identities(connection)
    _fill_vaults(connection)
    _fill_ids(connection, "role_assignments", "name", ("principal_id", "scope", "role"))
    _fill_groups(connection)
    _make_indexes()


def _columns() -> "Mapping[str, list[sa.Column[object]]]":
    return {
        "identities": [
            sa.Column("application_id", _TEXT),
            sa.Column("unique_name", _TEXT),
            sa.Column("name_key", _TEXT, nullable=False, server_default=""),
            sa.Column("has_principal", sa.Boolean, nullable=False, server_default=sa.true()),
            _text("location"),
            _text("tags", "{}"),
            _time("created"),
            _text("document", "{}"),
            _text("principal", "{}"),
        ],
        "federated_credentials": [_text("id"), _time("created")],
        "vaults": [
            sa.Column("resource_key", _TEXT),
            _text("uid"),
            _text("access", "rbac"),
            _text("policies", "[]"),
            sa.Column("retention_days", sa.Integer, nullable=False, server_default="90"),
            sa.Column("purge_protection", sa.Boolean, nullable=False, server_default=sa.false()),
            _text("tags", "{}"),
            _time("created"),
            _text("document", "{}"),
            sa.Column("deleted", sa.Double),
            sa.Column("purge_on", sa.Double),
        ],
        "role_assignments": [
            sa.Column("name", _TEXT),
            _text("principal_type", "ServicePrincipal"),
            _text("description"),
            _time("created"),
            _text("created_by"),
        ],
    }


def _text(name: str, default: str = "") -> "sa.Column[object]":
    return sa.Column(name, _TEXT, nullable=False, server_default=default)


def _time(name: str) -> "sa.Column[object]":
    return sa.Column(name, sa.Double, nullable=False, server_default="0")


def _of_identity() -> "list[sa.Column[object]]":
    return [
        sa.Column("tenant_id", _TEXT, primary_key=True),
        sa.Column("client_id", _TEXT, primary_key=True),
    ]


def _to_identity() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", "client_id"],
        ["identities.tenant_id", "identities.client_id"],
        ondelete="CASCADE",
    )


def _make_credentials() -> None:
    op.create_table(
        "password_credentials",
        *_of_identity(),
        sa.Column("key_id", _TEXT, primary_key=True),
        sa.Column("display_name", _TEXT, nullable=False),
        sa.Column("hint", _TEXT, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        _time("begins"),
        _time("expires"),
        _to_identity(),
    )
    op.create_table(
        "key_credentials",
        *_of_identity(),
        sa.Column("key_id", _TEXT, primary_key=True),
        sa.Column("display_name", _TEXT, nullable=False),
        sa.Column("certificate", sa.LargeBinary, nullable=False),
        sa.Column("thumbprint", _TEXT, nullable=False),
        _time("begins"),
        _time("expires"),
        _to_identity(),
    )
    op.create_table(
        "identifier_uris",
        sa.Column("tenant_id", _TEXT, primary_key=True),
        sa.Column("uri_key", _TEXT, primary_key=True),
        sa.Column("client_id", _TEXT, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("uri", _TEXT, nullable=False),
        _to_identity(),
    )


def _make_people() -> None:
    op.create_table(
        "users",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column(
            "tenant_id",
            _TEXT,
            sa.ForeignKey("tenants.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("name_key", _TEXT, nullable=False),
        _text("display_name"),
        _text("password"),
        _time("created"),
        sa.UniqueConstraint("tenant_id", "name_key"),
    )
    op.create_table(
        "audit_entries",
        sa.Column("serial", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        _time("time"),
        sa.Column("actor", _TEXT, nullable=False),
        sa.Column("actor_name", _TEXT, nullable=False),
        sa.Column("action", _TEXT, nullable=False),
        sa.Column("target", _TEXT, nullable=False),
        sa.Column("correlation_id", _TEXT, nullable=False),
        sqlite_autoincrement=True,
    )


def _make_resources() -> None:
    op.create_table(
        "resource_groups",
        sa.Column("subscription_id", _TEXT, primary_key=True),
        sa.Column("name_key", _TEXT, primary_key=True),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("location", _TEXT, nullable=False),
        _text("tags", "{}"),
        _time("created"),
    )
    op.create_table(
        "clusters",
        sa.Column("resource_key", _TEXT, primary_key=True),
        sa.Column("resource_id", _TEXT, nullable=False),
        sa.Column("subscription_id", _TEXT, nullable=False),
        sa.Column("group", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("location", _TEXT, nullable=False),
        _text("tags", "{}"),
        _time("created"),
        _text("document", "{}"),
    )


def _make_roles() -> None:
    op.create_table(
        "role_definitions",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("name_key", _TEXT, nullable=False, unique=True),
        _text("description"),
        _text("document", "{}"),
        _time("created"),
    )
    op.create_table(
        "app_role_assignments",
        sa.Column("id", _TEXT, primary_key=True),
        sa.Column("principal_id", _TEXT, nullable=False),
        sa.Column("principal_type", _TEXT, nullable=False),
        sa.Column("resource_id", _TEXT, nullable=False, index=True),
        sa.Column("app_role_id", _TEXT, nullable=False),
        _time("created"),
        sa.UniqueConstraint("principal_id", "resource_id", "app_role_id"),
    )


def _make_indexes() -> None:
    identities, uris = "identities", "identifier_uris"
    op.create_index("identities_by_application", identities, ["application_id"], unique=True)
    unique = ["tenant_id", "unique_name"]
    op.create_index("identities_by_unique_name", identities, unique, unique=True)
    op.create_index("identities_by_name_key", identities, ["tenant_id", "name_key", "client_id"])
    op.create_index("identities_by_kind", identities, ["tenant_id", "kind", "client_id"])
    op.create_index("identifier_uris_by_client", uris, ["tenant_id", "client_id"])
    op.create_index("vaults_by_resource", "vaults", ["resource_key"], unique=True)
    op.create_index("role_assignments_by_name", "role_assignments", ["name"], unique=True)
    op.create_index("role_assignments_by_scope", "role_assignments", ["scope", "name"])


# What was there is given what it would have been made with.


def _fill_identities(connection: sa.Connection) -> None:
    identities = _table(
        "identities",
        "tenant_id",
        "client_id",
        "name",
        "resource_id",
        "name_key",
        "application_id",
        "location",
    )
    for row in connection.execute(sa.select(identities)).all():
        values: dict[str, object] = {"name_key": row.name.lower()}
        if row.resource_id is None:
            values["application_id"] = str(uuid.uuid4())
        else:
            values["location"] = _LOCATION
        here = sa.update(identities).filter_by(tenant_id=row.tenant_id, client_id=row.client_id)
        connection.execute(here.values(**values))
    _fill_ids(connection, "federated_credentials", "id", ("tenant_id", "client_id", "name"))


def _fill_vaults(connection: sa.Connection) -> None:
    vaults = _table("vaults", "name", "uid", "resource_id", "resource_key")
    for row in connection.execute(sa.select(vaults)).all():
        # Secrets lay under the vault's name.
        values = {"uid": row.name, "resource_key": row.resource_id.lower()}
        connection.execute(sa.update(vaults).filter_by(name=row.name).values(**values))


def _fill_groups(connection: sa.Connection) -> None:
    groups = _table("resource_groups", "subscription_id", "name_key", "name", "location")
    ids: list[str | None] = []
    for table in ("identities", "vaults"):
        ids += connection.scalars(sa.select(_table(table, "resource_id"))).all()
    found: dict[tuple[str, str], str] = {}
    for subscription_id, name in filter(None, (resource_ids.group_of(one) for one in ids if one)):
        found.setdefault((subscription_id, name.lower()), name)
    for (subscription_id, key), name in found.items():
        values = {"subscription_id": subscription_id, "name_key": key, "name": name}
        connection.execute(sa.insert(groups).values(**values, location=_LOCATION))


def _fill_ids(connection: sa.Connection, name: str, column: str, key: tuple[str, ...]) -> None:
    """Give every row of a table an id of its own."""
    table = _table(name, column, *key)
    for row in connection.execute(sa.select(*(table.c[one] for one in key))).mappings().all():
        here = sa.update(table).filter_by(**{str(one): row[one] for one in row})
        connection.execute(here.values(**{column: str(uuid.uuid4())}))


def _table(name: str, *columns: str) -> sa.TableClause:
    made: list[sa.ColumnClause[Any]] = [sa.column(column) for column in columns]
    return sa.table(name, *made)
