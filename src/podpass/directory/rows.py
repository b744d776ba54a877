"""Between rows of the tables and the shapes of the model."""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Delete, Insert, Row, Select, delete, insert, select, update

from podpass.directory.model import FederatedCredential, Identity, IdentityKind, Tenant
from podpass.directory.schema import federated_credentials, identities, tenant_domains, tenants

_CREDENTIAL = (
    federated_credentials.c.name.label("credential"),
    federated_credentials.c.issuer,
    federated_credentials.c.subject,
    federated_credentials.c.audience,
    federated_credentials.c.description,
)


def select_identities(tenant_id: str, **fields: str) -> Select[Any]:
    """Select a tenant's identities with their credentials, one row a credential."""
    together = identities.outerjoin(federated_credentials)
    query = select(identities, *_CREDENTIAL).select_from(together)
    query = query.where(identities.c.tenant_id == tenant_id)
    for field, value in fields.items():
        query = query.where(identities.c[field] == value)
    return query.order_by(identities.c.name, identities.c.client_id, federated_credentials.c.name)


def to_identities(rows: Iterable[Row[Any]]) -> list[Identity]:
    """Read what `select_identities` found."""
    grouped = groupby(rows, key=lambda row: (row.tenant_id, row.client_id))
    return [_identity(list(group)) for _, group in grouped]


def _identity(rows: list[Row[Any]]) -> Identity:
    first = rows[0]
    return Identity(
        tenant_id=first.tenant_id,
        client_id=first.client_id,
        object_id=first.object_id,
        name=first.name,
        kind=IdentityKind(first.kind),
        resource_id=first.resource_id,
        enabled=first.enabled,
        credentials=tuple(_credential(row) for row in rows if row.credential is not None),
    )


def _credential(row: Row[Any]) -> FederatedCredential:
    return FederatedCredential(
        name=row.credential,
        issuer=row.issuer,
        subject=row.subject,
        audiences=(row.audience,),
        description=row.description,
    )


def write_identity(connection: Connection, identity: Identity) -> None:
    """Write an identity and exactly its credentials."""
    key = {"tenant_id": identity.tenant_id, "client_id": identity.client_id}
    values = {
        "object_id": identity.object_id,
        "name": identity.name,
        "kind": identity.kind.value,
        "resource_id": identity.resource_id,
        "resource_key": identity.resource_id.lower() if identity.resource_id else None,
        "enabled": identity.enabled,
    }
    changed = connection.execute(update(identities).filter_by(**key).values(**values))
    if changed.rowcount == 0:
        connection.execute(insert(identities).values(**key, **values))
    # All out, then all in: two credentials may have changed places.
    connection.execute(delete(federated_credentials).filter_by(**key))
    if identity.credentials:
        connection.execute(
            insert(federated_credentials),
            [
                {
                    **key,
                    "name": credential.name,
                    "issuer": credential.issuer,
                    "subject": credential.subject,
                    "audience": credential.audiences[0],
                    "description": credential.description,
                }
                for credential in identity.credentials
            ],
        )


def delete_identity(tenant_id: str, client_id: str) -> Delete:
    """Delete an identity; its credentials go with it."""
    return delete(identities).filter_by(tenant_id=tenant_id, client_id=client_id)


def write_tenant(connection: Connection, tenant: Tenant) -> None:
    """Write a tenant that is not there yet."""
    statement: Insert = insert(tenants)
    connection.execute(statement.values(id=tenant.id, display_name=tenant.display_name))
    for domain in tenant.domains:
        connection.execute(insert(tenant_domains).values(domain=domain, tenant_id=tenant.id))


def read_tenants(connection: Connection, tenant_id: str | None = None) -> list[Tenant]:
    """Read all tenants, or one."""
    query = select(tenants).order_by(tenants.c.id)
    if tenant_id is not None:
        query = query.where(tenants.c.id == tenant_id)
    return [
        Tenant(
            id=row.id,
            display_name=row.display_name,
            domains=tuple(
                connection.scalars(
                    select(tenant_domains.c.domain)
                    .where(tenant_domains.c.tenant_id == row.id)
                    .order_by(tenant_domains.c.domain)
                )
            ),
        )
        for row in connection.execute(query).all()
    ]
