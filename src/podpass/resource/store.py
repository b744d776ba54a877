"""Secrets and their versions on a SQL database; what returned is on the disk.

Vaults themselves are the directory's; here a vault is only the id that keeps secrets apart.
"""

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, Row, Select, delete, func, insert, select, update

from podpass.crypto.envelope import Sealer, SealingKeyUnfit
from podpass.crypto.secret import Secret
from podpass.database import Database, full_page, readable, shaping
from podpass.directory.store import audit_writer
from podpass.resource import backups, errors, rows
from podpass.resource.model import Recovery, SecretVersion, Told, Wanted
from podpass.resource.schema import CHAIN, metadata, secrets, versions

# So many may be damaged before the key is taken for the wrong one.
_LOOKED_AT = 5
_DAY = 24 * 3600

Kept = TypeVar("Kept", SecretVersion, SecretVersion | None)


class SecretStore:
    """Versions of secrets, sealed with a key from a file of its own.

    Shapes:  the database is the directory's, so that a change and its audit are one transaction.
    """

    def __init__(self, database: Database, key_file: Path) -> None:
        self._database = database
        self._key_file = key_file
        self._sealer: Sealer | None = None
        self._opened_it = False

    async def open(self) -> None:
        """Open the tables and the key, making both if they are new, and the database if nobody did.

        Errors:  DatabaseUnusable, SealingKeyUnfit.
        """
        self._opened_it = not self._database.is_open
        if self._opened_it:
            await self._database.open()
        try:
            await self._open_key()
        except BaseException:
            await self.close()
            raise

    async def _open_key(self) -> None:
        await self._database.prepare(metadata, CHAIN)
        newest = await self._database.read(lambda one: one.execute(rows.newest(_LOOKED_AT)).all())
        self._sealer = Sealer.from_file(self._key_file, make=not newest)
        self._check_key(newest)

    async def close(self) -> None:
        """Forget the key; a database that was open before stays so."""
        self._sealer = None
        if self._opened_it:
            await self._database.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # Reads

    async def get(self, vault: str, name: str, version: str = "") -> SecretVersion | None:
        """Find one version, or the latest, of a secret that is not deleted."""
        return await self._first(rows.one(vault, name, version).where(secrets.c.deleted.is_(None)))

    async def get_deleted(self, vault: str, name: str) -> SecretVersion | None:
        """Find the latest version of a deleted secret."""
        return await self._first(rows.one(vault, name).where(secrets.c.deleted.is_not(None)))

    async def counts(self) -> Mapping[str, int]:
        """Count the secrets of each vault that has any, deleted ones left out."""
        query = select(secrets.c.vault, func.count()).where(secrets.c.deleted.is_(None))
        query = query.group_by(secrets.c.vault)
        found = await self._database.read(lambda one: one.execute(query).all())
        return {str(vault): int(count) for vault, count in found}

    async def vaults(self) -> frozenset[str]:
        """Name every vault that has secrets, deleted ones too."""
        query = select(secrets.c.vault).distinct()
        return await self._database.read(lambda one: frozenset(one.scalars(query)))

    async def page(
        self, vault: str, *, after: str, limit: int, deleted: bool = False
    ) -> Sequence[SecretVersion]:
        """List the latest version of each secret, or deleted secret, whose name comes after `after`.

        Values stay closed: a list shows none.
        """
        return await self._list(rows.latest(vault, after=after, deleted=deleted), limit)

    async def page_versions(
        self, vault: str, name: str, *, after: int, limit: int
    ) -> Sequence[SecretVersion]:
        """List versions of a secret, oldest first, whose ordinal comes after `after`; values stay closed."""
        return await self._list(rows.of_secret(vault, name, after=after), limit)

    async def backup(self, vault: str, name: str, owner: str) -> bytes | None:
        """Seal a secret with all its versions for the vaults of one owner; None if there is none.

        Errors:  BackupTooLarge.
        """
        found = await self._all(rows.of_secret(vault, name).limit(backups.MAX_VERSIONS + 1))
        if not found:
            return None
        if len(found) > backups.MAX_VERSIONS:
            raise errors.BackupTooLarge(
                f"The secret has more than {backups.MAX_VERSIONS} versions.", name=name
            )
        text = backups.write(found)
        if len(text.reveal().encode()) > backups.MAX_BYTES:
            raise errors.BackupTooLarge(
                f"The secret's versions together are over {backups.MAX_BYTES} bytes.", name=name
            )
        return self._seals.seal(text.reveal().encode(), backups.place(owner))

    # Writes; what is told goes into the audit with the change, or not at all.

    async def set(
        self,
        vault: str,
        name: str,
        value: Secret,
        wanted: Wanted,
        now: float,
        told: Told | None = None,
    ) -> SecretVersion:
        """Write a new version, which is the latest from then on.

        Errors:  NameTaken while a deleted secret holds the name.
        """
        key, version = name.lower(), uuid.uuid4().hex
        row = {"created": int(now), "updated": int(now), **rows.columns(wanted)}

        def step(connection: Connection) -> SecretVersion:
            found = connection.execute(select(secrets).filter_by(vault=vault, key=key)).first()
            if found is None:
                connection.execute(insert(secrets).values(vault=vault, key=key, name=name))
            elif found.deleted is not None:
                raise errors.name_taken(found.name)
            self._insert(connection, (vault, key, version), value, row)
            return self._read(connection.execute(rows.one(vault, name, version)).one())

        return await self._write(step, told)

    async def update(
        self,
        vault: str,
        name: str,
        version: str,
        wanted: Wanted,
        now: float,
        told: Told | None = None,
    ) -> SecretVersion | None:
        """Change what is given of one version, or the latest; None if there is none."""
        every = rows.columns(wanted)
        changed = {column: every[column] for column in wanted.given}

        def step(connection: Connection) -> SecretVersion | None:
            query = rows.one(vault, name, version).where(secrets.c.deleted.is_(None))
            found = connection.execute(query).first()
            if found is None:
                return None
            here = update(versions).where(versions.c.ordinal == found.ordinal)
            connection.execute(here.values(**changed, updated=int(now)))
            return self._read(connection.execute(rows.one(vault, name, found.version)).one())

        return await self._write(step, told)

    async def delete(
        self, vault: str, name: str, now: float, recovery: Recovery, told: Told | None = None
    ) -> SecretVersion | None:
        """Delete a secret so that it can be recovered for a time; None if there is none."""
        gone = {"deleted": int(now), "purge_on": int(now) + recovery.days * _DAY}
        return await self._write(_marking(self._read, vault, name, was_deleted=False, **gone), told)

    async def recover(
        self, vault: str, name: str, told: Told | None = None
    ) -> SecretVersion | None:
        """Bring a deleted secret back; None if there is none."""
        back = {"deleted": None, "purge_on": None}
        return await self._write(_marking(self._read, vault, name, was_deleted=True, **back), told)

    async def restore(
        self, vault: str, blob: bytes, owner: str, told: Told | None = None
    ) -> SecretVersion:
        """Write all versions of a backup, and give the latest.

        Errors:  BackupUnfit; NameTaken, NameInUse: a backup never writes over what is there.
        """
        found = backups.read(self._opened(blob, owner), vault)
        name, key = found[0].name, found[0].name.lower()

        def step(connection: Connection) -> SecretVersion:
            there = connection.execute(select(secrets).filter_by(vault=vault, key=key)).first()
            if there is not None:
                raise errors.name_in_use(there.name, deleted=there.deleted is not None)
            connection.execute(insert(secrets).values(vault=vault, key=key, name=name))
            for one in found:
                row = {"created": one.created, "updated": one.updated, **rows.columns(one)}
                self._insert(connection, (vault, key, one.version), one.value, row)
            return self._read(connection.execute(rows.one(vault, name)).one())

        return await self._write(step, told)

    async def purge(self, vault: str, name: str, told: Told | None = None) -> bool:
        """Delete a deleted secret for good, every version of it."""
        here = (secrets.c.vault == vault, secrets.c.key == name.lower())
        statement = delete(secrets).where(*here, secrets.c.deleted.is_not(None))

        def step(connection: Connection) -> bool:
            gone = connection.execute(statement).rowcount > 0
            if gone and told is not None:
                # Its name is all that is left.
                audit_writer.write_entries(connection, [told.entry(f"deletedsecrets/{name}")])
            return gone

        return await self._database.write(step)

    async def expire(self, now: float) -> int:
        """Delete for good what could be recovered until now, and count it."""
        due = secrets.c.purge_on <= int(now)
        query = select(secrets.c.key).where(due).limit(1)
        if await self._database.read(lambda one: one.execute(query).first()) is None:
            return 0
        return await self._database.write(
            lambda one: one.execute(delete(secrets).where(due)).rowcount
        )

    async def clear(self, vaults: Collection[str]) -> int:
        """Delete for good every secret of these vaults, and count them."""
        statement = delete(secrets).where(secrets.c.vault.in_(vaults))
        return await self._database.write(lambda one: one.execute(statement).rowcount)

    # Inside

    async def _write(self, step: Callable[[Connection], Kept], told: Told | None) -> Kept:
        def whole(connection: Connection) -> Kept:
            changed = step(connection)
            if changed is not None and told is not None:
                entry = told.entry(f"secrets/{changed.name}/{changed.version}")
                audit_writer.write_entries(connection, [entry])
            return changed

        # No topic: nothing is kept of a vault that is read.
        return await self._database.write(whole)

    def _insert(
        self, connection: Connection, where: tuple[str, str, str], value: Secret, row: Any
    ) -> None:
        vault, key, version = where
        sealed = self._seals.seal(value.reveal().encode(), rows.sealed_for(vault, key, version))
        values = {"vault": vault, "key": key, "version": version, "sealed": sealed, **row}
        connection.execute(insert(versions).values(**values))

    def _check_key(self, newest: Sequence[Row[Any]]) -> None:
        """Refuse a key that opens nothing: what were sealed with it would lie beside what it cannot open."""
        if newest and not readable(newest, self._read):
            raise SealingKeyUnfit(
                f"{self._key_file.name} does not open the secrets of the vaults: it is another one",
                hint="put the instance's own key file back, or begin with a new data dir",
            )

    @property
    def _seals(self) -> Sealer:
        assert self._sealer is not None, "the store is not open"
        return self._sealer

    def _opened(self, blob: bytes, owner: str) -> Secret:
        try:
            return Secret(self._seals.open(blob, backups.place(owner)).decode())
        except (SealingKeyUnfit, ValueError) as exc:
            raise errors.BackupUnfit("The backup cannot be restored here.") from exc

    async def _first(self, query: Select[Any]) -> SecretVersion | None:
        row = await self._database.read(lambda one: one.execute(query).first())
        return None if row is None else self._read(row)

    async def _all(self, query: Select[Any]) -> list[SecretVersion]:
        found = await self._database.read(lambda one: one.execute(query).all())
        return [self._read(row) for row in found]

    async def _list(self, query: Select[Any], limit: int) -> list[SecretVersion]:
        closed = Secret("")
        return await self._database.read(
            lambda one: full_page(
                limit,
                lambda many: one.execute(query.limit(many)).all(),
                lambda row: rows.to_version(row, closed),
            )
        )

    def _read(self, row: Row[Any]) -> SecretVersion:
        with shaping("secret_versions", rows.place(row)):
            try:
                value = Secret(self._seals.open(row.sealed, rows.place(row)).decode())
            except SealingKeyUnfit as exc:
                raise ValueError(exc.message) from exc
        return rows.to_version(row, value)


def _marking(
    read: Callable[[Row[Any]], SecretVersion],
    vault: str,
    name: str,
    *,
    was_deleted: bool,
    **values: int | None,
) -> Callable[[Connection], SecretVersion | None]:
    """Make the step that marks a secret as deleted, or no more."""
    state = secrets.c.deleted.is_not(None) if was_deleted else secrets.c.deleted.is_(None)
    here = (secrets.c.vault == vault, secrets.c.key == name.lower())
    statement = update(secrets).where(*here, state).values(**values)

    def step(connection: Connection) -> SecretVersion | None:
        if connection.execute(statement).rowcount == 0:
            return None
        return read(connection.execute(rows.one(vault, name)).one())

    return step
