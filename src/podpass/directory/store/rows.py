"""Between rows of the tables and the shapes of the model."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import orjson
from sqlalchemy import (
    Connection,
    Delete,
    Insert,
    Row,
    Select,
    Table,
    delete,
    insert,
    select,
    tuple_,
    update,
)

from podpass import database
from podpass.directory import errors, resource_ids
from podpass.directory.model import (
    FederatedCredential,
    Identity,
    IdentityKind,
    KeyCredential,
    PasswordCredential,
    Tenant,
)
from podpass.directory.naming import uri_key
from podpass.directory.store.schema import (
    federated_credentials,
    identifier_uris,
    identities,
    key_credentials,
    password_credentials,
    resource_groups,
    tenant_domains,
    tenants,
)
from podpass.guids import is_lower_guid

_AT_ONCE = 1000
_RESTORE = "stop podpass, then restore the database from a backup"
_Held = Mapping[tuple[str, str], Sequence[Row[Any]]]


def to_json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """Write what no statement looks into."""
    return orjson.dumps(value, default=_plain).decode()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError


def from_json(text: str, kind: type = dict) -> Any:
    """Read what `to_json` wrote.

    Errors:  ValueError.
    """
    value = orjson.loads(text)
    if not isinstance(value, kind):
        raise ValueError(f"want {kind.__name__}, found {type(value).__name__}")  # noqa: TRY004
    return value


def to_identities(
    connection: Connection, query: Select[Any], meant: Callable[[Row[Any]], bool] | None = None
) -> list[Identity]:
    """Read identities and what they hold, in the order of a query on their table; those whose rows are meant.

    Errors:  RowDamaged.
    """
    return [shape() for shape in _shapes(connection, query, meant)]


def list_identities(
    connection: Connection, query: Select[Any], limit: int | None = None
) -> list[Identity]:
    """Read identities for a list, as many as the limit, without those that are damaged."""
    if limit is None:
        return database.readable(_shapes(connection, query), lambda shape: shape())
    return database.full_page(
        limit, lambda many: _shapes(connection, query.limit(many)), lambda shape: shape()
    )


def _shapes(
    connection: Connection, query: Select[Any], meant: Callable[[Row[Any]], bool] | None = None
) -> list[Callable[[], Identity]]:
    rows = [row for row in connection.execute(query) if meant is None or meant(row)]
    if not rows:
        return []
    applications = [row for row in rows if row.kind == IdentityKind.APPLICATION]
    held = {
        table: _held(connection, table, rows if table is federated_credentials else applications)
        for table in _TABLES
    }

    def shape(row: Row[Any]) -> Identity:
        with database.shaping("identities", row.client_id):
            database.check_types(row, identities)
            if "\0" in row.client_id:
                raise ValueError("client_id: holds a NUL character")
            return _identity(row, {table: _own(held[table], table, row) for table in held})

    return [partial(shape, row) for row in rows]


def _held(connection: Connection, table: Table, rows: Sequence[Row[Any]]) -> _Held:
    """Read the rows of a table that belong to identities, by identity."""
    held: dict[tuple[str, str], list[Row[Any]]] = defaultdict(list)
    owners: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        # One that is damaged holds nothing, and no statement takes it.
        if isinstance(row.client_id, str) and "\0" not in row.client_id:
            owners[row.tenant_id].append(row.client_id)
    for tenant_id, ids in owners.items():
        of_tenant = select(table).where(table.c.tenant_id == tenant_id)
        # SQLite takes no more than so many values in one statement.
        for begin in range(0, len(ids), _AT_ONCE):
            query = of_tenant.where(table.c.client_id.in_(ids[begin : begin + _AT_ONCE]))
            for row in connection.execute(query):
                held[row.tenant_id, row.client_id].append(row)
    return held


def _own(held: _Held, table: Table, owner: Row[Any]) -> Sequence[Row[Any]]:
    """Give what an identity holds in a table; what is damaged there is told as that table's.

    Errors:  RowDamaged.
    """
    found = held.get((owner.tenant_id, owner.client_id), ())
    for row in found:
        own = getattr(row, _OWN_KEYS[table])
        with database.shaping(table.name, f"{owner.client_id}/{own}"):
            database.check_types(row, table)
    return found


def _identity(row: Row[Any], own: Mapping[Table, Sequence[Row[Any]]]) -> Identity:
    return Identity(
        tenant_id=row.tenant_id,
        client_id=row.client_id,
        object_id=row.object_id,
        name=row.name,
        kind=IdentityKind(row.kind),
        resource_id=row.resource_id,
        application_id=row.application_id,
        unique_name=row.unique_name,
        has_principal=row.has_principal,
        enabled=row.enabled,
        identifier_uris=tuple(
            each.uri for each in sorted(own[identifier_uris], key=lambda one: one.place)
        ),
        credentials=tuple(
            _credential(each)
            for each in sorted(own[federated_credentials], key=lambda one: one.name)
        ),
        passwords=tuple(
            _secret(PasswordCredential, each) for each in _by_age(own[password_credentials])
        ),
        keys=tuple(_secret(KeyCredential, each) for each in _by_age(own[key_credentials])),
        location=row.location,
        tags=from_json(row.tags),
        created=row.created,
        document=from_json(row.document),
        principal=from_json(row.principal),
    )


def _by_age(found: Sequence[Row[Any]]) -> list[Row[Any]]:
    return sorted(found, key=lambda one: (one.begins, one.key_id))


def _credential(row: Row[Any]) -> FederatedCredential:
    return FederatedCredential(
        name=row.name,
        issuer=row.issuer,
        subject=row.subject,
        audiences=(row.audience,),
        description=row.description,
        id=row.id,
        created=row.created,
    )


def _secret(kind: Any, row: Row[Any]) -> Any:
    values = dict(row._mapping)  # noqa: SLF001 - the documented way to a row's names
    return kind(**{name: values[name] for name in values.keys() - {"tenant_id", "client_id"}})


def write_identity(connection: Connection, old: Identity | None, new: Identity) -> None:
    """Write what differs of an identity and of what it holds."""
    values = _columns(new)
    if old is None:
        connection.execute(insert(identities).values(**_key(new), **values))
    elif values != _columns(old):
        connection.execute(update(identities).filter_by(**_key(new)).values(**values))
    for table, rows_of in _TABLES.items():
        _write_held(connection, table, rows_of(old) if old else [], rows_of(new))


def insert_identities(connection: Connection, many: Sequence[Identity]) -> None:
    """Write identities of which none is there."""
    if many:
        connection.execute(insert(identities), [{**_key(one), **_columns(one)} for one in many])
    for table, rows_of in _TABLES.items():
        if rows := [row for one in many for row in rows_of(one)]:
            connection.execute(insert(table), rows)


def _key(identity: Identity) -> dict[str, Any]:
    return {"tenant_id": identity.tenant_id, "client_id": identity.client_id}


def _columns(identity: Identity) -> dict[str, Any]:
    return {
        "object_id": identity.object_id,
        "name": identity.name,
        "name_key": identity.name.lower(),
        "kind": identity.kind.value,
        "resource_id": identity.resource_id,
        "resource_key": identity.resource_id.lower() if identity.resource_id else None,
        "application_id": identity.application_id,
        "unique_name": identity.unique_name,
        "has_principal": identity.has_principal,
        "enabled": identity.enabled,
        "location": identity.location,
        "tags": to_json(identity.tags),
        "created": identity.created,
        "document": to_json(identity.document),
        "principal": to_json(identity.principal),
    }


def _uri_rows(identity: Identity) -> list[dict[str, Any]]:
    return [
        {**_key(identity), "uri_key": uri_key(uri), "place": place, "uri": uri}
        for place, uri in enumerate(identity.identifier_uris)
    ]


def _credential_rows(identity: Identity) -> list[dict[str, Any]]:
    return [
        {
            **_key(identity),
            "name": one.name,
            "issuer": one.issuer,
            "subject": one.subject,
            "audience": one.audiences[0],
            "description": one.description,
            "id": one.id,
            "created": one.created,
        }
        for one in identity.credentials
    ]


def _password_rows(identity: Identity) -> list[dict[str, Any]]:
    return [
        {
            **_key(identity),
            "key_id": one.key_id,
            "display_name": one.display_name,
            "hint": one.hint,
            "digest": one.digest,
            "begins": one.begins,
            "expires": one.expires,
        }
        for one in identity.passwords
    ]


def _key_rows(identity: Identity) -> list[dict[str, Any]]:
    return [
        {
            **_key(identity),
            "key_id": one.key_id,
            "display_name": one.display_name,
            "certificate": one.certificate,
            "thumbprint": one.thumbprint,
            "begins": one.begins,
            "expires": one.expires,
        }
        for one in identity.keys
    ]


_TABLES = {
    identifier_uris: _uri_rows,
    federated_credentials: _credential_rows,
    password_credentials: _password_rows,
    key_credentials: _key_rows,
}
_OWN_KEYS = {
    identifier_uris: "uri_key",
    federated_credentials: "name",
    password_credentials: "key_id",
    key_credentials: "key_id",
}


def _write_held(
    connection: Connection, table: Table, old: Iterable[dict[str, Any]], new: list[dict[str, Any]]
) -> None:
    """Delete what is gone or differs, then insert what is new or differs; the rest is not touched.

    All out, then all in: two credentials may have changed places.
    """
    key = tuple(table.primary_key.columns)
    gone = [row for row in old if row not in new]
    if gone:
        values = [tuple(row[column.name] for column in key) for row in gone]
        connection.execute(delete(table).where(tuple_(*key).in_(values)))
    if come := [row for row in new if row not in old]:
        connection.execute(insert(table), come)


def check_group(connection: Connection, resource_id: str | None) -> None:
    """Refuse to put something into a resource group that is not there.

    Errors:  GroupNotFound.
    """
    place = resource_ids.group_of(resource_id or "")
    if place is None:
        return
    query = select(resource_groups.c.name).filter_by(
        subscription_id=place[0], name_key=place[1].lower()
    )
    if connection.execute(query).first() is None:
        raise errors.GroupNotFound("the resource group is not there", group=place[1])


def delete_identity(tenant_id: str, client_id: str) -> Delete:
    """Delete an identity; what it holds goes with it."""
    return delete(identities).filter_by(tenant_id=tenant_id, client_id=client_id)


def write_tenant(connection: Connection, tenant: Tenant) -> None:
    """Write a tenant that is not there yet."""
    statement: Insert = insert(tenants)
    connection.execute(statement.values(id=tenant.id, display_name=tenant.display_name))
    for domain in tenant.domains:
        connection.execute(insert(tenant_domains).values(domain=domain, tenant_id=tenant.id))


def find_tenant(connection: Connection, name: str) -> Tenant | None:
    """Find a tenant by id or domain, in lower case."""
    if not is_lower_guid(name):
        query = select(tenant_domains.c.tenant_id).filter_by(domain=name)
        name = connection.scalar(query) or ""
    found = read_tenants(connection, name)
    return found[0] if found else None


def read_tenants(connection: Connection, tenant_id: str | None = None) -> list[Tenant]:
    """Read all tenants, or one.

    Errors:  RowDamaged.
    """
    query = select(tenants).order_by(tenants.c.id)
    if tenant_id is not None:
        query = query.where(tenants.c.id == tenant_id)
    return [_tenant(connection, row) for row in connection.execute(query).all()]


def _tenant(connection: Connection, row: Row[Any]) -> Tenant:
    with database.shaping("tenants", row.id, hint=_RESTORE):
        database.check_types(row, tenants)
        if not is_lower_guid(row.id):
            raise ValueError("want a GUID in lower case")
    query = select(tenant_domains).filter_by(tenant_id=row.id).order_by(tenant_domains.c.domain)
    domains = tuple(_domain(each) for each in connection.execute(query))
    return Tenant(id=row.id, display_name=row.display_name, domains=domains)


def _domain(row: Row[Any]) -> str:
    with database.shaping("tenant_domains", row.domain):
        database.check_types(row, tenant_domains)
    domain: str = row.domain
    return domain
