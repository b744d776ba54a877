"""Resources that need no table of their own, such as storage accounts and DNS zones."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select

from podpass import database
from podpass.directory import errors, naming
from podpass.directory.model import OtherResource, WriteResult
from podpass.directory.store import role_assignments
from podpass.directory.store.identity_queries import in_scope, is_below
from podpass.directory.store.rows import check_group_exists, from_json, to_json
from podpass.directory.store.schema import other_resources
from podpass.directory.store.session import Session, Write

# Slashes in the id of a resource that is no part of another.
_SEGMENTS = 8


class OtherResources:
    """Stored resources by resource id, compared without case."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, resource_id: str) -> OtherResource | None:
        """Return a resource, or None."""
        return await self._session.read(lambda connection: _read(connection, resource_id))

    async def page_named(self, type_: str, name: str) -> list[OtherResource]:
        """List the resources of a type with a name, compared without case: at most two."""
        query = select(other_resources).where(
            other_resources.c.type == type_, func.lower(other_resources.c.name) == name.lower()
        )
        return await self._session.read(
            lambda connection: [_to_resource(row) for row in connection.execute(query.limit(2))]
        )

    async def page(
        self,
        subscription_id: str,
        *,
        group: str | None = None,
        type_: str | None = None,
        below: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[OtherResource]:
        """List resources of a subscription or a group, after the one with the resource id `after`.

        `below` is the id of a resource of which they are parts.
        """
        query = select(other_resources)
        if type_ is not None:
            query = query.filter_by(type=type_)
        if below is not None:
            query = query.where(is_below(other_resources.c.resource_key, below))
        query = in_scope(query, other_resources.c.resource_key, subscription_id, group, after)
        return await self._session.read(
            lambda connection: database.fetch_page(connection, query, limit, _to_resource)
        )

    async def put(self, resource: OtherResource) -> WriteResult:
        """Create or replace a resource; its resource group must exist.

        Raises InvalidValue; GroupNotFound; Conflict for another location.
        """
        naming.raise_fault(naming.tags_fault(resource.tags))
        return await self._session.write(lambda write: put_in(write, resource))

    async def delete(self, resource_id: str) -> bool:
        """Delete a resource with the role assignments at its scope. Return whether it existed.

        Raises InUse if it has parts that are resources.
        """

        def step(write: Write) -> bool:
            old = _read(write.connection, resource_id)
            if old is not None:
                parts = select(other_resources).where(
                    is_below(other_resources.c.resource_key, resource_id)
                )
                if write.connection.execute(parts.limit(1)).first() is not None:
                    raise errors.InUse("the resource has nested resources", id=resource_id)
                _remove(write, old)
            return old is not None

        return await self._session.write(step)


def remove_below(write: Write, scope: str) -> None:
    """Delete every resource below a scope, as part of deleting a resource group."""
    query = select(other_resources).where(is_below(other_resources.c.resource_key, scope))
    for row in write.connection.execute(query).all():
        _remove(write, _to_resource(row))


def _remove(write: Write, resource: OtherResource) -> None:
    key = resource.resource_id.lower()
    write.connection.execute(delete(other_resources).filter_by(resource_key=key))
    role_assignments.delete_at(write, resource.resource_id)
    write.record(f"{resource.type}/delete", resource.resource_id)


def put_in(write: Write, given: OtherResource) -> WriteResult:
    """Create or replace a resource as part of a larger transaction."""
    check_group_exists(write.connection, given.resource_id)
    if given.resource_id.count("/") > _SEGMENTS:
        parent = given.resource_id.rsplit("/", 2)[0]
        if _read(write.connection, parent) is None:
            raise errors.NotFound("the parent resource does not exist", id=parent)
    old = _read(write.connection, given.resource_id)
    new = replace(given, created=(old.created if old else given.created) or write.now)
    if old == new:
        return WriteResult.UNCHANGED
    if old is not None and old.location != new.location:
        raise errors.Conflict("the location of a resource cannot change", name=new.name)
    key = {"resource_key": new.resource_id.lower()}
    values = {
        "resource_id": new.resource_id,
        "type": new.type,
        "name": new.name,
        "location": new.location,
        "tags": to_json(new.tags),
        "created": new.created,
        "document": to_json(new.document),
    }
    write.record(f"{new.type}/write", new.resource_id)
    return write.store(other_resources, key, values, exists=old is not None)


def _read(connection: Connection, resource_id: str) -> OtherResource | None:
    query = select(other_resources).filter_by(resource_key=resource_id.lower())
    return database.fetch_first(connection, query, _to_resource)


@database.row_decoder(other_resources, key=lambda row: row.resource_id)
def _to_resource(row: Row[Any]) -> OtherResource:
    return OtherResource(
        resource_id=row.resource_id,
        type=row.type,
        name=row.name,
        location=row.location,
        tags=from_json(row.tags),
        created=row.created,
        document=from_json(row.document),
    )
