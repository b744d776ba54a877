"""Who holds which role where."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, delete, insert, or_, select, update

from podpass import database
from podpass.directory import errors, naming, resource_ids
from podpass.directory.model import Change, RoleAssignment
from podpass.directory.store.cache import Cache
from podpass.directory.store.identity_queries import below
from podpass.directory.store.schema import role_assignments
from podpass.directory.store.session import Session, Write

_WRITE = "Microsoft.Authorization/roleAssignments/write"
_DELETE = "Microsoft.Authorization/roleAssignments/delete"
_SCOPE: Any = role_assignments.c.scope
_NAME: Any = role_assignments.c.name
_Place = tuple[ColumnElement[bool], ...]


class Assignments:
    """Role assignments; a role holds at its scope and everywhere below."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._kept: Cache[str, tuple[RoleAssignment, ...]] = session.cache()

    async def of(self, principal_id: str) -> tuple[RoleAssignment, ...]:
        """List what a principal holds, wherever; what cannot be read permits nothing."""
        return await self._kept.get(principal_id, lambda: self._load(principal_id)) or ()

    async def get(self, name: str, scope: str | None = None) -> RoleAssignment | None:
        """Find an assignment by its name, at its scope if one is given.

        Errors:  RowDamaged.
        """
        query = select(role_assignments).filter_by(name=name.lower())
        if scope is not None:
            query = query.filter_by(scope=_scope(scope))
        return await self._session.read(lambda connection: _first(connection, query))

    async def put(self, assignment: RoleAssignment) -> Change:
        """Give a role, by its id, to a principal at a scope; only a description can change later.

        Errors:  InvalidValue; AssignmentExists, when it is given already under another name; Conflict, when
                 its name is that of another assignment; RowDamaged.
        """
        given = replace(
            assignment,
            scope=_scope(assignment.scope),
            role=assignment.role.lower(),
            principal_id=assignment.principal_id.lower(),
            name=assignment.name.lower(),
        )
        if given.name:
            naming.check_guid("name", given.name)
        return await self._session.write(lambda write: _put(write, given))

    async def delete(self, name: str, scope: str | None = None) -> RoleAssignment | None:
        """Take a role away again; None if there is no such assignment.

        Errors:  RowDamaged.
        """
        query = select(role_assignments).filter_by(name=name.lower())
        if scope is not None:
            query = query.filter_by(scope=_scope(scope))
        return await self._session.write(lambda write: _delete(write, query))

    async def _load(self, principal_id: str) -> tuple[RoleAssignment, ...]:
        query = select(role_assignments).filter_by(principal_id=principal_id)
        found = await self._session.read(lambda connection: _listed(connection, query))
        return tuple(found)

    # The last of the public ones: below it, `list` is this method.
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

        Shapes:  `at` wants those at one scope, `under` those at a scope and below, `above` those at a scope
                 and above; given together, whatever any of them names. `after` is scope and name of
                 the last one of the page before.
        """
        query = select(role_assignments).order_by(_SCOPE, _NAME)
        if principal is not None:
            query = query.filter_by(principal_id=principal.lower())
        if after is not None:
            query = query.where(or_(after[0] < _SCOPE, (after[0] == _SCOPE) & (after[1] < _NAME)))
        places = _places(at, under, above)
        found = await self._session.read(
            lambda connection: _at_places(connection, query, places, limit)
        )
        return sorted(found, key=lambda one: (one.scope, one.name))[:limit]


def remove_at(write: Write, scope: str) -> None:
    """Take away every role at a scope and below; a step of deleting what is there."""
    place = _scope(scope)
    meant = or_(place == _SCOPE, below(_SCOPE, place))
    query = select(role_assignments).where(meant)
    # One that is damaged goes too, and is told in the log: who comes to lie here must not be ruled by it.
    gone = _listed(write.connection, query)
    write.connection.execute(delete(role_assignments).where(meant))
    for one in gone:
        write.record(_DELETE, _target(one))


def _delete(write: Write, query: Select[Any]) -> RoleAssignment | None:
    found = _first(write.connection, query)
    if found is not None:
        write.connection.execute(delete(role_assignments).filter_by(name=found.name))
        write.record(_DELETE, _target(found))
    return found


def _put(write: Write, given: RoleAssignment) -> Change:
    key = {"principal_id": given.principal_id, "scope": given.scope, "role": given.role}
    held = _first(write.connection, select(role_assignments).filter_by(**key))
    if held is None:
        new = replace(
            given, name=given.name or str(uuid.uuid4()), created=given.created or write.now
        )
        if _first(write.connection, select(role_assignments).filter_by(name=new.name)):
            raise errors.Conflict("another role assignment has this name", name=new.name)
        write.connection.execute(insert(role_assignments).values(**_columns(new)))
        write.record(_WRITE, _target(new))
        return Change.CREATED
    if given.name not in ("", held.name):
        raise errors.AssignmentExists(
            "the principal holds this role at this scope already", name=held.name
        )
    if given.description == held.description or not given.name:
        return Change.UNCHANGED
    changed = update(role_assignments).filter_by(**key).values(description=given.description)
    write.connection.execute(changed)
    write.record(_WRITE, _target(held))
    return Change.UPDATED


def _columns(one: RoleAssignment) -> dict[str, Any]:
    return {column.name: getattr(one, column.name) for column in role_assignments.columns}


def _first(connection: Connection, query: Select[Any]) -> RoleAssignment | None:
    row = connection.execute(query).first()
    return None if row is None else _assignment(row)


def _listed(
    connection: Connection, query: Select[Any], limit: int | None = None
) -> list[RoleAssignment]:
    return database.list_page(connection, query, limit, _assignment)


def _assignment(row: Row[Any]) -> RoleAssignment:
    key = f"{row.principal_id}/{row.role} at {row.scope}" if row.name is None else row.name
    with database.shaping("role_assignments", key):
        database.check_types(row, role_assignments)
        if row.name is None:
            raise TypeError("name: want a text, found none")
        return RoleAssignment(**row._mapping)  # noqa: SLF001 - the documented way to a row's names


def _at_places(
    connection: Connection, query: Select[Any], places: Sequence[_Place], limit: int | None
) -> Iterable[RoleAssignment]:
    found: dict[str, RoleAssignment] = {}
    # One place at a time: asked for together, they would all be read and sorted for each page.
    for place in places:
        found.update((one.name, one) for one in _listed(connection, query.where(*place), limit))
    return found.values()


def _places(at: str | None, under: str | None, above: str | None) -> list[_Place]:
    exact = [*(resource_ids.above(above) if above is not None else ())]
    exact += [_scope(one) for one in (at, under) if one is not None]
    places: list[_Place] = [(scope == _SCOPE,) for scope in dict.fromkeys(exact)]
    if under is not None:
        places.append((below(_SCOPE, under),))
    return places or [()]


def _scope(scope: str) -> str:
    return scope.lower().rstrip("/") or "/"


def _target(one: RoleAssignment) -> str:
    return f"{one.scope.rstrip('/')}/providers/Microsoft.Authorization/roleAssignments/{one.name}"
