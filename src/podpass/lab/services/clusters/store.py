"""Managed Kubernetes clusters of Resource Manager."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from podpass import database
from podpass.directory import errors, naming, resource_ids
from podpass.directory.model import RoleDefinition, WriteResult
from podpass.directory.store import role_assignments
from podpass.directory.store.extension import DirectoryExtension
from podpass.directory.store.identity_queries import in_scope, is_below
from podpass.directory.store.rows import check_group_exists, from_json, to_json
from podpass.directory.store.schema import clusters, linkers
from podpass.directory.store.session import Session, Write
from podpass.lab.services.clusters.model import TYPE, Cluster, name_fault

ROLES = (
    RoleDefinition(
        id="0ab0b1a8-8aac-4efd-b8c2-3ee1fb270be8",
        name="Azure Kubernetes Service Cluster Admin Role",
        description="Reads the administrator credentials of a cluster.",
        actions=(
            f"{TYPE}/listClusterAdminCredential/action",
            f"{TYPE}/accessProfiles/listCredential/action",
            f"{TYPE}/read",
            f"{TYPE}/runcommand/action",
        ),
    ),
    RoleDefinition(
        id="4abbcc35-e782-43d8-92c5-2d3f1bd2253f",
        name="Azure Kubernetes Service Cluster User Role",
        description="Reads the user credentials of a cluster.",
        actions=(f"{TYPE}/listClusterUserCredential/action", f"{TYPE}/read"),
    ),
    RoleDefinition(
        id="b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b",
        name="Azure Kubernetes Service RBAC Cluster Admin",
        description="Performs any action in a cluster with Azure RBAC.",
        actions=(
            "Microsoft.Authorization/*/read",
            "Microsoft.Resources/subscriptions/operationresults/read",
            "Microsoft.Resources/subscriptions/read",
            "Microsoft.Resources/subscriptions/resourceGroups/read",
            f"{TYPE}/listClusterUserCredential/action",
        ),
        data_actions=(f"{TYPE}/*",),
    ),
)


_LINKER = "Microsoft.ServiceLinker/linkers"


class Clusters:
    """Clusters by resource id, compared without case."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, subscription_id: str, group: str, name: str) -> Cluster | None:
        """Return a cluster, or None."""
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
        """List clusters of a subscription or a resource group, after the one with the resource id `after`."""
        query = select(clusters)
        query = in_scope(query, clusters.c.resource_key, subscription_id, group, after)
        return await self._session.read(
            lambda connection: database.fetch_page(connection, query, limit, _to_cluster)
        )

    async def put(self, cluster: Cluster, *, grouped: bool = False) -> WriteResult:
        """Create or replace a cluster.

        With `grouped` its resource group must exist. Raises InvalidValue; GroupNotFound; Conflict for another
        location.
        """
        naming.raise_fault(name_fault(cluster.name), naming.tags_fault(cluster.tags))

        def step(write: Write) -> WriteResult:
            if grouped:
                check_group_exists(write.connection, cluster.resource_id)
            return put_in(write, cluster)

        return await self._session.write(step)

    async def change(
        self, subscription_id: str, group: str, name: str, step: Callable[[Cluster], Cluster]
    ) -> Cluster:
        """Change a cluster by `step`, in one transaction. Raises NotFound; those of `step` and of `put`."""

        def apply_change(write: Write) -> Cluster:
            old = _read(write.connection, resource_ids.cluster_id(subscription_id, group, name))
            if old is None:
                raise errors.NotFound("the cluster does not exist", name=name)
            new = step(old)
            naming.raise_fault(naming.tags_fault(new.tags))
            return _put(write, old, new)[1]

        return await self._session.write(apply_change)

    async def delete(self, subscription_id: str, group: str, name: str) -> bool:
        """Delete a cluster with the role assignments at its scope. Return whether it existed."""

        def step(write: Write) -> bool:
            old = _read(write.connection, resource_ids.cluster_id(subscription_id, group, name))
            if old is not None:
                _remove(write, old)
            return old is not None

        return await self._session.write(step)


def put_in(write: Write, cluster: Cluster) -> WriteResult:
    """Create or replace a cluster as part of a larger transaction."""
    return _put(write, _read(write.connection, cluster.resource_id), cluster)[0]


def remove_below(write: Write, scope: str) -> None:
    """Delete every cluster below a scope, as part of deleting a resource group."""
    query = select(clusters).where(is_below(clusters.c.resource_key, scope))
    for row in write.connection.execute(query).all():
        _remove(write, _to_cluster(row))


def _remove(write: Write, cluster: Cluster) -> None:
    write.connection.execute(delete(clusters).filter_by(resource_key=cluster.resource_id.lower()))
    below = is_below(linkers.c.resource_key, cluster.resource_id)
    for resource_id in write.connection.scalars(select(linkers.c.resource_id).where(below)).all():
        write.record(f"{_LINKER}/delete", resource_id)
    write.connection.execute(delete(linkers).where(below))
    role_assignments.delete_at(write, cluster.resource_id)
    write.record(f"{TYPE}/delete", cluster.resource_id)


def _put(write: Write, old: Cluster | None, given: Cluster) -> tuple[WriteResult, Cluster]:
    new = replace(given, created=(old.created if old else given.created) or write.now)
    if old == new:
        return WriteResult.UNCHANGED, new
    if old is not None and old.location != new.location:
        raise errors.Conflict("the location of a cluster cannot change", name=new.name)
    key = {"resource_key": new.resource_id.lower()}
    write.record(f"{TYPE}/write", new.resource_id)
    return write.store(clusters, key, _to_columns(new), exists=old is not None), new


def _read(connection: Connection, resource_id: str) -> Cluster | None:
    query = select(clusters).filter_by(resource_key=resource_id.lower())
    return database.fetch_first(connection, query, _to_cluster)


@database.row_decoder(clusters, key=lambda row: row.name)
def _to_cluster(row: Row[Any]) -> Cluster:
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


def _to_columns(cluster: Cluster) -> dict[str, Any]:
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


EXTENSION = DirectoryExtension(roles=ROLES, stores=(Clusters,), remove_below=remove_below)
