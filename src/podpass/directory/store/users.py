"""People of a tenant."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select, update

from podpass import database
from podpass.directory import errors, naming
from podpass.directory.model import Change, User
from podpass.directory.store.schema import tenants, users
from podpass.directory.store.session import Session, Write

_FIELDS = [column.name for column in users.columns if column.name != "name_key"]


class Users:
    """Users by id, or by user principal name without case."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, user_id: str) -> User | None:
        """Find a user by id.

        Errors:  RowDamaged.
        """
        query = select(users).where(users.c.id == user_id.lower())
        return await self._session.read(lambda connection: _first(connection, query))

    async def find(self, tenant_id: str, name: str) -> User | None:
        """Find a user by user principal name.

        Errors:  RowDamaged.
        """
        if not name.isascii() or not name.isprintable():
            return None
        query = select(users).where(
            users.c.tenant_id == tenant_id.lower(), users.c.name_key == name.lower()
        )
        return await self._session.read(lambda connection: _first(connection, query))

    async def put(self, user: User) -> Change:
        """Create a user, or change name and password.

        Errors:  InvalidValue; NotFound for the tenant; Conflict for a name that another has.
        """
        naming.check_guid("id", user.id)
        naming.refuse(naming.user_name_fault(user.name))
        return await self._session.write(lambda write: _put(write, user))

    # The last of the public ones: below it, `list` is this method.
    async def list(
        self, tenant_id: str, *, after: str | None = None, limit: int | None = None
    ) -> list[User]:
        """List a tenant's users by name, after the one of this name."""
        query = select(users).where(users.c.tenant_id == tenant_id.lower())
        if after is not None:
            query = query.where(users.c.name_key > after.lower())
        query = query.order_by(users.c.name_key)
        return await self._session.read(
            lambda connection: database.list_page(connection, query, limit, _user)
        )


def _first(connection: Connection, query: Select[Any]) -> User | None:
    row = connection.execute(query).first()
    return None if row is None else _user(row)


def _user(row: Row[Any]) -> User:
    with database.shaping("users", row.id):
        database.check_types(row, users)
        return User(**{name: getattr(row, name) for name in _FIELDS})


def _put(write: Write, user: User) -> Change:
    old = _first(write.connection, select(users).where(users.c.id == user.id))
    new = replace(user, created=(old.created if old else user.created) or write.now)
    if old == new:
        return Change.UNCHANGED
    tenant = select(tenants.c.id).filter_by(id=user.tenant_id)
    if write.connection.execute(tenant).first() is None:
        raise errors.NotFound("there is no such tenant", tenant_id=user.tenant_id)
    values = {name: getattr(new, name) for name in _FIELDS}
    values["name_key"] = new.name.lower()
    if old is None:
        write.connection.execute(insert(users).values(**values))
    else:
        write.connection.execute(update(users).filter_by(id=user.id).values(**values))
    done = "create" if old is None else "basic/update"
    write.record(f"microsoft.directory/users/{done}", user.id)
    return Change.CREATED if old is None else Change.UPDATED
