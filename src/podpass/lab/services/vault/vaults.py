"""Key vaults, and deleted vaults that can still be recovered."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from podpass import database
from podpass.directory import errors, naming
from podpass.directory.model import AccessPolicy, ResourceInfo, WriteResult
from podpass.directory.store import integrity, role_assignments
from podpass.directory.store.cache import Cache
from podpass.directory.store.extension import DirectoryExtension
from podpass.directory.store.identity_queries import in_scope, is_below
from podpass.directory.store.rows import check_group_exists, from_json, to_json
from podpass.directory.store.schema import vaults
from podpass.directory.store.session import Session, Write
from podpass.lab.services.vault.model import (
    TYPE,
    DeletedVault,
    Vault,
    VaultAccess,
    vault_name_fault,
)

_DAY = 24 * 3600
_MAX_NAME = 255
_MAX_POLICIES = 1024
_RETENTION_DAYS = range(7, 91)
_NOT_DELETED = vaults.c.deleted.is_(None)


class Vaults:
    """Key vaults by name. Names are unique in the instance."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._by_name: Cache[str, Vault] = session.cache()

    async def get(self, name: str) -> Vault | None:
        """Return a vault by name, compared without case."""
        # Outside ASCII, lower() maps other characters to ASCII letters: the Kelvin sign becomes k.
        if not name.isascii() or not name.isprintable() or len(name) > _MAX_NAME:
            return None
        return await self._by_name.get(name.lower(), lambda: self._load(name.lower()))

    async def find_by_resource_id(self, resource_id: str) -> Vault | None:
        """Return a vault by its resource id, deleted or not. Raises CorruptRowError."""
        query = select(vaults).where(vaults.c.resource_key == resource_id.lower())

        def step(connection: Connection) -> Vault | None:
            return database.fetch_first(connection, query, _to_vault)

        return await self._session.read(step)

    async def page(
        self,
        subscription_id: str,
        *,
        group: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Vault]:
        """List vaults of a subscription or a resource group, after the one with the resource id `after`."""
        query = select(vaults).where(_NOT_DELETED)
        query = in_scope(query, vaults.c.resource_key, subscription_id, group, after)
        return await self._session.read(
            lambda connection: database.fetch_page(connection, query, limit, _to_vault)
        )

    async def put(self, vault: Vault, *, grouped: bool = False) -> WriteResult:
        """Create or change a vault.

        With `grouped` its resource group must exist. Raises InvalidValue; GroupNotFound; NameHeld by a
        deleted vault; Conflict for a change of the tenant or the resource id, or if purge protection would be
        disabled.
        """
        _check(vault)

        def step(write: Write) -> WriteResult:
            if grouped:
                check_group_exists(write.connection, vault.resource_id)
            return _put(write, _read(write.connection, vault.name), vault)[0]

        return await self._session.write(step)

    async def change(self, name: str, step: Callable[[Vault], Vault]) -> Vault:
        """Change a vault by `step`, in one transaction. Raises NotFound; those of `step` and of `put`."""

        return await self._session.write(lambda write: change_in(write, name, step))

    async def delete(self, name: str) -> DeletedVault | None:
        """Soft-delete a vault and delete the role assignments at its scope; None if it does not exist."""

        def step(write: Write) -> DeletedVault | None:
            old = _read(write.connection, name.lower())
            return None if old is None else soft_delete(write, old)

        return await self._session.write(step)

    async def deleted(
        self,
        subscription_id: str | None = None,
        *,
        location: str | None = None,
        name: str | None = None,
    ) -> list[DeletedVault]:
        """List soft-deleted vaults whose retention time is not over."""
        query = select(vaults).where(vaults.c.deleted.is_not(None)).order_by(vaults.c.name)
        query = query.where(vaults.c.purge_on > self._session.clock())
        if subscription_id is not None:
            scope = f"/subscriptions/{subscription_id}"
            query = query.where(is_below(vaults.c.resource_key, scope))
        if location is not None:
            query = query.where(vaults.c.location == location)
        if name is not None:
            query = query.where(vaults.c.name == name.lower())
        return await self._session.read(
            lambda connection: database.decode_rows(connection.execute(query).all(), _to_deleted)
        )

    async def recover(self, name: str) -> Vault:
        """Recover a soft-deleted vault. Its role assignments are not recovered.

        Raises NotFound for the deleted vault or its resource group.
        """
        return await self._session.write(lambda write: _recover(write, name.lower()))

    async def purge(self, name: str) -> DeletedVault:
        """Purge a soft-deleted vault. The caller deletes the secrets of the returned vault's `uid`.

        Raises NotFound; PurgeProtected during the retention time.
        """

        def step(write: Write) -> DeletedVault:
            found = _read_deleted(write.connection, name.lower())
            if found is None:
                raise errors.NotFound("the deleted vault does not exist", name=name)
            early = found.purge_on > write.now
            if found.vault.purge_protection and early:
                raise errors.PurgeProtected("the vault is protected from being purged", name=name)
            _purge(write, found)
            return found

        return await self._session.write(step)

    async def purge_expired(self) -> list[DeletedVault]:
        """Purge deleted vaults whose retention time is over. The caller deletes the secrets of each `uid`."""
        query = select(vaults.c.name).where(vaults.c.purge_on <= self._session.clock()).limit(1)
        # Each write invalidates all caches of the directory.
        if await self._session.read(lambda one: one.execute(query).first()) is None:
            return []
        return await self._session.write(_purge_expired)

    async def _load(self, name: str) -> Vault | None:
        return await self._session.read(lambda connection: _read(connection, name))

    async def uids(self) -> frozenset[str]:
        """Return the id of the secrets of every vault, including deleted and corrupt vaults."""
        query = select(vaults.c.uid, vaults.c.name)
        found = await self._session.read(lambda connection: connection.execute(query).all())
        return frozenset(row.uid or row.name for row in found)

    async def list_resources(self, tenant_id: str) -> list[ResourceInfo]:
        """List the vaults of a tenant as resources of the trust graph."""
        return [to_resource(each) for each in await self.list(tenant_id)]

    # The last public method, because `list` in annotations below it would mean this method.
    async def list(self, tenant_id: str | None = None) -> list[Vault]:
        """List vaults by name: all, or those of one tenant."""
        query = select(vaults).where(_NOT_DELETED).order_by(vaults.c.name)
        if tenant_id is not None:
            query = query.filter_by(tenant_id=tenant_id)
        return await self._session.read(
            lambda connection: database.decode_rows(connection.execute(query).all(), _to_vault)
        )


def change_in(write: Write, name: str, step: Callable[[Vault], Vault]) -> Vault:
    """Change a vault by `step` as part of a larger transaction.

    Raises NotFound; those of `step` and of `put`.
    """
    old = _read(write.connection, name.lower())
    if old is None:
        raise errors.NotFound("the vault does not exist", name=name)
    new = step(old)
    _check(new)
    return _put(write, old, new)[1]


def soft_delete(write: Write, vault: Vault) -> DeletedVault:
    """Soft-delete a vault. Deleting a resource group calls this too."""
    purge_on = write.now + vault.retention_days * _DAY
    here = update(vaults).filter_by(name=vault.name)
    write.connection.execute(here.values(deleted=write.now, purge_on=purge_on))
    role_assignments.delete_at(write, vault.resource_id)
    write.record(f"{TYPE}/delete", vault.resource_id)
    return DeletedVault(vault=vault, deleted=write.now, purge_on=purge_on)


def soft_delete_below(write: Write, scope: str) -> None:
    """Soft-delete every vault below a scope."""
    query = select(vaults).where(_NOT_DELETED, is_below(vaults.c.resource_key, scope))
    for row in write.connection.execute(query).all():
        soft_delete(write, _to_vault(row))


def _recover(write: Write, name: str) -> Vault:
    found = _read_deleted(write.connection, name)
    if found is None or found.purge_on <= write.now:
        raise errors.NotFound("the deleted vault does not exist", name=name)
    check_group_exists(write.connection, found.vault.resource_id)
    here = update(vaults).filter_by(name=found.vault.name)
    write.connection.execute(here.values(deleted=None, purge_on=None))
    write.record(f"{TYPE}/write", found.vault.resource_id)
    return found.vault


def _purge_expired(write: Write) -> list[DeletedVault]:
    query = select(vaults).where(vaults.c.purge_on <= write.now)
    # Corrupt vaults and their secrets stay until an administrator has repaired or deleted the row.
    expired = database.decode_rows(write.connection.execute(query).all(), _to_deleted)
    for one in expired:
        _purge(write, one)
    return expired


def _put(write: Write, old: Vault | None, given: Vault) -> tuple[WriteResult, Vault]:
    if old is None:
        _release_expired_name(write, given.name)
        new = replace(given, uid=given.uid or str(uuid.uuid4()), created=given.created or write.now)
        write.connection.execute(insert(vaults).values(**_to_columns(new)))
        write.record(f"{TYPE}/write", new.resource_id)
        return WriteResult.CREATED, new
    new = replace(given, uid=old.uid, created=old.created)
    if old == new:
        return WriteResult.UNCHANGED, new
    if (old.name, old.tenant_id, old.resource_id) != (new.name, new.tenant_id, new.resource_id):
        raise errors.Conflict("the vault has another tenant or resource id", name=new.name)
    # Otherwise a caller could remove the protection and then purge.
    if old.purge_protection and not new.purge_protection:
        raise errors.Conflict("purge protection cannot be turned off", name=new.name)
    write.connection.execute(update(vaults).filter_by(name=new.name).values(**_to_columns(new)))
    write.record(f"{TYPE}/write", new.resource_id)
    return WriteResult.UPDATED, new


def _release_expired_name(write: Write, name: str) -> None:
    deleted = _read_deleted(write.connection, name)
    if deleted is None:
        return
    if deleted.purge_on > write.now:
        raise errors.NameHeld(
            "a deleted vault has this name", name=name, resource_id=deleted.vault.resource_id
        )
    _purge(write, deleted)


def _purge(write: Write, deleted: DeletedVault) -> None:
    write.connection.execute(delete(vaults).filter_by(name=deleted.vault.name))
    target = f"locations/{deleted.vault.location}/deletedVaults/{deleted.vault.name}"
    write.record("Microsoft.KeyVault/locations/deletedVaults/purge/action", target)


def _check(vault: Vault) -> None:
    naming.raise_fault(vault_name_fault(vault.name), naming.tags_fault(vault.tags))
    if vault.retention_days not in _RETENTION_DAYS:
        raise errors.InvalidValue("the retention time is 7 to 90 days", field="retention_days")
    if len(vault.policies) > _MAX_POLICIES:
        message = f"a vault has at most {_MAX_POLICIES} access policies"
        raise errors.TooMany(message, field="policies", limit=_MAX_POLICIES)


def _read(connection: Connection, name: str) -> Vault | None:
    return database.fetch_first(
        connection, select(vaults).where(vaults.c.name == name, _NOT_DELETED), _to_vault
    )


def _read_deleted(connection: Connection, name: str) -> DeletedVault | None:
    query = select(vaults).where(vaults.c.name == name, vaults.c.deleted.is_not(None))
    return database.fetch_first(connection, query, _to_deleted)


@database.row_decoder(vaults, key=lambda row: row.name)
def _to_deleted(row: Row[Any]) -> DeletedVault:
    if row.purge_on is None:
        raise ValueError("purge_on: want seconds since the epoch, found NULL")
    return DeletedVault(vault=_to_vault(row), deleted=row.deleted, purge_on=row.purge_on)


@database.row_decoder(vaults, key=lambda row: row.name)
def _to_vault(row: Row[Any]) -> Vault:
    return Vault(
        name=row.name,
        tenant_id=row.tenant_id,
        location=row.location,
        resource_id=row.resource_id,
        uid=row.uid,
        access=VaultAccess(row.access),
        policies=tuple(_to_policy(one) for one in from_json(row.policies, list)),
        retention_days=row.retention_days,
        purge_protection=row.purge_protection,
        tags=from_json(row.tags),
        created=row.created,
        document=from_json(row.document),
    )


def _to_policy(stored: Mapping[str, Any]) -> AccessPolicy:
    return AccessPolicy(**{**stored, "secrets": tuple(stored["secrets"])})


def _to_columns(vault: Vault) -> dict[str, Any]:
    return {
        "name": vault.name,
        "tenant_id": vault.tenant_id,
        "location": vault.location,
        "resource_id": vault.resource_id,
        "resource_key": vault.resource_id.lower(),
        "uid": vault.uid,
        "access": vault.access.value,
        "policies": to_json([_policy_document(one) for one in vault.policies]),
        "retention_days": vault.retention_days,
        "purge_protection": vault.purge_protection,
        "tags": to_json(vault.tags),
        "created": vault.created,
        "document": to_json(vault.document),
    }


def _policy_document(policy: AccessPolicy) -> dict[str, Any]:
    return {
        "object_id": policy.object_id,
        "tenant_id": policy.tenant_id,
        "secrets": list(policy.secrets),
        "application_id": policy.application_id,
        "document": dict(policy.document),
    }


def check_stored(vault: Vault) -> None:
    """Reject a stored vault that neither a seed nor an API can have written. Raises CorruptRowError."""
    with integrity.reporting_row("vaults", vault.name):
        naming.raise_fault(vault_name_fault(vault.name))
        integrity.check_name(vault.name, vault.resource_id)


def to_resource(vault: Vault) -> ResourceInfo:
    """Return a vault as a resource of the trust graph."""
    return ResourceInfo(
        id=vault.resource_id,
        type=TYPE,
        name=vault.name,
        uses_roles=vault.access is VaultAccess.ROLES,
        policies=vault.policies,
    )


EXTENSION = DirectoryExtension(
    stores=(Vaults,), remove_below=soft_delete_below, resource_store=Vaults
)
