"""People of a tenant."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Select, insert, select, update

from podpass.directory import naming, refusals
from podpass.directory.model import Change, User
from podpass.directory.schema import tenants, users
from podpass.directory.session import Session, Write

_COLUMNS = [column for column in users.columns if column.name != "name_key"]


class Users:
    """Users by id, or by user principal name without case."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, user_id: str) -> User | None:
        """Find a user by id."""
        found = await self._all(select(*_COLUMNS).where(users.c.id == user_id.lower()))
        return found[0] if found else None

    async def find(self, tenant_id: str, name: str) -> User | None:
        """Find a user by user principal name."""
        if not name.isascii() or not name.isprintable():
            return None
        query = select(*_COLUMNS).where(
            users.c.tenant_id == tenant_id.lower(), users.c.name_key == name.lower()
        )
        found = await self._all(query)
        return found[0] if found else None

    async def put(self, user: User) -> Change:
        """Create a user, or change name and password.

        Errors:  InvalidValue; NotFound for the tenant; Conflict for a name that another has.
        """
        naming.check_guid("id", user.id)
        naming.refuse(naming.user_name_fault(user.name))
        return await self._session.write(lambda write: _put(write, user))

    async def _all(self, query: Select[Any]) -> "list[User]":
        return await self._session.read(lambda connection: _read(connection, query))

    # The last of the public ones: below it, `list` is this method.
    async def list(
        self, tenant_id: str, *, after: str | None = None, limit: int | None = None
    ) -> list[User]:
        """List a tenant's users by name, after the one of this name."""
        query = select(*_COLUMNS).where(users.c.tenant_id == tenant_id.lower())
        if after is not None:
            query = query.where(users.c.name_key > after.lower())
        return await self._all(query.order_by(users.c.name_key).limit(limit))


def _read(connection: Connection, query: Select[Any]) -> list[User]:
    return [User(**row) for row in connection.execute(query).mappings()]


def _put(write: Write, user: User) -> Change:
    there = _read(write.connection, select(*_COLUMNS).where(users.c.id == user.id))
    old = there[0] if there else None
    new = replace(user, created=(old.created if old else user.created) or write.now)
    if old == new:
        return Change.UNCHANGED
    tenant = select(tenants.c.id).filter_by(id=user.tenant_id)
    if write.connection.execute(tenant).first() is None:
        raise refusals.NotFound("there is no such tenant", tenant_id=user.tenant_id)
    values = {column.name: getattr(new, column.name) for column in _COLUMNS}
    values["name_key"] = new.name.lower()
    if old is None:
        write.connection.execute(insert(users).values(**values))
    else:
        write.connection.execute(update(users).filter_by(id=user.id).values(**values))
    done = "create" if old is None else "basic/update"
    write.record(f"microsoft.directory/users/{done}", user.id)
    return Change.CREATED if old is None else Change.UPDATED
