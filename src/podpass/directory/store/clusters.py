"""Managed Kubernetes clusters, as Resource Manager shows them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from podpass import database
from podpass.directory import errors, naming, resource_ids
from podpass.directory.model import Change, Cluster
from podpass.directory.store import role_assignments
from podpass.directory.store.identity_queries import below, lying_in
from podpass.directory.store.rows import check_group, from_json, to_json
from podpass.directory.store.schema import clusters
from podpass.directory.store.session import Session, Write

_CLUSTER = "Microsoft.ContainerService/managedClusters"


class Clusters:
    """Clusters by their resource id, case apart."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, subscription_id: str, group: str, name: str) -> Cluster | None:
        """Find a cluster."""
        resource_id = resource_ids.cluster_id(subscription_id, group, name)
        return await self._session.read(lambda connection: _read(connection, resource_id))

    async def page(
        self,
        subscription_id: str,
        *,
        group: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Cluster]:
        """List clusters of a subscription, or of one of its groups, after the one with this resource id."""
        query = select(clusters)
        query = lying_in(query, clusters.c.resource_key, subscription_id, group, after)
        return await self._session.read(
            lambda connection: database.full_page(
                limit, lambda many: connection.execute(query.limit(many)).all(), _cluster
            )
        )

    async def put(self, cluster: Cluster, *, grouped: bool = False) -> Change:
        """Create a cluster, or replace what is shown of it.

        Shapes:  `grouped` puts it only into a resource group that is there.
        Errors:  InvalidValue; GroupNotFound; Conflict for another location.
        """
        naming.refuse(naming.cluster_name_fault(cluster.name), naming.tags_fault(cluster.tags))

        def step(write: Write) -> Change:
            if grouped:
                check_group(write.connection, cluster.resource_id)
            return _put(write, _read(write.connection, cluster.resource_id), cluster)[0]

        return await self._session.write(step)

    async def change(
        self, subscription_id: str, group: str, name: str, step: Callable[[Cluster], Cluster]
    ) -> Cluster:
        """Read a cluster, let `step` change it, write it; nothing comes between.

        Errors:  NotFound; those of `step` and of `put`.
        """

        def changed(write: Write) -> Cluster:
            old = _read(write.connection, resource_ids.cluster_id(subscription_id, group, name))
            if old is None:
                raise errors.NotFound("there is no such cluster", name=name)
            new = step(old)
            naming.refuse(naming.tags_fault(new.tags))
            return _put(write, old, new)[1]

        return await self._session.write(changed)

    async def delete(self, subscription_id: str, group: str, name: str) -> bool:
        """Delete what is kept of a cluster with the roles at it, if it is there."""

        def step(write: Write) -> bool:
            old = _read(write.connection, resource_ids.cluster_id(subscription_id, group, name))
            if old is not None:
                _remove(write, old)
            return old is not None

        return await self._session.write(step)


def remove_below(write: Write, scope: str) -> None:
    """Delete every cluster below a scope; a step of deleting its resource group."""
    query = select(clusters).where(below(clusters.c.resource_key, scope))
    for row in write.connection.execute(query).all():
        _remove(write, _cluster(row))


def _remove(write: Write, cluster: Cluster) -> None:
    write.connection.execute(delete(clusters).filter_by(resource_key=cluster.resource_id.lower()))
    role_assignments.remove_at(write, cluster.resource_id)
    write.record(f"{_CLUSTER}/delete", cluster.resource_id)


def _put(write: Write, old: Cluster | None, given: Cluster) -> tuple[Change, Cluster]:
    new = replace(given, created=(old.created if old else given.created) or write.now)
    if old == new:
        return Change.UNCHANGED, new
    if old is not None and old.location != new.location:
        raise errors.Conflict("the location of a cluster cannot change", name=new.name)
    key = {"resource_key": new.resource_id.lower()}
    if old is None:
        write.connection.execute(insert(clusters).values(**key, **_columns(new)))
    else:
        write.connection.execute(update(clusters).filter_by(**key).values(**_columns(new)))
    write.record(f"{_CLUSTER}/write", new.resource_id)
    return (Change.CREATED if old is None else Change.UPDATED), new


def _read(connection: Connection, resource_id: str) -> Cluster | None:
    query = select(clusters).filter_by(resource_key=resource_id.lower())
    row = connection.execute(query).first()
    return None if row is None else _cluster(row)


def _cluster(row: Row[Any]) -> Cluster:
    with database.shaping("clusters", row.name):
        database.check_types(row, clusters)
        return Cluster(
            subscription_id=row.subscription_id,
            group=row.group,
            name=row.name,
            location=row.location,
            resource_id=row.resource_id,
            tags=from_json(row.tags),
            created=row.created,
            document=from_json(row.document),
        )


def _columns(cluster: Cluster) -> dict[str, Any]:
    return {
        "subscription_id": cluster.subscription_id,
        "group": cluster.group,
        "name": cluster.name,
        "location": cluster.location,
        "resource_id": cluster.resource_id,
        "tags": to_json(cluster.tags),
        "created": cluster.created,
        "document": to_json(cluster.document),
    }
