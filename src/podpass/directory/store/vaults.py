"""Key vaults: those there are, and the deleted ones that can still come back."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from podpass import database
from podpass.directory import errors, naming
from podpass.directory.model import AccessPolicy, Change, DeletedVault, Vault, VaultAccess
from podpass.directory.store import role_assignments
from podpass.directory.store.cache import Cache
from podpass.directory.store.identity_queries import below, lying_in
from podpass.directory.store.rows import check_group, from_json, to_json
from podpass.directory.store.schema import vaults
from podpass.directory.store.session import Session, Write

_VAULT = "Microsoft.KeyVault/vaults"
_DAY = 24 * 3600
_MAX_NAME = 255
_MAX_POLICIES = 1024
_RETENTION_DAYS = range(7, 91)
_THERE = vaults.c.deleted.is_(None)


class Vaults:
    """Key vaults by name, which is one in the whole instance."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._kept: Cache[str, Vault] = session.cache()

    async def get(self, name: str) -> Vault | None:
        """Find a vault by name, case apart."""
        # Beyond ASCII, lower() makes letters of signs that only look like them.
        if not name.isascii() or not name.isprintable() or len(name) > _MAX_NAME:
            return None
        return await self._kept.get(name.lower(), lambda: self._load(name.lower()))

    async def at(self, resource_id: str) -> Vault | None:
        """Find a vault by its resource id, deleted or not.

        Errors:  RowDamaged.
        """
        query = select(vaults).where(vaults.c.resource_key == resource_id.lower())

        def step(connection: Connection) -> Vault | None:
            row = connection.execute(query).first()
            return None if row is None else _vault(row)

        return await self._session.read(step)

    async def page(
        self,
        subscription_id: str,
        *,
        group: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Vault]:
        """List vaults of a subscription, or of one of its groups, after the one with this resource id."""
        query = select(vaults).where(_THERE)
        query = lying_in(query, vaults.c.resource_key, subscription_id, group, after)
        return await self._session.read(
            lambda connection: database.full_page(
                limit, lambda many: connection.execute(query.limit(many)).all(), _vault
            )
        )

    async def put(self, vault: Vault, *, grouped: bool = False) -> Change:
        """Create a vault, or change it.

        Shapes:  `grouped` puts it only into a resource group that is there.
        Errors:  InvalidValue; GroupNotFound; NameHeld by a deleted vault; Conflict when tenant or resource id
                 differ from those it has, or purge protection would end.
        """
        _check(vault)

        def step(write: Write) -> Change:
            if grouped:
                check_group(write.connection, vault.resource_id)
            return _put(write, _read(write.connection, vault.name), vault)[0]

        return await self._session.write(step)

    async def change(self, name: str, step: Callable[[Vault], Vault]) -> Vault:
        """Read a vault, let `step` change it, write it; nothing comes between.

        Errors:  NotFound; those of `step` and of `put`.
        """

        def changed(write: Write) -> Vault:
            old = _read(write.connection, name.lower())
            if old is None:
                raise errors.NotFound("there is no such vault", name=name)
            new = step(old)
            _check(new)
            return _put(write, old, new)[1]

        return await self._session.write(changed)

    async def delete(self, name: str) -> DeletedVault | None:
        """Delete a vault so that it can be recovered; the roles at it go for good. None if there is none."""

        def step(write: Write) -> DeletedVault | None:
            old = _read(write.connection, name.lower())
            return None if old is None else bury(write, old)

        return await self._session.write(step)

    async def deleted(
        self,
        subscription_id: str | None = None,
        *,
        location: str | None = None,
        name: str | None = None,
    ) -> list[DeletedVault]:
        """List vaults that can be recovered; those whose time is over are gone."""
        query = select(vaults).where(vaults.c.deleted.is_not(None)).order_by(vaults.c.name)
        query = query.where(vaults.c.purge_on > self._session.clock())
        if subscription_id is not None:
            scope = f"/subscriptions/{subscription_id}"
            query = query.where(below(vaults.c.resource_key, scope))
        if location is not None:
            query = query.where(vaults.c.location == location)
        if name is not None:
            query = query.where(vaults.c.name == name.lower())
        return await self._session.read(
            lambda connection: database.readable(connection.execute(query).all(), _deleted)
        )

    async def recover(self, name: str) -> Vault:
        """Bring a deleted vault back, without the roles that were held at it.

        Errors:  NotFound for the deleted vault, or for its resource group.
        """
        return await self._session.write(lambda write: _recover(write, name.lower()))

    async def purge(self, name: str) -> DeletedVault:
        """Delete a deleted vault for good; its secrets lie under the `uid` of what is answered.

        Errors:  NotFound; PurgeProtected while its time is not over.
        """

        def step(write: Write) -> DeletedVault:
            found = _read_deleted(write.connection, name.lower())
            if found is None:
                raise errors.NotFound("there is no such deleted vault", name=name)
            early = found.purge_on > write.now
            if found.vault.purge_protection and early:
                raise errors.PurgeProtected("the vault is protected from being purged", name=name)
            _purge(write, found)
            return found

        return await self._session.write(step)

    async def sweep(self) -> list[DeletedVault]:
        """Purge every deleted vault whose time is over; their secrets lie under the `uid` of each."""
        return await self._session.write(_sweep)

    async def _load(self, name: str) -> Vault | None:
        return await self._session.read(lambda connection: _read(connection, name))

    async def uids(self) -> frozenset[str]:
        """Name what the secrets of every vault lie under, deleted ones and unreadable ones too."""
        query = select(vaults.c.uid, vaults.c.name)
        found = await self._session.read(lambda connection: connection.execute(query).all())
        return frozenset(row.uid or row.name for row in found)

    # The last of the public ones: below it, `list` is this method.
    async def list(self, tenant_id: str | None = None) -> list[Vault]:
        """List the vaults by name, all or those of one tenant."""
        query = select(vaults).where(_THERE).order_by(vaults.c.name)
        if tenant_id is not None:
            query = query.filter_by(tenant_id=tenant_id)
        return await self._session.read(
            lambda connection: database.readable(connection.execute(query).all(), _vault)
        )


def bury(write: Write, vault: Vault) -> DeletedVault:
    """Delete a vault so that it can be recovered; also a step of deleting its resource group."""
    purge_on = write.now + vault.retention_days * _DAY
    here = update(vaults).filter_by(name=vault.name)
    write.connection.execute(here.values(deleted=write.now, purge_on=purge_on))
    role_assignments.remove_at(write, vault.resource_id)
    write.record(f"{_VAULT}/delete", vault.resource_id)
    return DeletedVault(vault=vault, deleted=write.now, purge_on=purge_on)


def bury_below(write: Write, scope: str) -> None:
    """Delete every vault below a scope so that each can be recovered."""
    query = select(vaults).where(_THERE, below(vaults.c.resource_key, scope))
    for row in write.connection.execute(query).all():
        bury(write, _vault(row))


def _recover(write: Write, name: str) -> Vault:
    found = _read_deleted(write.connection, name)
    if found is None or found.purge_on <= write.now:
        raise errors.NotFound("there is no such deleted vault", name=name)
    check_group(write.connection, found.vault.resource_id)
    here = update(vaults).filter_by(name=found.vault.name)
    write.connection.execute(here.values(deleted=None, purge_on=None))
    write.record(f"{_VAULT}/write", found.vault.resource_id)
    return found.vault


def _sweep(write: Write) -> list[DeletedVault]:
    query = select(vaults).where(vaults.c.purge_on <= write.now)
    # One that cannot be read stays, and its secrets with it, until somebody has looked at it.
    gone = database.readable(write.connection.execute(query).all(), _deleted)
    for one in gone:
        _purge(write, one)
    return gone


def _put(write: Write, old: Vault | None, given: Vault) -> tuple[Change, Vault]:
    if old is None:
        _make_room(write, given.name)
        new = replace(given, uid=given.uid or str(uuid.uuid4()), created=given.created or write.now)
        write.connection.execute(insert(vaults).values(**_columns(new)))
        write.record(f"{_VAULT}/write", new.resource_id)
        return Change.CREATED, new
    new = replace(given, uid=old.uid, created=old.created)
    if old == new:
        return Change.UNCHANGED, new
    if (old.name, old.tenant_id, old.resource_id) != (new.name, new.tenant_id, new.resource_id):
        raise errors.Conflict("the vault belongs elsewhere already", name=new.name)
    # Whoever relies on the protection must not lose it to whoever wants to purge.
    if old.purge_protection and not new.purge_protection:
        raise errors.Conflict("purge protection does not end once it is on", name=new.name)
    write.connection.execute(update(vaults).filter_by(name=new.name).values(**_columns(new)))
    write.record(f"{_VAULT}/write", new.resource_id)
    return Change.UPDATED, new


def _make_room(write: Write, name: str) -> None:
    held = _read_deleted(write.connection, name)
    if held is None:
        return
    if held.purge_on > write.now:
        raise errors.NameHeld(
            "a deleted vault has this name", name=name, resource_id=held.vault.resource_id
        )
    _purge(write, held)


def _purge(write: Write, gone: DeletedVault) -> None:
    write.connection.execute(delete(vaults).filter_by(name=gone.vault.name))
    where = f"locations/{gone.vault.location}/deletedVaults/{gone.vault.name}"
    write.record("Microsoft.KeyVault/locations/deletedVaults/purge/action", where)


def _check(vault: Vault) -> None:
    naming.refuse(naming.vault_name_fault(vault.name), naming.tags_fault(vault.tags))
    if vault.retention_days not in _RETENTION_DAYS:
        raise errors.InvalidValue("retention is 7 to 90 days", field="retention_days")
    if len(vault.policies) > _MAX_POLICIES:
        message = f"a vault has at most {_MAX_POLICIES} access policies"
        raise errors.TooMany(message, field="policies", limit=_MAX_POLICIES)


def _read(connection: Connection, name: str) -> Vault | None:
    row = connection.execute(select(vaults).where(vaults.c.name == name, _THERE)).first()
    return None if row is None else _vault(row)


def _read_deleted(connection: Connection, name: str) -> DeletedVault | None:
    query = select(vaults).where(vaults.c.name == name, vaults.c.deleted.is_not(None))
    row = connection.execute(query).first()
    return None if row is None else _deleted(row)


def _deleted(row: Row[Any]) -> DeletedVault:
    return DeletedVault(vault=_vault(row), deleted=row.deleted, purge_on=row.purge_on)


def _vault(row: Row[Any]) -> Vault:
    with database.shaping("vaults", row.name):
        database.check_types(row, vaults)
        return Vault(
            name=row.name,
            tenant_id=row.tenant_id,
            location=row.location,
            resource_id=row.resource_id,
            uid=row.uid,
            access=VaultAccess(row.access),
            policies=tuple(_policy(one) for one in from_json(row.policies, list)),
            retention_days=row.retention_days,
            purge_protection=row.purge_protection,
            tags=from_json(row.tags),
            created=row.created,
            document=from_json(row.document),
        )


def _policy(kept: Mapping[str, Any]) -> AccessPolicy:
    return AccessPolicy(**{**kept, "secrets": tuple(kept["secrets"])})


def _columns(vault: Vault) -> dict[str, Any]:
    return {
        "name": vault.name,
        "tenant_id": vault.tenant_id,
        "location": vault.location,
        "resource_id": vault.resource_id,
        "resource_key": vault.resource_id.lower(),
        "uid": vault.uid,
        "access": vault.access.value,
        "policies": to_json([_kept_policy(one) for one in vault.policies]),
        "retention_days": vault.retention_days,
        "purge_protection": vault.purge_protection,
        "tags": to_json(vault.tags),
        "created": vault.created,
        "document": to_json(vault.document),
    }


def _kept_policy(policy: AccessPolicy) -> dict[str, Any]:
    return {
        "object_id": policy.object_id,
        "tenant_id": policy.tenant_id,
        "secrets": list(policy.secrets),
        "application_id": policy.application_id,
        "document": dict(policy.document),
    }
