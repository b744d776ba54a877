"""Role definitions: built-in and custom roles."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from podpass import database
from podpass.directory import errors, naming, resource_ids
from podpass.directory.model import RoleDefinition, WriteResult
from podpass.directory.roles import RoleCatalogue
from podpass.directory.store.cache import Cache
from podpass.directory.store.rows import from_json, to_json
from podpass.directory.store.schema import role_assignments, role_definitions
from podpass.directory.store.session import Session, Write

_DEFINITION = "Microsoft.Authorization/roleDefinitions"
_MAX_PATTERNS = 2000
_ASSIGNED_AT = select(role_assignments.c.role, role_assignments.c.scope)
_PERMISSIONS = ("actions", "not_actions", "data_actions", "not_data_actions")


class RoleDefinitions:
    """Role definitions by id."""

    def __init__(self, session: Session, built_in: RoleCatalogue) -> None:
        self._session = session
        self.built_in = built_in
        self._custom: Cache[str, RoleDefinition] = session.cache()

    async def get(self, role_id: str) -> RoleDefinition | None:
        """Return a built-in or custom role definition by id, or None."""
        key = role_id.lower()
        return self.built_in.by_id.get(key) or await self._custom.get(key, lambda: self._load(key))

    async def put(self, definition: RoleDefinition) -> WriteResult:
        """Create or change a custom role.

        Raises InvalidValue; Conflict for a name or id of another role; InUse if it is assigned at a scope
        that the change removes; CorruptRowError.
        """
        _check(definition)
        if definition.id in self.built_in.by_id or definition.name.lower() in self.built_in.by_name:
            raise errors.Conflict("a built-in role has this name or id", name=definition.name)
        return await self._session.write(lambda write: _put(write, definition))

    async def delete(self, role_id: str) -> RoleDefinition | None:
        """Delete a custom role and return it; None if it does not exist.

        Raises InUse while it is assigned.
        """
        return await self._session.write(lambda write: _delete(write, role_id.lower()))

    async def _load(self, role_id: str) -> RoleDefinition | None:
        return await self._session.read(lambda connection: _read(connection, role_id))

    # The last public method, because `list` in annotations below it would mean this method.
    async def list(self, name: str | None = None) -> list[RoleDefinition]:
        """List role definitions: all, or the one with a name. Built-in roles come first."""
        query = select(role_definitions).order_by(role_definitions.c.name_key)
        built_in = list(self.built_in.all)
        if name is not None:
            query = query.filter_by(name_key=name.lower())
            built_in = [one for one in built_in if one.name.lower() == name.lower()]
        return built_in + await self._session.read(
            lambda connection: database.decode_rows(connection.execute(query).all(), _to_definition)
        )


def _put(write: Write, definition: RoleDefinition) -> WriteResult:
    old = _read(write.connection, definition.id)
    created = (old.created if old else definition.created) or write.now
    new = replace(definition, built_in=False, created=created)
    if old == new:
        return WriteResult.UNCHANGED
    if old is None:
        write.connection.execute(insert(role_definitions).values(**_to_columns(new)))
    else:
        for row in write.connection.execute(_ASSIGNED_AT.filter_by(role=new.id).distinct()):
            scope = _scope(row)
            if not any(resource_ids.covers(one, scope) for one in new.scopes):
                raise errors.InUse("the role is assigned at this scope", id=new.id, scope=scope)
        here = update(role_definitions).filter_by(id=new.id)
        write.connection.execute(here.values(**_to_columns(new)))
    write.record(f"{_DEFINITION}/write", _target(new))
    return WriteResult.CREATED if old is None else WriteResult.UPDATED


def _delete(write: Write, role_id: str) -> RoleDefinition | None:
    old = _read(write.connection, role_id)
    if old is None:
        return None
    assigned = select(role_assignments.c.name).filter_by(role=old.id).limit(1)
    if write.connection.execute(assigned).first() is not None:
        raise errors.InUse("the role is assigned", id=old.id)
    write.connection.execute(delete(role_definitions).filter_by(id=old.id))
    write.record(f"{_DEFINITION}/delete", _target(old))
    return old


def _check(definition: RoleDefinition) -> None:
    naming.check_guid("id", definition.id)
    naming.raise_fault(naming.role_name_fault(definition.name))
    if not definition.scopes:
        raise errors.InvalidValue("want at least one assignable scope", field="scopes")
    for field in _PERMISSIONS:
        patterns = getattr(definition, field)
        if len(patterns) > _MAX_PATTERNS:
            message = f"a role has at most {_MAX_PATTERNS} {field}"
            raise errors.TooMany(message, field=field, limit=_MAX_PATTERNS)
        for pattern in patterns:
            naming.raise_fault(naming.action_fault(field, pattern))


@database.row_decoder(
    _ASSIGNED_AT, key=lambda row: f"{row.role} at {row.scope}", table="role_assignments"
)
def _scope(row: Row[Any]) -> str:
    return str(row.scope)


def _read(connection: Connection, role_id: str) -> RoleDefinition | None:
    return database.fetch_first(
        connection, select(role_definitions).filter_by(id=role_id), _to_definition
    )


@database.row_decoder(role_definitions, key=lambda row: row.id)
def _to_definition(row: Row[Any]) -> RoleDefinition:
    document = from_json(row.document)
    return RoleDefinition(
        id=row.id,
        name=row.name,
        description=row.description,
        scopes=tuple(document["scopes"]),
        built_in=False,
        created=row.created,
        **{field: tuple(document[field]) for field in _PERMISSIONS},
    )


def _to_columns(one: RoleDefinition) -> dict[str, Any]:
    document = {field: list(getattr(one, field)) for field in (*_PERMISSIONS, "scopes")}
    return {
        "id": one.id,
        "name": one.name,
        "name_key": one.name.lower(),
        "description": one.description,
        "document": to_json(document),
        "created": one.created,
    }


def _target(one: RoleDefinition) -> str:
    return f"/providers/Microsoft.Authorization/roleDefinitions/{one.id}"
