"""Resource groups, and what goes with one that is deleted."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from podpass import database
from podpass.directory import errors, naming, resource_ids
from podpass.directory.model import Change, ResourceGroup
from podpass.directory.store import clusters, identities, role_assignments, vaults
from podpass.directory.store.rows import from_json, to_json
from podpass.directory.store.schema import resource_groups
from podpass.directory.store.session import Session, Write

# Everything in it goes with it.
_DELETE_SECONDS = 30.0
_GROUP = "Microsoft.Resources/subscriptions/resourceGroups"


class Groups:
    """Resource groups of a subscription, by name without case."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, subscription_id: str, name: str) -> ResourceGroup | None:
        """Find a group."""
        return await self._session.read(lambda connection: _read(connection, subscription_id, name))

    async def page(
        self, subscription_id: str, *, after: str | None = None, limit: int = 100
    ) -> list[ResourceGroup]:
        """List the groups of a subscription by name, after the one of this name."""
        query = select(resource_groups).filter_by(subscription_id=subscription_id.lower())
        if after is not None:
            query = query.where(resource_groups.c.name_key > after.lower())
        query = query.order_by(resource_groups.c.name_key)
        return await self._session.read(
            lambda connection: database.full_page(
                limit, lambda many: connection.execute(query.limit(many)).all(), _group
            )
        )

    async def put(self, group: ResourceGroup) -> Change:
        """Create a group, or change its tags.

        Errors:  InvalidValue; Conflict for another location.
        """
        naming.refuse(naming.group_name_fault(group.name), naming.tags_fault(group.tags))
        return await self._session.write(lambda write: _put(write, group))

    async def delete(self, subscription_id: str, name: str) -> bool:
        """Delete a group with everything in it, if it is there: all of it, or nothing.

        Its vaults can be recovered; identities, clusters and the roles held here and below are gone.
        """
        return await self._session.write(
            lambda write: _delete(write, subscription_id, name), seconds=_DELETE_SECONDS
        )


def _put(write: Write, group: ResourceGroup) -> Change:
    old = _read(write.connection, group.subscription_id, group.name)
    if old is None:
        new = replace(group, created=group.created or write.now)
        write.connection.execute(insert(resource_groups).values(**_columns(new)))
    elif old.location != group.location:
        raise errors.Conflict(
            f"the group is in {old.location} and stays there", location=old.location
        )
    elif old.tags == group.tags:
        return Change.UNCHANGED
    else:
        here = update(resource_groups).filter_by(**_key(group.subscription_id, group.name))
        write.connection.execute(here.values(tags=to_json(group.tags)))
    write.record(f"{_GROUP}/write", resource_ids.group_id(group.subscription_id, group.name))
    return Change.CREATED if old is None else Change.UPDATED


def _delete(write: Write, subscription_id: str, name: str) -> bool:
    old = _read(write.connection, subscription_id, name)
    if old is None:
        return False
    scope = resource_ids.group_id(subscription_id, name)
    identities.remove_below(write, scope)
    vaults.bury_below(write, scope)
    clusters.remove_below(write, scope)
    role_assignments.remove_at(write, scope)
    write.connection.execute(delete(resource_groups).filter_by(**_key(subscription_id, name)))
    write.record(f"{_GROUP}/delete", resource_ids.group_id(subscription_id, old.name))
    return True


def _key(subscription_id: str, name: str) -> dict[str, str]:
    return {"subscription_id": subscription_id.lower(), "name_key": name.lower()}


def _read(connection: Connection, subscription_id: str, name: str) -> ResourceGroup | None:
    query = select(resource_groups).filter_by(**_key(subscription_id, name))
    row = connection.execute(query).first()
    return None if row is None else _group(row)


def _group(row: Row[Any]) -> ResourceGroup:
    with database.shaping("resource_groups", row.name):
        database.check_types(row, resource_groups)
        return ResourceGroup(
            subscription_id=row.subscription_id,
            name=row.name,
            location=row.location,
            tags=from_json(row.tags),
            created=row.created,
        )


def _columns(group: ResourceGroup) -> dict[str, Any]:
    return {
        **_key(group.subscription_id, group.name),
        "name": group.name,
        "location": group.location,
        "tags": to_json(group.tags),
        "created": group.created,
    }
