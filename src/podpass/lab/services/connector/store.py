"""Connections of Service Connector. One transaction stores a connection with everything that it grants."""

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from podpass import database
from podpass.directory import rules
from podpass.directory.model import (
    AccessPolicy,
    FederatedCredential,
    Identity,
    RoleAssignment,
    WriteResult,
)
from podpass.directory.store import identity_writes, role_assignments
from podpass.directory.store.extension import DirectoryExtension
from podpass.directory.store.identity_queries import is_below
from podpass.directory.store.rows import from_json, to_json
from podpass.directory.store.schema import linkers
from podpass.directory.store.session import Session, Write
from podpass.lab.services.clusters import store as clusters
from podpass.lab.services.clusters.model import Cluster
from podpass.lab.services.connector.model import TYPE, Linker, linker_id
from podpass.lab.services.connector.roles import SERVICE_ROLES
from podpass.lab.services.vault import vaults
from podpass.lab.services.vault.model import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkerChange:
    """A connection, and the objects that are stored with it; an absent one is not needed.

    `cluster` is the cluster with its switches; `policy` is the access policy for the vault with the name
    `vault`.
    """

    linker: Linker
    identity: Identity
    cluster: Cluster | None = None
    credential: FederatedCredential | None = None
    assignments: tuple[RoleAssignment, ...] = ()
    vault: str = ""
    policy: AccessPolicy | None = None


class Linkers:
    """Connections by resource id, compared without case."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, source_id: str, name: str) -> Linker | None:
        """Return a connection, or None; `source_id` is the cluster."""
        resource_id = linker_id(source_id, name)
        return await self._session.read(lambda connection: _read(connection, resource_id))

    async def apply(self, change: LinkerChange) -> WriteResult:
        """Store a connection and everything that it grants, in one transaction.

        Raises the errors of `Identities.put_credential`, `Vaults.change` and `Clusters.put`.
        """
        return await self._session.write(lambda write: _apply(write, change))

    async def delete(self, source_id: str, name: str) -> bool:
        """Delete a connection but not the access that it granted. Return whether it existed."""
        resource_id = linker_id(source_id, name)

        def step(write: Write) -> bool:
            old = _read(write.connection, resource_id)
            if old is None:
                return False
            here = delete(linkers).filter_by(resource_key=resource_id.lower())
            write.connection.execute(here)
            write.record(f"{TYPE}/delete", old.resource_id)
            return True

        return await self._session.write(step)

    async def page(
        self, source_id: str, *, after: str | None = None, limit: int = 100
    ) -> list[Linker]:
        """List the connections of a cluster by resource id, after the resource id `after`."""
        query = select(linkers).where(is_below(linkers.c.resource_key, source_id))
        if after is not None:
            query = query.where(linkers.c.resource_key > after.lower())
        query = query.order_by(linkers.c.resource_key)
        return await self._session.read(
            lambda connection: database.fetch_page(connection, query, limit, _to_linker)
        )


def _apply(write: Write, change: LinkerChange) -> WriteResult:
    if change.cluster is not None:
        clusters.put_in(write, change.cluster)
    if change.credential is not None:
        _add_credential(write, change.identity, change.credential)
    for assignment in change.assignments:
        role_assignments.put_in(write, assignment)
    if change.policy is not None:
        _add_policy(write, change.vault, change.policy)
    return _put(write, change.linker)


def _add_credential(write: Write, identity: Identity, credential: FederatedCredential) -> None:
    def step(old: Identity) -> Identity:
        rules.check_credential(credential, old.kind)
        return replace(old, credentials=rules.put_credential(old.credentials, credential))

    identity_writes.change(write, identity.tenant_id, identity.client_id, step)


def _add_policy(write: Write, vault: str, policy: AccessPolicy) -> None:
    def step(old: Vault) -> Vault:
        holder = (policy.object_id, policy.application_id)
        held = [one for one in old.policies if (one.object_id, one.application_id) == holder]
        if not held:
            return replace(old, policies=(*old.policies, policy))
        secrets = tuple(dict.fromkeys((*held[0].secrets, *policy.secrets)))
        new = replace(held[0], secrets=secrets)
        return replace(old, policies=tuple(new if one is held[0] else one for one in old.policies))

    vaults.change_in(write, vault, step)


def _put(write: Write, given: Linker) -> WriteResult:
    old = _read(write.connection, given.resource_id)
    new = replace(given, created=(old.created if old else given.created) or write.now)
    if old == new:
        return WriteResult.UNCHANGED
    key = {"resource_key": new.resource_id.lower()}
    values = {
        "resource_id": new.resource_id,
        "name": new.name,
        "created": new.created,
        "document": to_json(new.document),
    }
    write.record(f"{TYPE}/write", new.resource_id)
    return write.store(linkers, key, values, exists=old is not None)


def _read(connection: Connection, resource_id: str) -> Linker | None:
    query = select(linkers).filter_by(resource_key=resource_id.lower())
    return database.fetch_first(connection, query, _to_linker)


@database.row_decoder(linkers, key=lambda row: row.resource_id)
def _to_linker(row: Row[Any]) -> Linker:
    return Linker(
        resource_id=row.resource_id,
        name=row.name,
        created=row.created,
        document=from_json(row.document),
    )


EXTENSION = DirectoryExtension(roles=SERVICE_ROLES, stores=(Linkers,))
