"""Secrets and their versions on a SQL database. When a write returns, it is on the disk.

The directory stores the vaults. In this store, a vault is only an id.
"""

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Row, Select, delete, func, insert, select, update

from podpass.crypto.envelope import InvalidSealingKey, Sealer
from podpass.crypto.secret import Secret
from podpass.database import Database, decode_full_page, decode_rows
from podpass.directory.store import audit_writer
from podpass.lab.services.vault import backups, errors, rows
from podpass.lab.services.vault.model import (
    AuditContext,
    RecoveryPolicy,
    SecretAttributes,
    SecretVersion,
)
from podpass.lab.services.vault.schema import CHAIN, metadata, secrets, versions

# The sealing key counts as wrong if it opens none of this many versions.
_KEY_SAMPLE = 5
_DAY = 24 * 3600

Changed = TypeVar("Changed", SecretVersion, SecretVersion | None)


class SecretStore:
    """Versions of secrets, sealed with a key from a separate file.

    The database is that of the directory, so that a change and its audit entry are one transaction.
    """

    def __init__(self, database: Database, key_file: Path) -> None:
        self._database = database
        self._key_file = key_file
        self._sealer: Sealer | None = None
        self._owns_database = False

    async def open(self) -> None:
        """Create or upgrade the tables, open or create the key, and open the database if it is closed.

        Raises DatabaseUnusable, InvalidSealingKey.
        """
        self._owns_database = not self._database.is_open
        if self._owns_database:
            await self._database.open()
        try:
            await self._open_key()
        except BaseException:
            await self.close()
            raise

    async def _open_key(self) -> None:
        await self._database.prepare(metadata, CHAIN)
        newest = await self._database.read(
            lambda one: one.execute(rows.select_newest(_KEY_SAMPLE)).all()
        )
        self._sealer = Sealer.from_file(self._key_file, make=not newest)
        self._check_key(newest)

    async def close(self) -> None:
        """Discard the key, and close the database if `open` opened it."""
        self._sealer = None
        if self._owns_database:
            await self._database.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # Reads

    async def get(self, vault: str, name: str, version: str = "") -> SecretVersion | None:
        """Return one version, or the latest, of a secret that is not deleted."""
        return await self._fetch_first(
            rows.select_version(vault, name, version).where(secrets.c.deleted.is_(None))
        )

    async def get_deleted(self, vault: str, name: str) -> SecretVersion | None:
        """Return the latest version of a deleted secret."""
        return await self._fetch_first(
            rows.select_version(vault, name).where(secrets.c.deleted.is_not(None))
        )

    async def counts(self) -> Mapping[str, int]:
        """Count the secrets of each vault, without deleted ones."""
        query = select(secrets.c.vault, func.count()).where(secrets.c.deleted.is_(None))
        query = query.group_by(secrets.c.vault)
        found = await self._database.read(lambda one: one.execute(query).all())
        return {str(vault): int(count) for vault, count in found}

    async def vaults(self) -> frozenset[str]:
        """Return the ids of all vaults that have secrets or deleted secrets."""
        query = select(secrets.c.vault).distinct()
        return await self._database.read(lambda one: frozenset(one.scalars(query)))

    async def page(
        self, vault: str, *, after: str, limit: int, deleted: bool = False
    ) -> Sequence[SecretVersion]:
        """List the latest version of each secret, or deleted secret, after the name `after`.

        Values are not decrypted, because lists do not show them.
        """
        return await self._list(rows.select_latest(vault, after=after, deleted=deleted), limit)

    async def page_versions(
        self, vault: str, name: str, *, after: int, limit: int
    ) -> Sequence[SecretVersion]:
        """List versions of a secret after the ordinal `after`, oldest first. Values are not decrypted."""
        return await self._list(rows.select_versions(vault, name, after=after), limit)

    async def backup(self, vault: str, name: str, owner: str) -> bytes | None:
        """Return a sealed backup of all versions of a secret, for one owner; None if it does not exist.

        Raises BackupTooLarge.
        """
        found = await self._fetch_all(
            rows.select_versions(vault, name).limit(backups.MAX_VERSIONS + 1)
        )
        if not found:
            return None
        if len(found) > backups.MAX_VERSIONS:
            raise errors.BackupTooLarge(
                f"The secret has more than {backups.MAX_VERSIONS} versions.", name=name
            )
        text = backups.serialize(found)
        if len(text.reveal().encode()) > backups.MAX_BYTES:
            raise errors.BackupTooLarge(
                f"The secret's versions together are over {backups.MAX_BYTES} bytes.", name=name
            )
        return self._seals.seal(text.reveal().encode(), backups.seal_context(owner))

    # Writes. The audit entry `audit` is part of the transaction of the change.

    async def set(
        self,
        vault: str,
        name: str,
        value: Secret,
        attributes: SecretAttributes,
        now: float,
        audit: AuditContext | None = None,
    ) -> SecretVersion:
        """Write a new version, which becomes the latest.

        Raises NameTaken while a deleted secret has the name.
        """
        key, version = name.lower(), uuid.uuid4().hex
        row = {"created": int(now), "updated": int(now), **rows.columns(attributes)}

        def step(connection: Connection) -> SecretVersion:
            found = connection.execute(select(secrets).filter_by(vault=vault, key=key)).first()
            if found is None:
                connection.execute(insert(secrets).values(vault=vault, key=key, name=name))
            elif found.deleted is not None:
                raise errors.name_taken(found.name)
            self._insert(connection, (vault, key, version), value, row)
            return self._read(connection.execute(rows.select_version(vault, name, version)).one())

        return await self._write(step, audit)

    async def update(
        self,
        vault: str,
        name: str,
        version: str,
        attributes: SecretAttributes,
        now: float,
        audit: AuditContext | None = None,
    ) -> SecretVersion | None:
        """Change the given attributes of one version, or the latest; None if it does not exist."""
        columns = rows.columns(attributes)
        changed = {column: columns[column] for column in attributes.given}

        def step(connection: Connection) -> SecretVersion | None:
            query = rows.select_version(vault, name, version).where(secrets.c.deleted.is_(None))
            found = connection.execute(query).first()
            if found is None:
                return None
            statement = update(versions).where(versions.c.ordinal == found.ordinal)
            connection.execute(statement.values(**changed, updated=int(now)))
            return self._read(
                connection.execute(rows.select_version(vault, name, found.version)).one()
            )

        return await self._write(step, audit)

    async def delete(
        self,
        vault: str,
        name: str,
        now: float,
        recovery: RecoveryPolicy,
        audit: AuditContext | None = None,
    ) -> SecretVersion | None:
        """Soft-delete a secret; None if it does not exist."""
        values = {"deleted": int(now), "purge_on": int(now) + recovery.days * _DAY}
        return await self._write(
            _set_deleted(self._read, vault, name, was_deleted=False, **values), audit
        )

    async def recover(
        self, vault: str, name: str, audit: AuditContext | None = None
    ) -> SecretVersion | None:
        """Recover a deleted secret; None if it does not exist."""
        values = {"deleted": None, "purge_on": None}
        return await self._write(
            _set_deleted(self._read, vault, name, was_deleted=True, **values), audit
        )

    async def restore(
        self, vault: str, blob: bytes, owner: str, audit: AuditContext | None = None
    ) -> SecretVersion:
        """Write all versions of a backup, and return the latest.

        Raises InvalidBackup; NameTaken, NameInUse: a backup never replaces a secret.
        """
        found = backups.deserialize(self._open_backup(blob, owner), vault)
        name, key = found[0].name, found[0].name.lower()

        def step(connection: Connection) -> SecretVersion:
            existing = connection.execute(select(secrets).filter_by(vault=vault, key=key)).first()
            if existing is not None:
                raise errors.name_in_use(existing.name, deleted=existing.deleted is not None)
            connection.execute(insert(secrets).values(vault=vault, key=key, name=name))
            for one in found:
                row = {"created": one.created, "updated": one.updated, **rows.columns(one)}
                self._insert(connection, (vault, key, one.version), one.value, row)
            return self._read(connection.execute(rows.select_version(vault, name)).one())

        return await self._write(step, audit)

    async def purge(self, vault: str, name: str, audit: AuditContext | None = None) -> bool:
        """Purge a deleted secret with all its versions. Return whether it existed."""
        condition = (secrets.c.vault == vault, secrets.c.key == name.lower())
        statement = delete(secrets).where(*condition, secrets.c.deleted.is_not(None))

        def step(connection: Connection) -> bool:
            purged = connection.execute(statement).rowcount > 0
            if purged and audit is not None:
                audit_writer.write_entries(connection, [audit.entry(f"deletedsecrets/{name}")])
            return purged

        return await self._database.write(step)

    async def purge_expired(self, now: float) -> int:
        """Purge deleted secrets whose retention time is over. Return their number."""
        due = secrets.c.purge_on <= int(now)
        query = select(secrets.c.key).where(due).limit(1)
        if await self._database.read(lambda one: one.execute(query).first()) is None:
            return 0
        return await self._database.write(
            lambda one: one.execute(delete(secrets).where(due)).rowcount
        )

    async def clear(self, vaults: Collection[str]) -> int:
        """Purge every secret of these vaults. Return their number."""
        statement = delete(secrets).where(secrets.c.vault.in_(vaults))
        return await self._database.write(lambda one: one.execute(statement).rowcount)

    # Internal

    async def _write(
        self, step: Callable[[Connection], Changed], audit: AuditContext | None
    ) -> Changed:
        def whole(connection: Connection) -> Changed:
            changed = step(connection)
            if changed is not None and audit is not None:
                entry = audit.entry(f"secrets/{changed.name}/{changed.version}")
                audit_writer.write_entries(connection, [entry])
            return changed

        # No topic: no cache holds secrets.
        return await self._database.write(whole)

    def _insert(
        self, connection: Connection, key: tuple[str, str, str], value: Secret, row: Any
    ) -> None:
        vault, name, version = key
        sealed = self._seals.seal(value.reveal().encode(), rows.value_context(vault, name, version))
        values = {"vault": vault, "key": name, "version": version, "sealed": sealed, **row}
        connection.execute(insert(versions).values(**values))

    def _check_key(self, newest: Sequence[Row[Any]]) -> None:
        """Reject a key that opens no existing value: old and new values would need different keys."""
        if newest and not decode_rows(newest, self._read):
            raise InvalidSealingKey(
                f"{self._key_file.name} does not open the secrets of the vaults: it is another key",
                hint="put the instance's own key file back, or start with a new data directory",
            )

    @property
    def _seals(self) -> Sealer:
        assert self._sealer is not None, "the store is not open"
        return self._sealer

    def _open_backup(self, blob: bytes, owner: str) -> Secret:
        try:
            return Secret(self._seals.open(blob, backups.seal_context(owner)).decode())
        except (InvalidSealingKey, ValueError) as exc:
            raise errors.InvalidBackup("The backup cannot be restored here.") from exc

    async def _fetch_first(self, query: Select[Any]) -> SecretVersion | None:
        row = await self._database.read(lambda one: one.execute(query).first())
        return None if row is None else self._read(row)

    async def _fetch_all(self, query: Select[Any]) -> list[SecretVersion]:
        found = await self._database.read(lambda one: one.execute(query).all())
        return [self._read(row) for row in found]

    async def _list(self, query: Select[Any], limit: int) -> list[SecretVersion]:
        return await self._database.read(
            lambda one: decode_full_page(
                limit,
                lambda size: one.execute(query.limit(size)).all(),
                lambda row: rows.to_version(row, lambda *_: Secret("")),
            )
        )

    def _read(self, row: Row[Any]) -> SecretVersion:
        return rows.to_version(row, self._unseal)

    def _unseal(self, sealed: bytes, context: str) -> Secret:
        try:
            return Secret(self._seals.open(sealed, context).decode())
        except InvalidSealingKey as exc:
            raise ValueError(exc.message) from exc


def _set_deleted(
    read: Callable[[Row[Any]], SecretVersion],
    vault: str,
    name: str,
    *,
    was_deleted: bool,
    **values: int | None,
) -> Callable[[Connection], SecretVersion | None]:
    """Return the step that marks a secret as deleted or recovered."""
    state = secrets.c.deleted.is_not(None) if was_deleted else secrets.c.deleted.is_(None)
    condition = (secrets.c.vault == vault, secrets.c.key == name.lower())
    statement = update(secrets).where(*condition, state).values(**values)

    def step(connection: Connection) -> SecretVersion | None:
        if connection.execute(statement).rowcount == 0:
            return None
        return read(connection.execute(rows.select_version(vault, name)).one())

    return step
