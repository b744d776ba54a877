"""Convert between table rows and model dataclasses."""

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

# SQLite limits the number of values in one statement.
_MAX_VALUES = 1000
_RESTORE_HINT = "stop podpass, then restore the database from a backup"
_Owned = Mapping[tuple[str, str], Sequence[Row[Any]]]


def to_json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """Serialize a value as JSON, for a column that no statement queries."""
    return orjson.dumps(value, default=_to_builtin).decode()


def _to_builtin(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError


def from_json(text: str, kind: type = dict) -> Any:
    """Parse what `to_json` wrote. Raises ValueError."""
    value = orjson.loads(text)
    if not isinstance(value, kind):
        raise ValueError(f"want {kind.__name__}, found {type(value).__name__}")  # noqa: TRY004
    return value


def to_identities(
    connection: Connection, query: Select[Any], matches: Callable[[Row[Any]], bool] | None = None
) -> list[Identity]:
    """Read identities with their credentials, in the order of a query on `identities`.

    `matches` selects rows of the query; without it all are read.

    Raises CorruptRowError.
    """
    return [decode() for decode in _build_decoders(connection, query, matches)]


def list_identities(
    connection: Connection, query: Select[Any], limit: int | None = None
) -> list[Identity]:
    """Read identities for a list, up to the limit, without those with corrupt rows."""
    if limit is None:
        return database.decode_rows(_build_decoders(connection, query), lambda decode: decode())
    return database.decode_full_page(
        limit, lambda size: _build_decoders(connection, query.limit(size)), lambda decode: decode()
    )


def _build_decoders(
    connection: Connection, query: Select[Any], matches: Callable[[Row[Any]], bool] | None = None
) -> list[Callable[[], Identity]]:
    """Read the rows of identities and their child rows, and return a decoder for each identity."""
    rows = [row for row in connection.execute(query) if matches is None or matches(row)]
    if not rows:
        return []
    applications = [row for row in rows if row.kind == IdentityKind.APPLICATION]
    owned = {
        table: _read_child_rows(
            connection, table, rows if table is federated_credentials else applications
        )
        for table in _TABLES
    }
    return [partial(_to_identity, row, owned) for row in rows]


def _read_child_rows(connection: Connection, table: Table, rows: Sequence[Row[Any]]) -> _Owned:
    """Read the rows of a table that belong to identities, by identity."""
    owned: dict[tuple[str, str], list[Row[Any]]] = defaultdict(list)
    owners: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        # A corrupt id cannot be a value of a statement. Its identity is rejected later.
        if isinstance(row.client_id, str) and "\0" not in row.client_id:
            owners[row.tenant_id].append(row.client_id)
    for tenant_id, ids in owners.items():
        tenant_rows = select(table).where(table.c.tenant_id == tenant_id)
        for begin in range(0, len(ids), _MAX_VALUES):
            query = tenant_rows.where(table.c.client_id.in_(ids[begin : begin + _MAX_VALUES]))
            for row in connection.execute(query):
                owned[row.tenant_id, row.client_id].append(row)
    return owned


@database.row_decoder(identities, key=lambda row: row.client_id)
def _to_identity(row: Row[Any], owned: Mapping[Table, _Owned]) -> Identity:
    if "\0" in row.client_id:
        raise ValueError("client_id: contains a NUL character")
    owner = (row.tenant_id, row.client_id)
    # Each child row has its own decoder, so that an error names that row and not the identity.
    own = {
        table: [_DECODERS[table](each) for each in owned[table].get(owner, ())] for table in owned
    }
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
        identifier_uris=tuple(uri for _, uri in sorted(own[identifier_uris])),
        credentials=tuple(sorted(own[federated_credentials], key=lambda one: one.name)),
        passwords=tuple(sorted(own[password_credentials], key=_age_key)),
        keys=tuple(sorted(own[key_credentials], key=_age_key)),
        location=row.location,
        tags=from_json(row.tags),
        created=row.created,
        document=from_json(row.document),
        principal=from_json(row.principal),
    )


def _age_key(secret: PasswordCredential | KeyCredential) -> tuple[float, str]:
    return secret.begins, secret.key_id


def _key_in(column: str) -> Callable[[Row[Any]], str]:
    return lambda row: f"{row.client_id}/{getattr(row, column)}"


@database.row_decoder(identifier_uris, key=_key_in("uri_key"))
def _to_uri(row: Row[Any]) -> tuple[int, str]:
    return row.place, row.uri


@database.row_decoder(federated_credentials, key=_key_in("name"))
def _to_credential(row: Row[Any]) -> FederatedCredential:
    return FederatedCredential(
        name=row.name,
        issuer=row.issuer,
        subject="" if row.is_flexible else row.subject,
        audiences=(row.audience,),
        description=row.description,
        id=row.id,
        created=row.created,
        expression=row.subject if row.is_flexible else "",
    )


@database.row_decoder(password_credentials, key=_key_in("key_id"))
def _to_password(row: Row[Any]) -> PasswordCredential:
    return PasswordCredential(**_secret_fields(row))


@database.row_decoder(key_credentials, key=_key_in("key_id"))
def _to_key_credential(row: Row[Any]) -> KeyCredential:
    return KeyCredential(**_secret_fields(row))


def _secret_fields(row: Row[Any]) -> dict[str, Any]:
    values = dict(row._mapping)  # noqa: SLF001 - the documented access to the names of a row
    return {name: values[name] for name in values.keys() - {"tenant_id", "client_id"}}


_DECODERS: Mapping[Table, Callable[[Row[Any]], Any]] = {
    identifier_uris: _to_uri,
    federated_credentials: _to_credential,
    password_credentials: _to_password,
    key_credentials: _to_key_credential,
}


def write_identity(connection: Connection, old: Identity | None, new: Identity) -> None:
    """Write the changes of an identity and of its child rows."""
    values = _to_columns(new)
    if old is None:
        connection.execute(insert(identities).values(**_key(new), **values))
    elif values != _to_columns(old):
        connection.execute(update(identities).filter_by(**_key(new)).values(**values))
    for table, rows_of in _TABLES.items():
        _write_owned(connection, table, rows_of(old) if old else [], rows_of(new))


def insert_identities(connection: Connection, new: Sequence[Identity]) -> None:
    """Insert identities that do not exist yet."""
    if new:
        connection.execute(insert(identities), [{**_key(one), **_to_columns(one)} for one in new])
    for table, rows_of in _TABLES.items():
        if rows := [row for one in new for row in rows_of(one)]:
            connection.execute(insert(table), rows)


def _key(identity: Identity) -> dict[str, Any]:
    return {"tenant_id": identity.tenant_id, "client_id": identity.client_id}


def _to_columns(identity: Identity) -> dict[str, Any]:
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
        {**_key(identity), "uri_key": uri_key(uri), "place": index, "uri": uri}
        for index, uri in enumerate(identity.identifier_uris)
    ]


def _credential_rows(identity: Identity) -> list[dict[str, Any]]:
    return [
        {
            **_key(identity),
            "name": one.name,
            "issuer": one.issuer,
            "subject": one.expression or one.subject,
            "audience": one.audiences[0],
            "description": one.description,
            "id": one.id,
            "created": one.created,
            "is_flexible": bool(one.expression),
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


def _write_owned(
    connection: Connection, table: Table, old: Iterable[dict[str, Any]], new: list[dict[str, Any]]
) -> None:
    """Delete removed and changed rows, then insert new and changed rows. Other rows stay.

    All deletes come first, because two credentials may have swapped their values.
    """
    key = tuple(table.primary_key.columns)
    removed = [row for row in old if row not in new]
    if removed:
        values = [tuple(row[column.name] for column in key) for row in removed]
        connection.execute(delete(table).where(tuple_(*key).in_(values)))
    if added := [row for row in new if row not in old]:
        connection.execute(insert(table), added)


def check_group_exists(connection: Connection, resource_id: str | None) -> None:
    """Reject a resource id whose resource group does not exist. Raises GroupNotFound."""
    group = resource_ids.group_of(resource_id or "")
    if group is None:
        return
    query = select(resource_groups.c.name).filter_by(
        subscription_id=group[0], name_key=group[1].lower()
    )
    if connection.execute(query).first() is None:
        raise errors.GroupNotFound("the resource group does not exist", group=group[1])


def delete_identity(tenant_id: str, client_id: str) -> Delete:
    """Return the statement that deletes an identity; the database deletes its child rows."""
    return delete(identities).filter_by(tenant_id=tenant_id, client_id=client_id)


def write_tenant(connection: Connection, tenant: Tenant) -> None:
    """Insert a tenant that does not exist yet."""
    statement: Insert = insert(tenants)
    connection.execute(statement.values(id=tenant.id, display_name=tenant.display_name))
    for domain in tenant.domains:
        connection.execute(insert(tenant_domains).values(domain=domain, tenant_id=tenant.id))


def find_tenant(connection: Connection, name: str) -> Tenant | None:
    """Find a tenant by id or domain. Both are in lower case."""
    if not is_lower_guid(name):
        query = select(tenant_domains.c.tenant_id).filter_by(domain=name)
        name = connection.scalar(query) or ""
    found = read_tenants(connection, name)
    return found[0] if found else None


def read_tenants(connection: Connection, tenant_id: str | None = None) -> list[Tenant]:
    """Read all tenants, or one. Raises CorruptRowError."""
    query = select(tenants).order_by(tenants.c.id)
    if tenant_id is not None:
        query = query.where(tenants.c.id == tenant_id)
    return [_to_tenant(connection, row) for row in connection.execute(query).all()]


def _to_tenant(connection: Connection, row: Row[Any]) -> Tenant:
    tenant_id, display_name = _to_tenant_row(row)
    query = select(tenant_domains).filter_by(tenant_id=tenant_id).order_by(tenant_domains.c.domain)
    domains = tuple(_to_domain(each) for each in connection.execute(query))
    return Tenant(id=tenant_id, display_name=display_name, domains=domains)


@database.row_decoder(tenants, key=lambda row: row.id, hint=_RESTORE_HINT)
def _to_tenant_row(row: Row[Any]) -> tuple[str, str]:
    if not is_lower_guid(row.id):
        raise ValueError("want a GUID in lower case")
    return row.id, row.display_name


@database.row_decoder(tenant_domains, key=lambda row: row.domain)
def _to_domain(row: Row[Any]) -> str:
    domain: str = row.domain
    return domain
