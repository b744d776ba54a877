"""From one version of the tables to the next, in the transaction that opens the database."""

import uuid
from collections.abc import Callable, Mapping

from sqlalchemy import Column, Connection, Table, insert, select, update
from sqlalchemy.schema import CreateColumn, CreateIndex

from podpass.directory import arm
from podpass.directory.schema import (
    federated_credentials,
    identities,
    resource_groups,
    role_assignments,
    vaults,
)

# What the tables of version 1 had; podpass had one location then.
_COLUMNS_1: Mapping[Table, frozenset[str]] = {
    identities: frozenset(
        [
            "tenant_id",
            "client_id",
            "object_id",
            "name",
            "kind",
            "resource_id",
            "resource_key",
            "enabled",
        ]
    ),
    federated_credentials: frozenset(
        ["tenant_id", "client_id", "name", "issuer", "subject", "audience", "description"]
    ),
    vaults: frozenset(("name", "tenant_id", "location", "resource_id")),
    role_assignments: frozenset(("principal_id", "scope", "role")),
}
_LOCATION_1 = "eastus"


def from_1(connection: Connection) -> None:
    """Give what version 1 held the columns of version 2; tables that are new are made elsewhere."""
    for table, there in _COLUMNS_1.items():
        for column in table.columns:
            if column.name not in there:
                _add(connection, column)
    _fill_identities(connection)
    _fill_vaults(connection)
    _fill_assignments(connection)
    for table in _COLUMNS_1:
        for index in sorted(table.indexes, key=lambda one: str(one.name)):
            connection.execute(CreateIndex(index, if_not_exists=True))
    _make_groups(connection)


def _add(connection: Connection, column: "Column[object]") -> None:
    written = CreateColumn(column).compile(dialect=connection.dialect)
    connection.exec_driver_sql(f"ALTER TABLE {column.table.name} ADD COLUMN {written}")


def _fill_identities(connection: Connection) -> None:
    for row in connection.execute(select(identities)).all():
        values: dict[str, object] = {"name_key": row.name.lower()}
        if row.resource_id is None:
            values["application_id"] = str(uuid.uuid4())
        else:
            values["location"] = _LOCATION_1
        here = update(identities).filter_by(tenant_id=row.tenant_id, client_id=row.client_id)
        connection.execute(here.values(**values))
    for row in connection.execute(select(federated_credentials)).all():
        here = update(federated_credentials).filter_by(
            tenant_id=row.tenant_id, client_id=row.client_id, name=row.name
        )
        connection.execute(here.values(id=str(uuid.uuid4())))


def _fill_vaults(connection: Connection) -> None:
    for row in connection.execute(select(vaults)).all():
        # Version 1 kept secrets under the vault's name.
        values = {"uid": row.name, "resource_key": row.resource_id.lower()}
        connection.execute(update(vaults).filter_by(name=row.name).values(**values))


def _fill_assignments(connection: Connection) -> None:
    for row in connection.execute(select(role_assignments)).all():
        here = update(role_assignments).filter_by(
            principal_id=row.principal_id, scope=row.scope, role=row.role
        )
        connection.execute(here.values(name=str(uuid.uuid4())))


def _make_groups(connection: Connection) -> None:
    resource_groups.create(connection, checkfirst=True)
    ids = [*connection.scalars(select(identities.c.resource_id))]
    ids += connection.scalars(select(vaults.c.resource_id))
    found: dict[tuple[str, str], str] = {}
    for subscription_id, name in filter(None, (arm.group_of(one) for one in ids if one)):
        found.setdefault((subscription_id, name.lower()), name)
    for (subscription_id, key), name in found.items():
        connection.execute(
            insert(resource_groups).values(
                subscription_id=subscription_id, name_key=key, name=name, location=_LOCATION_1
            )
        )


STEPS: Mapping[int, Callable[[Connection], None]] = {1: from_1}
