"""Write identities in a transaction: create, replace, delete, with their audit entries."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Select, and_, delete, or_, select

from podpass.directory import errors, identity_changes, rules
from podpass.directory.model import Identity, WriteResult
from podpass.directory.store import identity_queries, role_assignments, rows
from podpass.directory.store.schema import app_role_assignments, identities, permission_grants
from podpass.directory.store.schema import role_assignments as assignment_rows
from podpass.directory.store.session import Write


def remove(write: Write, identity: Identity) -> None:
    """Delete an identity. Deleting a resource group calls this too."""
    write.connection.execute(rows.delete_identity(identity.tenant_id, identity.client_id))
    delete_assignments(write.connection, identity.tenant_id, identity.object_id)
    if identity.resource_id is not None:
        # A later identity of the same name must not get these role assignments.
        role_assignments.delete_at(write, identity.resource_id)
    _record(write, identity, None)


def remove_below(write: Write, scope: str) -> None:
    """Delete every managed identity below a scope."""
    query = select(identities).where(identity_queries.is_below(identities.c.resource_key, scope))
    for identity in rows.to_identities(write.connection, query):
        remove(write, identity)


def read(connection: Connection, tenant_id: str, client_id: str) -> Identity | None:
    """Return the identity with this tenant and client ID, or None."""
    return read_first(
        connection, select(identities).filter_by(tenant_id=tenant_id, client_id=client_id)
    )


def read_first(connection: Connection, query: Select[Any]) -> Identity | None:
    """Return the first identity of a query, or None."""
    found = rows.to_identities(connection, query)
    return found[0] if found else None


def put(write: Write, identity: Identity) -> WriteResult:
    """Create or replace an identity."""
    if not rows.read_tenants(write.connection, identity.tenant_id):
        raise errors.NotFound("the tenant does not exist", tenant_id=identity.tenant_id)
    old = read(write.connection, identity.tenant_id, identity.client_id)
    return write_change(write, old, identity)[0]


def put_many(write: Write, given: Sequence[Identity]) -> list[WriteResult]:
    """Create or replace identities; new ones are inserted together."""
    known = {tenant.id for tenant in rows.read_tenants(write.connection)}
    if unknown := {one.tenant_id for one in given} - known:
        raise errors.NotFound("the tenant does not exist", tenant_id=min(unknown))
    existing = _read_existing(write.connection, given)
    new = [
        identity_changes.normalize(None, one, write.now)
        for one in given
        if key_of(one) not in existing
    ]
    for identity in new:
        rules.check_new_expressions((), identity.credentials, write.expressions)
    rows.insert_identities(write.connection, new)
    for identity in new:
        _record(write, None, identity)
    return [
        write_change(write, existing[key_of(one)], one)[0]
        if key_of(one) in existing
        else WriteResult.CREATED
        for one in given
    ]


def _read_existing(
    connection: Connection, given: Sequence[Identity]
) -> dict[tuple[str, str], Identity]:
    found: dict[tuple[str, str], Identity] = {}
    for begin in range(0, len(given), 1000):
        part = given[begin : begin + 1000]
        for tenant_id in {one.tenant_id for one in part}:
            ids = [one.client_id for one in part if one.tenant_id == tenant_id]
            query = select(identities).where(
                identities.c.tenant_id == tenant_id, identities.c.client_id.in_(ids)
            )
            found.update((key_of(one), one) for one in rows.to_identities(connection, query))
    return found


def key_of(identity: Identity) -> tuple[str, str]:
    """Return tenant ID and client ID."""
    return identity.tenant_id, identity.client_id


def change(
    write: Write, tenant_id: str, client_id: str, step: Callable[[Identity], Identity]
) -> Identity:
    """Change an identity by `step`, as part of a transaction.

    Raises NotFound; Conflict for changed ids; those of `step` and of `rules.check_identity`.
    """
    old = read(write.connection, tenant_id.lower(), client_id.lower())
    if old is None:
        raise errors.NotFound("the identity does not exist", client_id=client_id)
    new = step(old)
    if key_of(new) != key_of(old):
        raise errors.Conflict("ids of an identity cannot change", client_id=client_id)
    rules.check_identity(new)
    return write_change(write, old, new)[1]


def write_change(
    write: Write, old: Identity | None, given: Identity
) -> tuple[WriteResult, Identity]:
    """Store the changed identity with its audit entries; an equal identity is not written."""
    new = identity_changes.normalize(old, given, write.now)
    if old == new:
        return WriteResult.UNCHANGED, new
    before = () if old is None else old.credentials
    rules.check_new_expressions(before, new.credentials, write.expressions)
    if old is not None:
        identity_changes.check_immutable(old, new)
    rows.write_identity(write.connection, old, new)
    if old is not None and old.has_principal and not new.has_principal:
        delete_assignments(write.connection, old.tenant_id, old.object_id)
    _record(write, old, new)
    return WriteResult.CREATED if old is None else WriteResult.UPDATED, new


def delete_assignments(connection: Connection, tenant_id: str, object_id: str) -> None:
    """Delete the assignments and consents of a deleted principal or user, and those for its permissions."""
    # A later principal must never inherit them.
    connection.execute(delete(assignment_rows).filter_by(principal_id=object_id))
    connection.execute(
        delete(app_role_assignments).where(
            or_(
                app_role_assignments.c.principal_id == object_id,
                app_role_assignments.c.resource_id == object_id,
            )
        )
    )
    grants = permission_grants.c
    is_party = or_(
        grants.client_id == object_id,
        grants.resource_id == object_id,
        and_(grants.tenant_id == tenant_id, grants.principal_id == object_id),
    )
    connection.execute(delete(permission_grants).where(is_party))


def _record(write: Write, old: Identity | None, new: Identity | None) -> None:
    for action, target in identity_changes.audit_events(old, new):
        write.record(action, target)
