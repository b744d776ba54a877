"""Role assignments: which principal has which role at which scope."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, insert, or_, select, update

from podpass import database
from podpass.directory import errors, naming, resource_ids
from podpass.directory.model import RoleAssignment, WriteResult
from podpass.directory.store.cache import Cache
from podpass.directory.store.identity_queries import is_below
from podpass.directory.store.schema import role_assignments
from podpass.directory.store.session import Session, Write

_WRITE = "Microsoft.Authorization/roleAssignments/write"
_DELETE = "Microsoft.Authorization/roleAssignments/delete"
_SCOPE: Any = role_assignments.c.scope
_NAME: Any = role_assignments.c.name
_Conditions = tuple[ColumnElement[bool], ...]


class RoleAssignments:
    """Role assignments. A role applies at its scope and at every scope below."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._by_principal: Cache[str, tuple[RoleAssignment, ...]] = session.cache()

    async def list_for_principal(self, principal_id: str) -> tuple[RoleAssignment, ...]:
        """List the assignments of a principal at all scopes. Corrupt ones are left out, and grant nothing."""
        return await self._by_principal.get(principal_id, lambda: self._load(principal_id)) or ()

    async def get(self, name: str, scope: str | None = None) -> RoleAssignment | None:
        """Return an assignment by name, and by scope if one is given. Raises CorruptRowError."""
        query = select(role_assignments).filter_by(name=name.lower())
        if scope is not None:
            query = query.filter_by(scope=_scope(scope))
        return await self._session.read(lambda connection: _fetch_first(connection, query))

    async def put(self, assignment: RoleAssignment) -> WriteResult:
        """Assign a role, by id, to a principal at a scope. After that, only the description can change.

        Raises InvalidValue; AssignmentExists, if it exists with another name; Conflict, if another assignment
        has its name; CorruptRowError.
        """
        return await self._session.write(lambda write: put_in(write, assignment))

    async def delete(self, name: str, scope: str | None = None) -> RoleAssignment | None:
        """Delete an assignment and return it; None if it does not exist. Raises CorruptRowError."""
        query = select(role_assignments).filter_by(name=name.lower())
        if scope is not None:
            query = query.filter_by(scope=_scope(scope))
        return await self._session.write(lambda write: _delete(write, query))

    async def _load(self, principal_id: str) -> tuple[RoleAssignment, ...]:
        query = select(role_assignments).filter_by(principal_id=principal_id)
        found = await self._session.read(lambda connection: _list(connection, query))
        return tuple(found)

    # The last public method, because `list` in annotations below it would mean this method.
    async def list(
        self,
        *,
        at: str | None = None,
        under: str | None = None,
        above: str | None = None,
        principal: str | None = None,
        after: tuple[str, str] | None = None,
        limit: int | None = None,
    ) -> list[RoleAssignment]:
        """List assignments by scope and name.

        `at` selects those at one scope, `under` those at a scope and below, `above` those at a scope and
        above; together they select the union. `after` is scope and name of the last assignment of the
        previous page.
        """
        query = select(role_assignments).order_by(_SCOPE, _NAME)
        if principal is not None:
            query = query.filter_by(principal_id=principal.lower())
        if after is not None:
            query = query.where(or_(after[0] < _SCOPE, (after[0] == _SCOPE) & (after[1] < _NAME)))
        scopes = _scopes(at, under, above)
        found = await self._session.read(
            lambda connection: _list_union(connection, query, scopes, limit)
        )
        return sorted(found, key=lambda one: (one.scope, one.name))[:limit]


def put_in(write: Write, assignment: RoleAssignment) -> WriteResult:
    """Assign a role as part of a larger transaction."""
    given = replace(
        assignment,
        scope=_scope(assignment.scope),
        role=assignment.role.lower(),
        principal_id=assignment.principal_id.lower(),
        name=assignment.name.lower(),
    )
    if given.name:
        naming.check_guid("name", given.name)
    return _put(write, given)


def delete_at(write: Write, scope: str) -> None:
    """Delete every assignment at and below a scope, as part of deleting the resource there."""
    here = _scope(scope)
    condition = or_(here == _SCOPE, is_below(_SCOPE, here))
    # Corrupt assignments are logged and deleted too: they must not apply to a later resource at this scope.
    deleted = _list(write.connection, select(role_assignments).where(condition))
    write.connection.execute(delete(role_assignments).where(condition))
    for one in deleted:
        _record(write, _DELETE, one)


def _delete(write: Write, query: Select[Any]) -> RoleAssignment | None:
    found = _fetch_first(write.connection, query)
    if found is not None:
        write.connection.execute(delete(role_assignments).filter_by(name=found.name))
        _record(write, _DELETE, found)
    return found


def _put(write: Write, given: RoleAssignment) -> WriteResult:
    key = {"principal_id": given.principal_id, "scope": given.scope, "role": given.role}
    existing = _fetch_first(write.connection, select(role_assignments).filter_by(**key))
    if existing is None:
        new = replace(
            given, name=given.name or str(uuid.uuid4()), created=given.created or write.now
        )
        if _fetch_first(write.connection, select(role_assignments).filter_by(name=new.name)):
            raise errors.Conflict("another role assignment has this name", name=new.name)
        write.connection.execute(insert(role_assignments).values(**_to_columns(new)))
        _record(write, _WRITE, new)
        return WriteResult.CREATED
    if given.name not in ("", existing.name):
        raise errors.AssignmentExists(
            "the principal already has this role at this scope", name=existing.name
        )
    if given.description == existing.description or not given.name:
        return WriteResult.UNCHANGED
    changed = update(role_assignments).filter_by(**key).values(description=given.description)
    write.connection.execute(changed)
    _record(write, _WRITE, existing)
    return WriteResult.UPDATED


def _to_columns(one: RoleAssignment) -> dict[str, Any]:
    return {column.name: getattr(one, column.name) for column in role_assignments.columns}


def _fetch_first(connection: Connection, query: Select[Any]) -> RoleAssignment | None:
    return database.fetch_first(connection, query, _to_assignment)


def _list(
    connection: Connection, query: Select[Any], limit: int | None = None
) -> list[RoleAssignment]:
    return database.fetch_page(connection, query, limit, _to_assignment)


def _key(row: Row[Any]) -> str:
    return f"{row.principal_id}/{row.role} at {row.scope}" if row.name is None else str(row.name)


@database.row_decoder(role_assignments, key=_key)
def _to_assignment(row: Row[Any]) -> RoleAssignment:
    if row.name is None:
        raise ValueError("name: want text, found NULL")
    return RoleAssignment(**row._mapping)  # noqa: SLF001 - the documented access to the names of a row


def _list_union(
    connection: Connection, query: Select[Any], scopes: Sequence[_Conditions], limit: int | None
) -> Iterable[RoleAssignment]:
    found: dict[str, RoleAssignment] = {}
    # One query for each: one query for all would read and sort all of them for each page.
    for conditions in scopes:
        found.update((one.name, one) for one in _list(connection, query.where(*conditions), limit))
    return found.values()


def _scopes(at: str | None, under: str | None, above: str | None) -> list[_Conditions]:
    exact = [*(resource_ids.scopes_above(above) if above is not None else ())]
    exact += [_scope(one) for one in (at, under) if one is not None]
    scopes: list[_Conditions] = [(scope == _SCOPE,) for scope in dict.fromkeys(exact)]
    if under is not None:
        scopes.append((is_below(_SCOPE, under),))
    return scopes or [()]


def _scope(scope: str) -> str:
    return scope.lower().rstrip("/") or "/"


def _record(write: Write, action: str, one: RoleAssignment) -> None:
    write.record(action, _target(one), {"role": one.role, "principal": one.principal_id})


def _target(one: RoleAssignment) -> str:
    return f"{one.scope.rstrip('/')}/providers/Microsoft.Authorization/roleAssignments/{one.name}"
