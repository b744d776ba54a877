"""Application roles given to principals, and what they come to in a token."""

import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, delete, insert, select

from podpass import database
from podpass.database import Prepared
from podpass.directory import builtin_principals, naming
from podpass.directory.model import AppRoleAssignment
from podpass.directory.resources import GRAPH_APP_ID
from podpass.directory.store.cache import Cache
from podpass.directory.store.rows import from_json
from podpass.directory.store.schema import app_role_assignments, identities, users
from podpass.directory.store.session import Session, Write

_UPDATE = "microsoft.directory/servicePrincipals/appRoleAssignedTo/update"
_HELD = Prepared(
    select(app_role_assignments.c.id)
    .where(app_role_assignments.c.principal_id == bindparam("principal_id"))
    .limit(1)
)
_PUBLISHED = select(identities.c.object_id, identities.c.document)


class AppRoles:
    """Application roles of one service principal held by others."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._values: Cache[tuple[str, str], tuple[str, ...]] = session.cache()

    async def get(self, assignment_id: str) -> AppRoleAssignment | None:
        """Find an assignment by id.

        Errors:  RowDamaged.
        """
        query = select(app_role_assignments).filter_by(id=assignment_id.lower())
        return await self._session.read(lambda connection: _first(connection, query))

    async def put(self, assignment: AppRoleAssignment) -> AppRoleAssignment:
        """Give an application role; the same again is no fault and gives the one there is.

        Errors:  InvalidValue, RowDamaged.
        """
        for field in ("principal_id", "resource_id", "app_role_id"):
            naming.check_guid(field, getattr(assignment, field))
        return await self._session.write(lambda write: _put(write, assignment))

    async def delete(self, assignment_id: str) -> bool:
        """Take an application role away, if it is held.

        Errors:  RowDamaged.
        """
        return await self._session.write(lambda write: _delete(write, assignment_id.lower()))

    async def roles_of(self, principal_id: str, resource_app_id: str) -> tuple[str, ...]:
        """Give the values of the roles that a principal holds of an application, for its token.

        Shapes:  without those that cannot be read.
        Errors:  RowDamaged for the application.
        """
        key = (principal_id, resource_app_id)
        return await self._values.get(key, lambda: self._load(*key)) or ()

    async def _load(self, principal_id: str, resource_app_id: str) -> tuple[str, ...]:
        # Most hold none, which is asked the short way.
        if not await self._session.fetch(_HELD, principal_id=principal_id):
            return ()
        return await self._session.read(
            lambda connection: _values(connection, principal_id, resource_app_id)
        )

    # The last of the public ones: below it, `list` is this method.
    async def list(
        self, *, principal_id: str | None = None, resource_id: str | None = None
    ) -> list[AppRoleAssignment]:
        """List what a principal holds, or what is held of a resource, by object id."""
        query = select(app_role_assignments).order_by(app_role_assignments.c.id)
        if principal_id is not None:
            query = query.filter_by(principal_id=principal_id.lower())
        if resource_id is not None:
            query = query.filter_by(resource_id=resource_id.lower())
        return await self._session.read(lambda connection: _listed(connection, query))


def _listed(connection: Connection, query: Select[Any]) -> list[AppRoleAssignment]:
    return database.list_page(connection, query, None, _assignment)


def _first(connection: Connection, query: Select[Any]) -> AppRoleAssignment | None:
    row = connection.execute(query).first()
    return None if row is None else _assignment(row)


def _assignment(row: Row[Any]) -> AppRoleAssignment:
    with database.shaping("app_role_assignments", row.id):
        database.check_types(row, app_role_assignments)
        return AppRoleAssignment(**row._mapping)  # noqa: SLF001 - the documented way to a row's names


def _put(write: Write, assignment: AppRoleAssignment) -> AppRoleAssignment:
    query = select(app_role_assignments).filter_by(
        principal_id=assignment.principal_id,
        resource_id=assignment.resource_id,
        app_role_id=assignment.app_role_id,
    )
    if (there := _first(write.connection, query)) is not None:
        return there
    new = replace(
        assignment,
        id=assignment.id or str(uuid.uuid4()),
        created=assignment.created or write.now,
    )
    write.connection.execute(insert(app_role_assignments).values(**_columns(new)))
    write.record(_UPDATE, new.resource_id)
    return new


def _delete(write: Write, assignment_id: str) -> bool:
    here = app_role_assignments.c.id == assignment_id
    there = _first(write.connection, select(app_role_assignments).where(here))
    if there is None:
        return False
    write.connection.execute(delete(app_role_assignments).where(here))
    write.record(_UPDATE, there.resource_id)
    return True


def _values(connection: Connection, principal_id: str, resource_app_id: str) -> tuple[str, ...]:
    held = _listed(connection, select(app_role_assignments).filter_by(principal_id=principal_id))
    tenant_id = _tenant_of(connection, principal_id)
    object_id, roles = _published(connection, tenant_id, resource_app_id)
    # The resource counts, not only the role's id, which the owner of an application chooses.
    mine = (one.app_role_id for one in held if one.resource_id == object_id)
    return tuple(sorted({value for role in mine if (value := roles.get(role))}))


def _tenant_of(connection: Connection, principal_id: str) -> str:
    for table, column in ((identities, identities.c.object_id), (users, users.c.id)):
        query = select(table.c.tenant_id).where(column == principal_id)
        if (found := connection.execute(query).scalar_one_or_none()) is not None:
            return str(found)
    return ""


def _published(
    connection: Connection, tenant_id: str, app_id: str
) -> tuple[str | None, dict[str, str]]:
    """Give an application's object id in a tenant, and the values of its roles by their ids."""
    if app_id == GRAPH_APP_ID:
        return builtin_principals.object_id(tenant_id, app_id), dict(builtin_principals.GRAPH_ROLES)
    query = _PUBLISHED.filter_by(tenant_id=tenant_id, client_id=app_id)
    if (row := connection.execute(query).first()) is None:
        return None, {}
    with database.shaping("identities", app_id):
        database.check_types(row, _PUBLISHED)
        return row.object_id, _by_id(from_json(row.document).get("appRoles") or ())


def _by_id(roles: Iterable[Any]) -> dict[str, str]:
    """Give the values of roles that are switched on, by their ids.

    Errors:  TypeError, KeyError: what is no role as it is written grants nothing.
    """
    found: dict[str, str] = {}
    for role in roles:
        if not isinstance(role, dict):
            raise TypeError(f"appRoles: want objects, found {type(role).__name__}")
        if (value := role.get("value")) and role.get("isEnabled", True) is True:
            if not isinstance(value, str):
                raise TypeError(f"appRoles: want a text for a value, found {type(value).__name__}")
            found[role["id"]] = value
    return found


def _columns(one: AppRoleAssignment) -> dict[str, Any]:
    return {column.name: getattr(one, column.name) for column in app_role_assignments.columns}
