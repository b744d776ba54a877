"""Consents: which clients hold which delegated permissions of a resource, for one user or for all users."""

import secrets
import uuid
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, insert, select, update

from podpass import database
from podpass.crypto import jose
from podpass.directory import errors, naming
from podpass.directory.model import PermissionGrant
from podpass.directory.store.cache import Cache
from podpass.directory.store.schema import permission_grants
from podpass.directory.store.session import Session, Write

_ACTION = "microsoft.directory/oAuth2PermissionGrants"
_columns = permission_grants.c
_Key = tuple[str, str, str, str]


class PermissionGrants:
    """Grants of delegated permissions (`oauth2PermissionGrants` in Graph)."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._granted: Cache[_Key, frozenset[str]] = session.cache()

    async def granted(
        self, *, tenant_id: str, client_id: str, resource_id: str, user_id: str
    ) -> frozenset[str]:
        """Return the permissions that a client may use for a user of a tenant.

        Client and resource are object ids. Consents for all users of another tenant do not count. Raises
        CorruptRowError.
        """
        key = (tenant_id, client_id, resource_id, user_id)
        return await self._granted.get(key, lambda: self._load(*key)) or frozenset()

    async def _load(
        self, tenant_id: str, client_id: str, resource_id: str, user_id: str
    ) -> frozenset[str]:
        query = select(permission_grants).where(
            _columns.client_id == client_id,
            _columns.resource_id == resource_id,
            _columns.tenant_id == tenant_id,
            _columns.principal_id.in_(("", user_id)),
        )
        found = await self._session.read(lambda connection: _list(connection, query, None))
        return frozenset(name for one in found for name in one.scope.split())

    async def get(self, grant_id: str) -> PermissionGrant | None:
        """Find a grant by id. Raises CorruptRowError."""
        query = select(permission_grants).where(_columns.id == grant_id)
        return await self._session.read(lambda connection: _first(connection, query))

    async def create(self, grant: PermissionGrant) -> PermissionGrant:
        """Store a new grant.

        Raises InvalidValue; Conflict if client, resource and user have a grant already.
        """
        _check(grant)

        def step(write: Write) -> PermissionGrant:
            if _find_same(write.connection, grant) is not None:
                raise errors.Conflict(
                    "the client has a grant for this resource already: change its scope"
                )
            return _insert(write, grant)

        return await self._session.write(step)

    async def add(self, grants: Iterable[PermissionGrant]) -> None:
        """Add permissions to the grants of client, resource and user, in one transaction.

        Raises InvalidValue.
        """
        given = list(grants)
        for grant in given:
            _check(grant)

        def step(write: Write) -> None:
            for grant in given:
                _add(write, grant)

        await self._session.write(step)

    async def change_scope(self, grant_id: str, scope: str) -> bool:
        """Replace the permissions of a grant. Return whether the grant exists."""

        def step(write: Write) -> bool:
            query = select(permission_grants).where(_columns.id == grant_id)
            if (found := _first(write.connection, query)) is None:
                return False
            _change(write, found, scope)
            return True

        return await self._session.write(step)

    async def delete(self, grant_id: str) -> bool:
        """Delete a grant. Return whether it existed."""

        def step(write: Write) -> bool:
            query = select(permission_grants).where(_columns.id == grant_id)
            if (found := _first(write.connection, query)) is None:
                return False
            write.connection.execute(delete(permission_grants).where(_columns.id == grant_id))
            write.record(f"{_ACTION}/delete", found.client_id)
            return True

        return await self._session.write(step)

    async def page(
        self,
        tenant_id: str,
        *,
        client_id: str | None = None,
        principal_id: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[PermissionGrant]:
        """List a page of the grants of a tenant by id, after the id `after`."""
        query = select(permission_grants).where(_columns.tenant_id == tenant_id.lower())
        if client_id is not None:
            query = query.where(_columns.client_id == client_id.lower())
        if principal_id is not None:
            query = query.where(_columns.principal_id == principal_id.lower())
        if after is not None:
            query = query.where(_columns.id > after)
        query = query.order_by(_columns.id)
        return await self._session.read(lambda connection: _list(connection, query, limit))


def _check(grant: PermissionGrant) -> None:
    for field in ("tenant_id", "client_id", "resource_id"):
        naming.check_guid(field, getattr(grant, field))
    if grant.principal_id:
        naming.check_guid("principal_id", grant.principal_id)


def _list(connection: Connection, query: Select[Any], limit: int | None) -> list[PermissionGrant]:
    return database.fetch_page(connection, query, limit, _to_grant)


def _first(connection: Connection, query: Select[Any]) -> PermissionGrant | None:
    return database.fetch_first(connection, query, _to_grant)


@database.row_decoder(permission_grants, key=lambda row: row.id)
def _to_grant(row: Row[Any]) -> PermissionGrant:
    return PermissionGrant(**row._mapping)  # noqa: SLF001 - the documented access to the names of a row


def _find_same(connection: Connection, grant: PermissionGrant) -> PermissionGrant | None:
    names = ("tenant_id", "client_id", "resource_id", "principal_id")
    same = {name: getattr(grant, name) for name in names}
    return _first(connection, select(permission_grants).filter_by(**same))


def _insert(write: Write, grant: PermissionGrant) -> PermissionGrant:
    new = replace(grant, id=_new_id(grant.client_id), created=write.now)
    write.connection.execute(insert(permission_grants).values(**asdict(new)))
    write.record(f"{_ACTION}/create", new.client_id)
    return new


def _add(write: Write, grant: PermissionGrant) -> None:
    old = _find_same(write.connection, grant)
    if old is None:
        _insert(write, grant)
        return
    _change(write, old, " ".join(dict.fromkeys([*old.scope.split(), *grant.scope.split()])))


def _change(write: Write, old: PermissionGrant, scope: str) -> None:
    if scope == old.scope:
        return
    change = update(permission_grants).where(_columns.id == old.id)
    write.connection.execute(change.values(scope=scope))
    write.record(f"{_ACTION}/basic/update", old.client_id)


def _new_id(client_id: str) -> str:
    return jose.b64encode(uuid.UUID(client_id).bytes + secrets.token_bytes(16))
