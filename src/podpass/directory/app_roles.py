"""Application roles given to principals, and what they come to in a token."""

import uuid
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from podpass.directory import builtin, naming
from podpass.directory.cache import Cache
from podpass.directory.model import AppRoleAssignment
from podpass.directory.resources import GRAPH_APP_ID
from podpass.directory.rows import from_json
from podpass.directory.schema import app_role_assignments, identities, users
from podpass.directory.session import Session

_UPDATE = "microsoft.directory/servicePrincipals/appRoleAssignedTo/update"


class AppRoles:
    """Application roles of one service principal held by others."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._values: Cache[tuple[str, str], tuple[str, ...]] = session.cache()

    async def get(self, assignment_id: str) -> AppRoleAssignment | None:
        """Find an assignment by id."""
        with self._session.reading() as connection:
            query = select(app_role_assignments).filter_by(id=assignment_id.lower())
            row = connection.execute(query).mappings().first()
        return AppRoleAssignment(**row) if row else None

    async def put(self, assignment: AppRoleAssignment) -> AppRoleAssignment:
        """Give an application role; the same again is no fault and gives the one there is.

        Errors:  InvalidValue.
        """
        for field in ("principal_id", "resource_id", "app_role_id"):
            naming.check_guid(field, getattr(assignment, field))
        key = {
            "principal_id": assignment.principal_id,
            "resource_id": assignment.resource_id,
            "app_role_id": assignment.app_role_id,
        }
        with self._session.writing() as write:
            query = select(app_role_assignments).filter_by(**key)
            if row := write.connection.execute(query).mappings().first():
                return AppRoleAssignment(**row)
            new = replace(
                assignment,
                id=assignment.id or str(uuid.uuid4()),
                created=assignment.created or write.now,
            )
            write.connection.execute(insert(app_role_assignments).values(**_columns(new)))
            write.record(_UPDATE, new.resource_id)
        return new

    async def delete(self, assignment_id: str) -> bool:
        """Take an application role away, if it is held."""
        here = app_role_assignments.c.id == assignment_id.lower()
        with self._session.writing() as write:
            query = select(app_role_assignments.c.resource_id).where(here)
            resource_id = write.connection.execute(query).scalar_one_or_none()
            if resource_id is None:
                return False
            write.connection.execute(delete(app_role_assignments).where(here))
            write.record(_UPDATE, resource_id)
        return True

    async def roles_of(self, principal_id: str, resource_app_id: str) -> tuple[str, ...]:
        """Give the values of the roles that a principal holds of an application, for its token."""
        key = (principal_id, resource_app_id)
        return self._values.get(key, lambda: self._load(*key)) or ()

    def _load(self, principal_id: str, resource_app_id: str) -> tuple[str, ...]:
        query = select(app_role_assignments).filter_by(principal_id=principal_id)
        with self._session.reading() as connection:
            held = [AppRoleAssignment(**row) for row in connection.execute(query).mappings()]
            if not held:
                return ()
            tenant_id = _tenant_of(connection, principal_id)
            object_id, roles = _published(connection, tenant_id, resource_app_id)
        # The resource counts, not only the role's id, which the owner of an application chooses.
        mine = (one.app_role_id for one in held if one.resource_id == object_id)
        return tuple(sorted({value for role in mine if (value := roles.get(role))}))

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
        with self._session.reading() as connection:
            return [AppRoleAssignment(**row) for row in connection.execute(query).mappings()]


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
        return builtin.object_id(tenant_id, app_id), dict(builtin.GRAPH_ROLES)
    query = select(identities.c.object_id, identities.c.document).filter_by(
        tenant_id=tenant_id, client_id=app_id
    )
    if (row := connection.execute(query).first()) is None:
        return None, {}
    roles = from_json(row.document).get("appRoles") or ()
    return row.object_id, {
        role["id"]: role["value"]
        for role in roles
        if role.get("value") and role.get("isEnabled", True)
    }


def _columns(one: AppRoleAssignment) -> dict[str, Any]:
    return {column.name: getattr(one, column.name) for column in app_role_assignments.columns}
