"""Applications with their service principals, and managed identities."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Select, delete, or_, select

from podpass.directory import errors, identity_changes, naming, rules
from podpass.directory.model import Change, FederatedCredential, Identity, IdentityKind
from podpass.directory.store import (
    identity_queries,
    rows,
    token_lookup,
)
from podpass.directory.store import (
    role_assignments as assignments,
)
from podpass.directory.store.cache import Cache
from podpass.directory.store.identity_queries import Condition, Wanted
from podpass.directory.store.schema import (
    app_role_assignments,
    identifier_uris,
    identities,
    role_assignments,
)
from podpass.directory.store.session import Session, Write
from podpass.guids import is_lower_guid

__all__ = ["Condition", "Identities"]

# Pairs of a workload and its identity, two and a half kilobytes each; a whole identity may take eight.
_TRUSTING = 8_192
# What many at once may take, each with all it can hold.
_SECONDS, _SECONDS_EACH = 5.0, 0.05


class Identities:
    """Whoever asks for tokens without being a person; one entry a client id."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._kept: Cache[tuple[str, str], Identity] = session.cache()
        self._trusting: Cache[tuple[str, str, str, str], Identity] = session.cache(_TRUSTING)
        self._owners: Cache[tuple[str, str], Identity] = session.cache()

    # Reads

    async def get(self, tenant_id: str, client_id: str) -> Identity | None:
        """Find an identity of this tenant, enabled or not; GUIDs are compared without case."""
        key = (tenant_id.lower(), client_id.lower())
        if not is_lower_guid(key[1]):
            return None
        return await self._kept.get(key, lambda: self._load(*key))

    async def trusting(
        self, tenant_id: str, client_id: str, issuer: str, subject: str
    ) -> Identity | None:
        """Find an identity with what it trusts this subject of this issuer for.

        Shapes:  one that has such a credential comes with it and with what names it, the rest may be missing;
                 one that has none comes whole.
        Errors:  RowDamaged, for what is read of it; DatabaseFailed.
        """
        tenant_id, client_id = tenant_id.lower(), client_id.lower()
        kept = self._trusting.peek((tenant_id, client_id, issuer, subject))
        if kept is None:
            kept = self._kept.peek((tenant_id, client_id))
        if kept is not None:
            return kept
        if not is_lower_guid(client_id):
            return None
        # No database takes all other signs; the few credentials that have some are found among all.
        for text in (issuer, subject):
            if len(text) > rules.MAX_CHARS or not text.isprintable():
                return await self.get(tenant_id, client_id)
        return await self._find_trusting(tenant_id, client_id, issuer, subject)

    async def _find_trusting(
        self, tenant_id: str, client_id: str, issuer: str, subject: str
    ) -> Identity | None:
        is_there = True
        names = {"tenant_id": tenant_id, "client_id": client_id}

        async def load() -> Identity | None:
            nonlocal is_there
            rows = await self._session.fetch(
                token_lookup.TRUSTING, **names, issuer=issuer, subject=subject
            )
            is_there = bool(rows)
            return token_lookup.to_trusting(tenant_id, client_id, rows)

        found = await self._trusting.get((tenant_id, client_id, issuer, subject), load)
        return await self.get(tenant_id, client_id) if found is None and is_there else found

    async def owner_of_uri(self, tenant_id: str, uri: str) -> Identity | None:
        """Find the application that holds an identifier URI; case and one slash at the end do not matter."""
        if not uri.isascii() or naming.uri_fault(uri) is not None:
            return None
        key = (tenant_id.lower(), naming.uri_key(uri))
        return await self._owners.get(key, lambda: self._load_owner(*key))

    async def find(
        self,
        tenant_id: str,
        *,
        object_id: str | None = None,
        application_id: str | None = None,
        resource_id: str | None = None,
        unique_name: str | None = None,
        identifier_uri: str | None = None,
    ) -> Identity | None:
        """Find an identity by exactly one of its other names."""
        if identifier_uri is not None:
            return await self.owner_of_uri(tenant_id, identifier_uri)
        given = {
            "object_id": object_id and object_id.lower(),
            "application_id": application_id and application_id.lower(),
            "resource_key": resource_id and resource_id.lower(),
            "unique_name": unique_name,
        }
        [(column, value)] = [(name, value) for name, value in given.items() if value is not None]
        query = select(identities).where(
            identities.c[column] == value, identities.c.tenant_id == tenant_id.lower()
        )
        return await self._session.read(lambda connection: _first(connection, query))

    async def page(
        self,
        tenant_id: str,
        *,
        kind: IdentityKind | None = None,
        principals: bool = False,
        where: Sequence[Condition] = (),
        group: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Identity]:
        """List identities, as many as the limit, that come after one.

        Shapes:  `after` is the last `client_id` of the page before; under a `group` (ARM id of a resource
                 group or subscription) its `resource_id`, which then gives the order.
        Errors:  PageExpired, when the order is that of names and the last one is gone.
        """
        wanted = Wanted(
            tenant_id=tenant_id.lower(), kind=kind, principals=principals, where=where, group=group
        )

        def step(connection: Connection) -> "list[Identity]":
            begin = None if after is None else _place(connection, wanted, after.lower())
            return rows.list_identities(
                connection, identity_queries.page(wanted, begin, limit), limit
            )

        return await self._session.read(step)

    async def count(
        self,
        tenant_id: str,
        *,
        kind: IdentityKind | None = None,
        principals: bool = False,
        where: Sequence[Condition] = (),
    ) -> int:
        """Count the identities that `page` would list."""
        wanted = Wanted(tenant_id=tenant_id.lower(), kind=kind, principals=principals, where=where)
        query = identity_queries.count(wanted)
        return await self._session.read(lambda connection: int(connection.scalar(query) or 0))

    # Writes: durable when they return

    async def put(self, identity: Identity, *, grouped: bool = False) -> Change:
        """Create an identity or replace it whole; afterwards it has exactly these credentials.

        Shapes:  `grouped` puts it only into a resource group that is there.
        Errors:  InvalidValue, InvalidCredential, TooManyCredentials, TooMany, TrustNotUnique, Conflict;
                 NotFound for the tenant; GroupNotFound.
        """
        rules.check_identity(identity)

        def step(write: Write) -> Change:
            if grouped:
                rows.check_group(write.connection, identity.resource_id)
            return _put(write, identity)

        return await self._session.write(step)

    async def put_many(self, many: Iterable[Identity]) -> list[Change]:
        """Create or replace identities in one transaction: all of them, or none.

        Errors:  as `put`.
        """
        given = list(many)
        for identity in given:
            rules.check_identity(identity)
        if len({_key(one) for one in given}) < len(given):
            raise errors.Conflict("an identity stands twice among those to be written")
        return await self._session.write(
            lambda write: _put_many(write, given), seconds=_SECONDS + len(given) * _SECONDS_EACH
        )

    async def change(
        self, tenant_id: str, client_id: str, step: Callable[[Identity], Identity]
    ) -> Identity:
        """Read an identity, let `step` change it, write it; nothing comes between.

        Errors:  NotFound; those of `step` and of `put`.
        """

        def changed(write: Write) -> Identity:
            old = _read(write.connection, tenant_id.lower(), client_id.lower())
            if old is None:
                raise errors.NotFound("there is no such identity", client_id=client_id)
            new = step(old)
            if _key(new) != _key(old):
                raise errors.Conflict("ids of an identity cannot change", client_id=client_id)
            rules.check_identity(new)
            return _write(write, old, new)[1]

        return await self._session.write(changed)

    async def put_credential(
        self, tenant_id: str, client_id: str, credential: FederatedCredential
    ) -> Change:
        """Add a federated credential, or change the one of this name.

        Errors:  InvalidCredential, TooManyCredentials, TrustNotUnique; NotFound for the identity.
        """
        change = Change.CREATED

        def step(old: Identity) -> Identity:
            nonlocal change
            was = next((one for one in old.credentials if one.name == credential.name), None)
            if was is not None:
                kept = replace(credential, id=was.id, created=was.created)
                change = Change.UNCHANGED if was == kept else Change.UPDATED
            return replace(old, credentials=rules.replaced(old.credentials, credential))

        rules.check_credential(credential)
        await self.change(tenant_id, client_id, step)
        return change

    async def delete_credential(self, tenant_id: str, client_id: str, name: str) -> bool:
        """Delete a federated credential, if it is there."""

        def step(write: Write) -> bool:
            old = _read(write.connection, tenant_id.lower(), client_id.lower())
            kept = tuple(one for one in old.credentials if one.name != name) if old else ()
            if old is None or len(kept) == len(old.credentials):
                return False
            _write(write, old, replace(old, credentials=kept))
            return True

        return await self._session.write(step)

    async def delete(self, tenant_id: str, client_id: str) -> bool:
        """Delete an identity with all it holds and all roles it was given, if it is there."""

        def step(write: Write) -> bool:
            old = _read(write.connection, tenant_id.lower(), client_id.lower())
            if old is not None:
                remove(write, old)
            return old is not None

        return await self._session.write(step)

    # Inside

    async def _load(self, tenant_id: str, client_id: str) -> Identity | None:
        parts = await self._session.fetch(
            token_lookup.IDENTITY, tenant_id=tenant_id, client_id=client_id
        )
        return token_lookup.to_identity(tenant_id, client_id, parts)

    async def _load_owner(self, tenant_id: str, key: str) -> Identity | None:
        query = select(identifier_uris.c.client_id).filter_by(tenant_id=tenant_id, uri_key=key)

        def step(connection: Connection) -> Identity | None:
            client_id = connection.scalar(query)
            return None if client_id is None else _read(connection, tenant_id, client_id)

        return await self._session.read(step)

    # The last of the public ones: below it, `list` is this method.
    async def list(self, tenant_id: str, name: str | None = None) -> list[Identity]:
        """List a tenant's identities by name, all or those of one name.

        Errors:  RowDamaged for one of a name: whoever looks for it must not take it for absent.
        """
        query = select(identities).where(identities.c.tenant_id == tenant_id)
        query = query.order_by(identities.c.name, identities.c.client_id)
        if name is None:
            return await self._session.read(lambda one: rows.list_identities(one, query))
        # A name that is no text any more is still known by what it is compared by.
        either = or_(identities.c.name == name, identities.c.name_key == name.lower())
        return await self._session.read(
            lambda connection: rows.to_identities(
                connection,
                query.where(either),
                lambda row: row.name == name or not isinstance(row.name, str),
            )
        )


def remove(write: Write, identity: Identity) -> None:
    """Delete an identity; also a step of deleting its resource group."""
    write.connection.execute(rows.delete_identity(identity.tenant_id, identity.client_id))
    _strip(write.connection, identity.object_id)
    if identity.resource_id is not None:
        # One of the same name must not be ruled by whoever ruled this one.
        assignments.remove_at(write, identity.resource_id)
    _audit(write, identity, None)


def remove_below(write: Write, scope: str) -> None:
    """Delete every managed identity below a scope."""
    query = select(identities).where(identity_queries.below(identities.c.resource_key, scope))
    for identity in rows.to_identities(write.connection, query):
        remove(write, identity)


def _read(connection: Connection, tenant_id: str, client_id: str) -> Identity | None:
    return _first(
        connection, select(identities).filter_by(tenant_id=tenant_id, client_id=client_id)
    )


def _first(connection: Connection, query: Select[Any]) -> Identity | None:
    found = rows.to_identities(connection, query)
    return found[0] if found else None


def _put(write: Write, identity: Identity) -> Change:
    if not rows.read_tenants(write.connection, identity.tenant_id):
        raise errors.NotFound("there is no such tenant", tenant_id=identity.tenant_id)
    old = _read(write.connection, identity.tenant_id, identity.client_id)
    return _write(write, old, identity)[0]


def _put_many(write: Write, given: Sequence[Identity]) -> list[Change]:
    known = {tenant.id for tenant in rows.read_tenants(write.connection)}
    if strange := {one.tenant_id for one in given} - known:
        raise errors.NotFound("there is no such tenant", tenant_id=min(strange))
    there = _there(write.connection, given)
    new = [
        identity_changes.settled(None, one, write.now) for one in given if _key(one) not in there
    ]
    rows.insert_identities(write.connection, new)
    for identity in new:
        _audit(write, None, identity)
    return [
        _write(write, there[_key(one)], one)[0] if _key(one) in there else Change.CREATED
        for one in given
    ]


def _there(connection: Connection, given: Sequence[Identity]) -> dict[tuple[str, str], Identity]:
    found: dict[tuple[str, str], Identity] = {}
    for begin in range(0, len(given), 1000):
        part = given[begin : begin + 1000]
        for tenant_id in {one.tenant_id for one in part}:
            ids = [one.client_id for one in part if one.tenant_id == tenant_id]
            query = select(identities).where(
                identities.c.tenant_id == tenant_id, identities.c.client_id.in_(ids)
            )
            found.update((_key(one), one) for one in rows.to_identities(connection, query))
    return found


def _key(identity: Identity) -> tuple[str, str]:
    return identity.tenant_id, identity.client_id


def _write(write: Write, old: Identity | None, given: Identity) -> tuple[Change, Identity]:
    new = identity_changes.settled(old, given, write.now)
    if old == new:
        return Change.UNCHANGED, new
    if old is not None:
        identity_changes.check_fixed(old, new)
    rows.write_identity(write.connection, old, new)
    if old is not None and old.has_principal and not new.has_principal:
        _strip(write.connection, old.object_id)
    _audit(write, old, new)
    return Change.CREATED if old is None else Change.UPDATED, new


def _strip(connection: Connection, object_id: str) -> None:
    """Take from a principal that is gone everything it was given, and what was given of it."""
    # A later one must never inherit what this one might.
    connection.execute(delete(role_assignments).filter_by(principal_id=object_id))
    connection.execute(
        delete(app_role_assignments).where(
            or_(
                app_role_assignments.c.principal_id == object_id,
                app_role_assignments.c.resource_id == object_id,
            )
        )
    )


def _audit(write: Write, old: Identity | None, new: Identity | None) -> None:
    for action, target in identity_changes.audited(old, new):
        write.record(action, target)


def _place(connection: Connection, wanted: Wanted, after: str) -> tuple[str, ...]:
    """Give the values of a list's order where the page before ended."""
    if not wanted.by_name:
        return (after,)
    query = select(identities.c.name_key).filter_by(tenant_id=wanted.tenant_id, client_id=after)
    name = connection.execute(query).scalar_one_or_none()
    if name is None:
        raise errors.PageExpired("the last entry of the page before is gone")
    return name, after
