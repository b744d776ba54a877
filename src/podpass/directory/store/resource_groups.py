"""Resource groups, and the deletion of a group with its content."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from podpass import database
from podpass.directory import errors, naming, resource_ids
from podpass.directory.model import ResourceGroup, WriteResult
from podpass.directory.store import identity_writes, other_resources, role_assignments
from podpass.directory.store.extension import RemoveBelow
from podpass.directory.store.rows import from_json, to_json
from podpass.directory.store.schema import resource_groups
from podpass.directory.store.session import Session, Write

# A group is deleted with everything in it.
_DELETE_SECONDS = 30.0
_GROUP = "Microsoft.Resources/subscriptions/resourceGroups"


class ResourceGroups:
    """Resource groups of a subscription. Names are compared without case."""

    def __init__(self, session: Session, removals: Sequence[RemoveBelow] = ()) -> None:
        self._session = session
        self._removals = removals

    async def get(self, subscription_id: str, name: str) -> ResourceGroup | None:
        """Return a group, or None."""
        return await self._session.read(lambda connection: _read(connection, subscription_id, name))

    async def page(
        self, subscription_id: str, *, after: str | None = None, limit: int = 100
    ) -> list[ResourceGroup]:
        """List the groups of a subscription by name, after the name `after`."""
        query = select(resource_groups).filter_by(subscription_id=subscription_id.lower())
        if after is not None:
            query = query.where(resource_groups.c.name_key > after.lower())
        query = query.order_by(resource_groups.c.name_key)
        return await self._session.read(
            lambda connection: database.fetch_page(connection, query, limit, _to_group)
        )

    async def put(self, group: ResourceGroup) -> WriteResult:
        """Create a group, or change its tags. Raises InvalidValue; Conflict for another location."""
        naming.raise_fault(naming.group_name_fault(group.name), naming.tags_fault(group.tags))
        return await self._session.write(lambda write: _put(write, group))

    async def delete(self, subscription_id: str, name: str) -> bool:
        """Delete a group with everything in it, in one transaction. Return whether it existed.

        Everything at and below the group is deleted; a service may keep what can be recovered.
        """
        return await self._session.write(
            lambda write: _delete(write, subscription_id, name, self._removals),
            seconds=_DELETE_SECONDS,
        )


def _put(write: Write, group: ResourceGroup) -> WriteResult:
    old = _read(write.connection, group.subscription_id, group.name)
    if old is None:
        new = replace(group, created=group.created or write.now)
        write.connection.execute(insert(resource_groups).values(**_to_columns(new)))
    elif old.location != group.location:
        raise errors.Conflict(
            f"the group is in {old.location}; its location cannot change", location=old.location
        )
    elif old.tags == group.tags:
        return WriteResult.UNCHANGED
    else:
        statement = update(resource_groups).filter_by(**_key(group.subscription_id, group.name))
        write.connection.execute(statement.values(tags=to_json(group.tags)))
    write.record(f"{_GROUP}/write", resource_ids.group_id(group.subscription_id, group.name))
    return WriteResult.CREATED if old is None else WriteResult.UPDATED


def _delete(write: Write, subscription_id: str, name: str, removals: Sequence[RemoveBelow]) -> bool:
    old = _read(write.connection, subscription_id, name)
    if old is None:
        return False
    scope = resource_ids.group_id(subscription_id, name)
    identity_writes.remove_below(write, scope)
    for remove_below in removals:
        remove_below(write, scope)
    other_resources.remove_below(write, scope)
    role_assignments.delete_at(write, scope)
    write.connection.execute(delete(resource_groups).filter_by(**_key(subscription_id, name)))
    write.record(f"{_GROUP}/delete", resource_ids.group_id(subscription_id, old.name))
    return True


def _key(subscription_id: str, name: str) -> dict[str, str]:
    return {"subscription_id": subscription_id.lower(), "name_key": name.lower()}


def _read(connection: Connection, subscription_id: str, name: str) -> ResourceGroup | None:
    query = select(resource_groups).filter_by(**_key(subscription_id, name))
    return database.fetch_first(connection, query, _to_group)


@database.row_decoder(resource_groups, key=lambda row: row.name)
def _to_group(row: Row[Any]) -> ResourceGroup:
    return ResourceGroup(
        subscription_id=row.subscription_id,
        name=row.name,
        location=row.location,
        tags=from_json(row.tags),
        created=row.created,
    )


def _to_columns(group: ResourceGroup) -> dict[str, Any]:
    return {
        **_key(group.subscription_id, group.name),
        "name": group.name,
        "location": group.location,
        "tags": to_json(group.tags),
        "created": group.created,
    }
