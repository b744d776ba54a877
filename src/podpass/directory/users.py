"""People of a tenant."""

from dataclasses import replace
from typing import Any

from sqlalchemy import insert, select, update

from podpass.directory import naming, rules
from podpass.directory.model import Change, User
from podpass.directory.schema import tenants, users
from podpass.directory.session import Session

_COLUMNS = [column for column in users.columns if column.name != "name_key"]


class Users:
    """Users by id, or by user principal name without case."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, user_id: str) -> User | None:
        """Find a user by id."""
        found = self._all(select(*_COLUMNS).where(users.c.id == user_id.lower()))
        return found[0] if found else None

    async def find(self, tenant_id: str, name: str) -> User | None:
        """Find a user by user principal name."""
        if not name.isascii():
            return None
        query = select(*_COLUMNS).where(
            users.c.tenant_id == tenant_id.lower(), users.c.name_key == name.lower()
        )
        found = self._all(query)
        return found[0] if found else None

    async def put(self, user: User) -> Change:
        """Create a user, or change name and password.

        Errors:  InvalidValue; NotFound for the tenant; Conflict for a name that another has.
        """
        naming.check_guid("id", user.id)
        naming.refuse(naming.user_name_fault(user.name))
        with self._session.writing() as write:
            row = write.connection.execute(select(*_COLUMNS).where(users.c.id == user.id)).first()
            old = None if row is None else User(**row._mapping)  # noqa: SLF001
            new = replace(user, created=(old.created if old else user.created) or write.now)
            if old == new:
                return Change.UNCHANGED
            there = select(tenants.c.id).filter_by(id=user.tenant_id)
            if write.connection.execute(there).first() is None:
                raise rules.NotFound("there is no such tenant", tenant_id=user.tenant_id)
            values = {column.name: getattr(new, column.name) for column in _COLUMNS}
            values["name_key"] = new.name.lower()
            if old is None:
                write.connection.execute(insert(users).values(**values))
            else:
                write.connection.execute(update(users).filter_by(id=user.id).values(**values))
            done = "create" if old is None else "basic/update"
            write.record(f"microsoft.directory/users/{done}", user.id)
        return Change.CREATED if old is None else Change.UPDATED

    def _all(self, query: Any) -> "list[User]":
        with self._session.reading() as connection:
            return [User(**row) for row in connection.execute(query).mappings()]

    # The last of the public ones: below it, `list` is this method.
    async def list(
        self, tenant_id: str, *, after: str | None = None, limit: int | None = None
    ) -> list[User]:
        """List a tenant's users by name, after the one of this name."""
        query = select(*_COLUMNS).where(users.c.tenant_id == tenant_id.lower())
        if after is not None:
            query = query.where(users.c.name_key > after.lower())
        return self._all(query.order_by(users.c.name_key).limit(limit))
