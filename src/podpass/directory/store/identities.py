"""Applications with their service principals, and managed identities."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from sqlalchemy import Connection, or_, select

from podpass.directory import errors, naming, rules
from podpass.directory.model import FederatedCredential, Identity, IdentityKind, WriteResult
from podpass.directory.store import identity_queries, identity_writes, rows, token_lookup
from podpass.directory.store.cache import Cache
from podpass.directory.store.identity_queries import Condition, IdentityQuery
from podpass.directory.store.schema import identifier_uris, identities
from podpass.directory.store.session import Session, Write
from podpass.guids import is_lower_guid

__all__ = ["Condition", "Identities"]

# An entry for a workload and its identity takes 2.5 kB; a complete identity may take 8 kB.
_TRUSTING_CACHE_SIZE = 8_192
# Time limit of a write of many identities, each with the maximum of credentials.
_SECONDS, _SECONDS_EACH = 5.0, 0.05


class Identities:
    """Applications and managed identities, by client id."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._identities: Cache[tuple[str, str], Identity] = session.cache()
        self._trusting: Cache[tuple[str, str, str, str], Identity] = session.cache(
            _TRUSTING_CACHE_SIZE
        )
        self._owners: Cache[tuple[str, str], Identity] = session.cache()

    # Reads

    async def get(self, tenant_id: str, client_id: str) -> Identity | None:
        """Return an identity of this tenant, enabled or disabled. GUIDs are compared without case."""
        key = (tenant_id.lower(), client_id.lower())
        if not is_lower_guid(key[1]):
            return None
        return await self._identities.get(key, lambda: self._load(*key))

    async def find_trusting(
        self, tenant_id: str, client_id: str, issuer: str, subject: str
    ) -> Identity | None:
        """Return an identity with its federated credential for this issuer and subject.

        With such a credential, the identity has this credential and its names, and may lack its other
        members; without one, the identity is complete. Raises CorruptRowError for a row that is read;
        DatabaseFailed.
        """
        tenant_id, client_id = tenant_id.lower(), client_id.lower()
        cached = self._trusting.peek((tenant_id, client_id, issuer, subject))
        if cached is None:
            cached = self._identities.peek((tenant_id, client_id))
        if cached is not None:
            return cached
        if not is_lower_guid(client_id):
            return None
        # Databases reject some unprintable characters. The few credentials with such characters are found by
        # reading all credentials.
        for text in (issuer, subject):
            if len(text) > rules.MAX_CHARS or not text.isprintable():
                return await self.get(tenant_id, client_id)
        return await self._find_trusting(tenant_id, client_id, issuer, subject)

    async def _find_trusting(
        self, tenant_id: str, client_id: str, issuer: str, subject: str
    ) -> Identity | None:
        exists = True
        names = {"tenant_id": tenant_id, "client_id": client_id}

        async def load() -> Identity | None:
            nonlocal exists
            rows = await self._session.fetch(
                token_lookup.TRUSTING, **names, issuer=issuer, subject=subject
            )
            exists = bool(rows)
            return token_lookup.to_trusting(tenant_id, client_id, rows)

        found = await self._trusting.get((tenant_id, client_id, issuer, subject), load)
        return await self.get(tenant_id, client_id) if found is None and exists else found

    async def owner_of_uri(self, tenant_id: str, uri: str) -> Identity | None:
        """Return the application with an identifier URI. Case and one trailing slash are ignored."""
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
        return await self._session.read(
            lambda connection: identity_writes.read_first(connection, query)
        )

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
        """List a page of identities, up to the limit.

        `after` is the last `client_id` of the previous page. With `group` (ARM id of a resource group or
        subscription) it is the last `resource_id`, and the order is by resource id. Raises PageExpired, if
        the order is by name and the last identity no longer exists.
        """
        query = IdentityQuery(
            tenant_id=tenant_id.lower(), kind=kind, principals=principals, where=where, group=group
        )

        def step(connection: Connection) -> "list[Identity]":
            begin = None if after is None else _order_values(connection, query, after.lower())
            return rows.list_identities(
                connection, identity_queries.select_page(query, begin, limit), limit
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
        query = IdentityQuery(
            tenant_id=tenant_id.lower(), kind=kind, principals=principals, where=where
        )
        statement = identity_queries.select_count(query)
        return await self._session.read(lambda connection: int(connection.scalar(statement) or 0))

    # Writes. They are durable when they return.

    async def put(self, identity: Identity, *, grouped: bool = False) -> WriteResult:
        """Create or replace an identity. Afterwards it has exactly the given credentials.

        With `grouped` its resource group must exist. Raises InvalidValue, InvalidCredential,
        TooManyCredentials, TooMany, TrustNotUnique, Conflict; NotFound for the tenant; GroupNotFound.
        """
        rules.check_identity(identity)

        def step(write: Write) -> WriteResult:
            if grouped:
                rows.check_group_exists(write.connection, identity.resource_id)
            return identity_writes.put(write, identity)

        return await self._session.write(step)

    async def put_many(self, many: Iterable[Identity]) -> list[WriteResult]:
        """Create or replace identities in one transaction. Raises as `put`."""
        given = list(many)
        for identity in given:
            rules.check_identity(identity)
        if len({identity_writes.key_of(one) for one in given}) < len(given):
            raise errors.Conflict("an identity is listed twice")
        return await self._session.write(
            lambda write: identity_writes.put_many(write, given),
            seconds=_SECONDS + len(given) * _SECONDS_EACH,
        )

    async def change(
        self, tenant_id: str, client_id: str, step: Callable[[Identity], Identity]
    ) -> Identity:
        """Change an identity by `step`, in one transaction. Raises NotFound; those of `step` and of `put`."""

        return await self._session.write(
            lambda write: identity_writes.change(write, tenant_id, client_id, step)
        )

    async def put_credential(
        self, tenant_id: str, client_id: str, credential: FederatedCredential
    ) -> WriteResult:
        """Add a federated credential, or replace the one with the same name.

        Raises InvalidCredential, TooManyCredentials, TrustNotUnique; NotFound for the identity.
        """
        change = WriteResult.CREATED

        def step(old: Identity) -> Identity:
            nonlocal change
            rules.check_credential(credential, old.kind)
            before = next((one for one in old.credentials if one.name == credential.name), None)
            if before is not None:
                after = replace(credential, id=before.id, created=before.created)
                change = WriteResult.UNCHANGED if before == after else WriteResult.UPDATED
            return replace(old, credentials=rules.put_credential(old.credentials, credential))

        await self.change(tenant_id, client_id, step)
        return change

    async def delete_credential(self, tenant_id: str, client_id: str, name: str) -> bool:
        """Delete a federated credential. Return whether it existed."""

        def step(write: Write) -> bool:
            old = identity_writes.read(write.connection, tenant_id.lower(), client_id.lower())
            others = tuple(one for one in old.credentials if one.name != name) if old else ()
            if old is None or len(others) == len(old.credentials):
                return False
            identity_writes.write_change(write, old, replace(old, credentials=others))
            return True

        return await self._session.write(step)

    async def delete(self, tenant_id: str, client_id: str) -> bool:
        """Delete an identity with its credentials and role assignments. Return whether it existed."""

        def step(write: Write) -> bool:
            old = identity_writes.read(write.connection, tenant_id.lower(), client_id.lower())
            if old is not None:
                identity_writes.remove(write, old)
            return old is not None

        return await self._session.write(step)

    # Internal

    async def _load(self, tenant_id: str, client_id: str) -> Identity | None:
        parts = await self._session.fetch(
            token_lookup.IDENTITY, tenant_id=tenant_id, client_id=client_id
        )
        return token_lookup.to_identity(tenant_id, client_id, parts)

    async def _load_owner(self, tenant_id: str, key: str) -> Identity | None:
        query = select(identifier_uris.c.client_id).filter_by(tenant_id=tenant_id, uri_key=key)

        def step(connection: Connection) -> Identity | None:
            client_id = connection.scalar(query)
            return (
                None
                if client_id is None
                else identity_writes.read(connection, tenant_id, client_id)
            )

        return await self._session.read(step)

    # The last public method, because `list` in annotations below it would mean this method.
    async def list(self, tenant_id: str, name: str | None = None) -> list[Identity]:
        """List a tenant's identities by name: all, or those with one name.

        Raises CorruptRowError for an identity of the given name, which must not count as absent.
        """
        query = select(identities).where(identities.c.tenant_id == tenant_id)
        query = query.order_by(identities.c.name, identities.c.client_id)
        if name is None:
            return await self._session.read(lambda one: rows.list_identities(one, query))
        # An identity with a corrupt name is still found by the column with the lower-case name.
        either = or_(identities.c.name == name, identities.c.name_key == name.lower())
        return await self._session.read(
            lambda connection: rows.to_identities(
                connection,
                query.where(either),
                lambda row: row.name == name or not isinstance(row.name, str),
            )
        )


def _order_values(connection: Connection, query: IdentityQuery, after: str) -> tuple[str, ...]:
    """Return the values of the order's columns where the previous page ended."""
    if not query.by_name:
        return (after,)
    last = select(identities.c.name_key).filter_by(tenant_id=query.tenant_id, client_id=after)
    name = connection.execute(last).scalar_one_or_none()
    if name is None:
        raise errors.PageExpired("the last entry of the previous page no longer exists")
    return name, after
