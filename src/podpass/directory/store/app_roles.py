"""Application roles assigned to principals, and the role values for a token."""

import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, delete, insert, select

from podpass import database
from podpass.database import PreparedStatement
from podpass.directory import builtin_principals, naming
from podpass.directory.model import AppRoleAssignment
from podpass.directory.resources import GRAPH_APP_ID
from podpass.directory.store.cache import Cache
from podpass.directory.store.rows import from_json
from podpass.directory.store.schema import app_role_assignments, identities, users
from podpass.directory.store.session import Session, Write

_UPDATE = "microsoft.directory/servicePrincipals/appRoleAssignedTo/update"
_ANY_ROLE = PreparedStatement(
    select(app_role_assignments.c.id)
    .where(app_role_assignments.c.principal_id == bindparam("principal_id"))
    .limit(1)
)
_RESOURCE = select(identities.c.client_id, identities.c.object_id, identities.c.document)


class AppRoles:
    """Application roles that principals hold for service principals."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._values: Cache[tuple[str, str], tuple[str, ...]] = session.cache()

    async def get(self, assignment_id: str) -> AppRoleAssignment | None:
        """Find an assignment by id. Raises CorruptRowError."""
        query = select(app_role_assignments).filter_by(id=assignment_id.lower())
        return await self._session.read(lambda connection: _fetch_first(connection, query))

    async def put(self, assignment: AppRoleAssignment) -> AppRoleAssignment:
        """Assign an application role, or return the existing assignment.

        Raises InvalidValue, CorruptRowError.
        """
        for field in ("principal_id", "resource_id", "app_role_id"):
            naming.check_guid(field, getattr(assignment, field))
        return await self._session.write(lambda write: _put(write, assignment))

    async def delete(self, assignment_id: str) -> bool:
        """Delete an application role assignment. Return whether it existed. Raises CorruptRowError."""
        return await self._session.write(lambda write: _delete(write, assignment_id.lower()))

    async def roles_of(self, principal_id: str, resource_app_id: str) -> tuple[str, ...]:
        """Return the values of the roles that a principal holds for an application, for its token.

        Corrupt assignments are left out. Raises CorruptRowError for the application.
        """
        key = (principal_id, resource_app_id)
        return await self._values.get(key, lambda: self._load(*key)) or ()

    async def _load(self, principal_id: str, resource_app_id: str) -> tuple[str, ...]:
        # Most principals have no role; this fast path detects that.
        if not await self._session.fetch(_ANY_ROLE, principal_id=principal_id):
            return ()
        return await self._session.read(
            lambda connection: _values(connection, principal_id, resource_app_id)
        )

    # The last public method, because `list` in annotations below it would mean this method.
    async def list(
        self, *, principal_id: str | None = None, resource_id: str | None = None
    ) -> list[AppRoleAssignment]:
        """List assignments by principal, by resource, or by both, given as object ids."""
        query = select(app_role_assignments).order_by(app_role_assignments.c.id)
        if principal_id is not None:
            query = query.filter_by(principal_id=principal_id.lower())
        if resource_id is not None:
            query = query.filter_by(resource_id=resource_id.lower())
        return await self._session.read(lambda connection: _list(connection, query))


def _list(connection: Connection, query: Select[Any]) -> list[AppRoleAssignment]:
    return database.fetch_page(connection, query, None, _to_assignment)


def _fetch_first(connection: Connection, query: Select[Any]) -> AppRoleAssignment | None:
    return database.fetch_first(connection, query, _to_assignment)


@database.row_decoder(app_role_assignments, key=lambda row: row.id)
def _to_assignment(row: Row[Any]) -> AppRoleAssignment:
    return AppRoleAssignment(**row._mapping)  # noqa: SLF001 - the documented access to the names of a row


def _put(write: Write, assignment: AppRoleAssignment) -> AppRoleAssignment:
    query = select(app_role_assignments).filter_by(
        principal_id=assignment.principal_id,
        resource_id=assignment.resource_id,
        app_role_id=assignment.app_role_id,
    )
    if (existing := _fetch_first(write.connection, query)) is not None:
        return existing
    new = replace(
        assignment, id=assignment.id or str(uuid.uuid4()), created=assignment.created or write.now
    )
    write.connection.execute(insert(app_role_assignments).values(**_to_columns(new)))
    write.record(_UPDATE, new.resource_id)
    return new


def _delete(write: Write, assignment_id: str) -> bool:
    condition = app_role_assignments.c.id == assignment_id
    found = _fetch_first(write.connection, select(app_role_assignments).where(condition))
    if found is None:
        return False
    write.connection.execute(delete(app_role_assignments).where(condition))
    write.record(_UPDATE, found.resource_id)
    return True


def _values(connection: Connection, principal_id: str, resource_app_id: str) -> tuple[str, ...]:
    assigned = _list(connection, select(app_role_assignments).filter_by(principal_id=principal_id))
    tenant_id = _tenant_of(connection, principal_id)
    object_id, roles = _resource_roles(connection, tenant_id, resource_app_id)
    # The resource must match too, because the owner of an application can choose the ids of its roles.
    role_ids = (one.app_role_id for one in assigned if one.resource_id == object_id)
    return tuple(sorted({value for role in role_ids if (value := roles.get(role))}))


def _tenant_of(connection: Connection, principal_id: str) -> str:
    for table, column in ((identities, identities.c.object_id), (users, users.c.id)):
        query = select(table.c.tenant_id).where(column == principal_id)
        if (found := connection.execute(query).scalar_one_or_none()) is not None:
            return str(found)
    return ""


def _resource_roles(
    connection: Connection, tenant_id: str, app_id: str
) -> tuple[str | None, dict[str, str]]:
    """Return the object id of an application in a tenant, and the values of its roles by their ids."""
    if app_id == GRAPH_APP_ID:
        return builtin_principals.object_id(tenant_id, app_id), dict(builtin_principals.GRAPH_ROLES)
    query = _RESOURCE.filter_by(tenant_id=tenant_id, client_id=app_id)
    if (row := connection.execute(query).first()) is None:
        return None, {}
    return _published_roles(row)


@database.row_decoder(_RESOURCE, key=lambda row: row.client_id, table="identities")
def _published_roles(row: Row[Any]) -> tuple[str | None, dict[str, str]]:
    return row.object_id, _by_id(from_json(row.document).get("appRoles") or ())


def _by_id(roles: Iterable[Any]) -> dict[str, str]:
    """Return the values of enabled roles by their ids.

    Raises TypeError, KeyError for a value that is not a role: it must not grant anything.
    """
    found: dict[str, str] = {}
    for role in roles:
        if not isinstance(role, dict):
            raise TypeError(f"appRoles: want objects, found {type(role).__name__}")
        if (value := role.get("value")) and role.get("isEnabled", True) is True:
            if not isinstance(value, str):
                raise TypeError(f"appRoles: want text as the value, found {type(value).__name__}")
            found[role["id"]] = value
    return found


def _to_columns(one: AppRoleAssignment) -> dict[str, Any]:
    return {column.name: getattr(one, column.name) for column in app_role_assignments.columns}
