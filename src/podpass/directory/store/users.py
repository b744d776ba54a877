"""Users of a tenant."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, update

from podpass import database
from podpass.directory import errors, naming
from podpass.directory.model import User, WriteResult
from podpass.directory.store.schema import tenants, users
from podpass.directory.store.session import Session, Write

_FIELDS = [column.name for column in users.columns if column.name != "name_key"]


class Users:
    """Users by id, or by user principal name, compared without case."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, user_id: str) -> User | None:
        """Return a user by id, or None. Raises CorruptRowError."""
        query = select(users).where(users.c.id == user_id.lower())
        return await self._session.read(lambda connection: _fetch_first(connection, query))

    async def find(self, tenant_id: str, name: str) -> User | None:
        """Return a user by user principal name, or None. Raises CorruptRowError."""
        if not name.isascii() or not name.isprintable():
            return None
        query = select(users).where(
            users.c.tenant_id == tenant_id.lower(), users.c.name_key == name.lower()
        )
        return await self._session.read(lambda connection: _fetch_first(connection, query))

    async def put(self, user: User) -> WriteResult:
        """Create a user, or change its names and password.

        Raises InvalidValue; NotFound for the tenant; Conflict for the name of another user.
        """
        naming.check_guid("id", user.id)
        naming.raise_fault(naming.user_name_fault(user.name))
        return await self._session.write(lambda write: _put(write, user))

    # The last public method, because `list` in annotations below it would mean this method.
    async def list(
        self, tenant_id: str, *, after: str | None = None, limit: int | None = None
    ) -> list[User]:
        """List a tenant's users by name, after the name `after`."""
        query = select(users).where(users.c.tenant_id == tenant_id.lower())
        if after is not None:
            query = query.where(users.c.name_key > after.lower())
        query = query.order_by(users.c.name_key)
        return await self._session.read(
            lambda connection: database.fetch_page(connection, query, limit, _to_user)
        )


def _fetch_first(connection: Connection, query: Select[Any]) -> User | None:
    row = connection.execute(query).first()
    return None if row is None else _to_user(row)


@database.row_decoder(users, key=lambda row: row.id)
def _to_user(row: Row[Any]) -> User:
    return User(**{name: getattr(row, name) for name in _FIELDS})


def _put(write: Write, user: User) -> WriteResult:
    old = _fetch_first(write.connection, select(users).where(users.c.id == user.id))
    new = replace(user, created=(old.created if old else user.created) or write.now)
    if old == new:
        return WriteResult.UNCHANGED
    tenant = select(tenants.c.id).filter_by(id=user.tenant_id)
    if write.connection.execute(tenant).first() is None:
        raise errors.NotFound("the tenant does not exist", tenant_id=user.tenant_id)
    values = {name: getattr(new, name) for name in _FIELDS}
    values["name_key"] = new.name.lower()
    if old is None:
        write.connection.execute(insert(users).values(**values))
    else:
        write.connection.execute(update(users).filter_by(id=user.id).values(**values))
    action = "create" if old is None else "basic/update"
    write.record(f"microsoft.directory/users/{action}", user.id)
    return WriteResult.CREATED if old is None else WriteResult.UPDATED
