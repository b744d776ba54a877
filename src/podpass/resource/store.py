"""Secrets and their versions on a SQL database; what returned is on the disk.

Vaults themselves are the directory's; here a vault is only the id that keeps secrets apart.
"""

import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, Row, Select, delete, func, insert, select, update
from sqlalchemy.engine import make_url

from podpass import database
from podpass.resource import backups, refusals, rows
from podpass.resource.model import Recovery, SecretVersion, Wanted
from podpass.resource.schema import STEPS, VERSION, metadata, secrets, versions
from podpass.resource.sealing import Sealer, SealingKeyUnfit
from podpass.secret import Secret

# So many may be damaged before the key is taken for the wrong one.
_LOOKED_AT = 5
_DAY = 24 * 3600


class SecretStore:
    """Versions of secrets, sealed with a key from a file of its own.

    Shapes:  `key_file` lies beside a SQLite database as `{name}.key` if it is not given.
    """

    def __init__(self, url: str, key_file: Path | None = None) -> None:
        self._url = url
        self._key_file = key_file or _beside(url)
        self._engine: Engine | None = None
        self._sealer: Sealer | None = None

    async def open(self) -> None:
        """Open database and key, making both if they are new.

        Errors:  DatabaseUnusable, SealingKeyUnfit.
        """
        self._engine = database.open_database(self._url, metadata, version=VERSION, upgrades=STEPS)
        try:
            with self._reading() as connection:
                newest = connection.execute(rows.newest(_LOOKED_AT)).all()
            self._sealer = Sealer.from_file(self._key_file, make=not newest)
            self._check_key(newest)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
        self._engine = self._sealer = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # Reads

    async def get(self, vault: str, name: str, version: str = "") -> SecretVersion | None:
        """Find one version, or the latest, of a secret that is not deleted."""
        return self._first(rows.one(vault, name, version).where(secrets.c.deleted.is_(None)))

    async def get_deleted(self, vault: str, name: str) -> SecretVersion | None:
        """Find the latest version of a deleted secret."""
        return self._first(rows.one(vault, name).where(secrets.c.deleted.is_not(None)))

    async def counts(self) -> Mapping[str, int]:
        """Count the secrets of each vault that has any, deleted ones left out."""
        query = select(secrets.c.vault, func.count()).where(secrets.c.deleted.is_(None))
        with self._reading() as connection:
            found = connection.execute(query.group_by(secrets.c.vault)).all()
        return {str(vault): int(count) for vault, count in found}

    async def vaults(self) -> frozenset[str]:
        """Name every vault that has secrets, deleted ones too."""
        with self._reading() as connection:
            return frozenset(connection.scalars(select(secrets.c.vault).distinct()))

    async def page(
        self, vault: str, *, after: str, limit: int, deleted: bool = False
    ) -> Sequence[SecretVersion]:
        """List the latest version of each secret, or deleted secret, whose name comes after `after`.

        Values stay closed: a list shows none.
        """
        return self._list(rows.latest(vault, after=after, deleted=deleted), limit)

    async def page_versions(
        self, vault: str, name: str, *, after: int, limit: int
    ) -> Sequence[SecretVersion]:
        """List versions of a secret, oldest first, whose ordinal comes after `after`; values stay closed."""
        return self._list(rows.of_secret(vault, name, after=after), limit)

    async def backup(self, vault: str, name: str, owner: str) -> bytes | None:
        """Seal a secret with all its versions for the vaults of one owner; None if there is none.

        Errors:  BackupTooLarge.
        """
        found = self._all(rows.of_secret(vault, name).limit(backups.MAX_VERSIONS + 1))
        if not found:
            return None
        if len(found) > backups.MAX_VERSIONS:
            raise refusals.BackupTooLarge(
                f"The secret has more than {backups.MAX_VERSIONS} versions.", name=name
            )
        text = backups.write(found)
        if len(text.reveal().encode()) > backups.MAX_BYTES:
            raise refusals.BackupTooLarge(
                f"The secret's versions together are over {backups.MAX_BYTES} bytes.", name=name
            )
        return self._seals.seal(text, backups.place(owner))

    # Writes

    async def set(
        self, vault: str, name: str, value: Secret, wanted: Wanted, now: float
    ) -> SecretVersion:
        """Write a new version, which is the latest from then on.

        Errors:  NameTaken while a deleted secret holds the name.
        """
        key, version = name.lower(), uuid.uuid4().hex
        row = {"created": int(now), "updated": int(now), **rows.columns(wanted)}
        with self._writing() as connection:
            found = connection.execute(select(secrets).filter_by(vault=vault, key=key)).first()
            if found is None:
                connection.execute(insert(secrets).values(vault=vault, key=key, name=name))
            elif found.deleted is not None:
                raise refusals.name_taken(found.name)
            self._insert(connection, (vault, key, version), value, row)
            return self._read(connection.execute(rows.one(vault, name, version)).one())

    async def update(
        self, vault: str, name: str, version: str, wanted: Wanted, now: float
    ) -> SecretVersion | None:
        """Change what is given of one version, or the latest; None if there is none."""
        with self._writing() as connection:
            query = rows.one(vault, name, version).where(secrets.c.deleted.is_(None))
            found = connection.execute(query).first()
            if found is None:
                return None
            every = rows.columns(wanted)
            changed = {column: every[column] for column in wanted.given}
            connection.execute(
                update(versions)
                .where(versions.c.ordinal == found.ordinal)
                .values(**changed, updated=int(now))
            )
            return self._read(connection.execute(rows.one(vault, name, found.version)).one())

    async def delete(
        self, vault: str, name: str, now: float, recovery: Recovery
    ) -> SecretVersion | None:
        """Delete a secret so that it can be recovered for a time; None if there is none."""
        gone = {"deleted": int(now), "purge_on": int(now) + recovery.days * _DAY}
        return self._mark(vault, name, was_deleted=False, **gone)

    async def recover(self, vault: str, name: str) -> SecretVersion | None:
        """Bring a deleted secret back; None if there is none."""
        return self._mark(vault, name, was_deleted=True, deleted=None, purge_on=None)

    async def restore(self, vault: str, blob: bytes, owner: str) -> SecretVersion:
        """Write all versions of a backup, and give the latest.

        Errors:  BackupUnfit; NameTaken, NameInUse: a backup never writes over what is there.
        """
        try:
            text = self._seals.open(blob, backups.place(owner))
        except SealingKeyUnfit as exc:
            raise refusals.BackupUnfit("The backup cannot be restored here.") from exc
        found = backups.read(text, vault)
        name, key = found[0].name, found[0].name.lower()
        with self._writing() as connection:
            there = connection.execute(select(secrets).filter_by(vault=vault, key=key)).first()
            if there is not None:
                raise refusals.name_in_use(there.name, deleted=there.deleted is not None)
            connection.execute(insert(secrets).values(vault=vault, key=key, name=name))
            for one in found:
                row = {"created": one.created, "updated": one.updated, **rows.columns(one)}
                self._insert(connection, (vault, key, one.version), one.value, row)
            return self._read(connection.execute(rows.one(vault, name)).one())

    async def purge(self, vault: str, name: str) -> bool:
        """Delete a deleted secret for good, every version of it."""
        statement = delete(secrets).where(
            secrets.c.vault == vault,
            secrets.c.key == name.lower(),
            secrets.c.deleted.is_not(None),
        )
        with self._writing() as connection:
            return connection.execute(statement).rowcount > 0

    async def expire(self, now: float) -> int:
        """Delete for good what could be recovered until now, and count it."""
        due = secrets.c.purge_on <= int(now)
        with self._reading() as connection:
            if connection.execute(select(secrets.c.key).where(due).limit(1)).first() is None:
                return 0
        with self._writing() as connection:
            return connection.execute(delete(secrets).where(due)).rowcount

    async def clear(self, vaults: Collection[str]) -> int:
        """Delete for good every secret of these vaults, and count them."""
        with self._writing() as connection:
            return connection.execute(delete(secrets).where(secrets.c.vault.in_(vaults))).rowcount

    # Inside

    def _insert(
        self, connection: Connection, where: tuple[str, str, str], value: Secret, row: Any
    ) -> None:
        vault, key, version = where
        sealed = self._seals.seal(value, rows.sealed_for(vault, key, version))
        values = {"vault": vault, "key": key, "version": version, "sealed": sealed, **row}
        connection.execute(insert(versions).values(**values))

    def _mark(
        self, vault: str, name: str, *, was_deleted: bool, **values: int | None
    ) -> SecretVersion | None:
        state = secrets.c.deleted.is_not(None) if was_deleted else secrets.c.deleted.is_(None)
        statement = update(secrets).where(
            secrets.c.vault == vault, secrets.c.key == name.lower(), state
        )
        with self._writing() as connection:
            if connection.execute(statement.values(**values)).rowcount == 0:
                return None
            return self._read(connection.execute(rows.one(vault, name)).one())

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        assert self._engine is not None, "the store is not open"
        with database.reading(self._engine) as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        assert self._engine is not None, "the store is not open"
        with database.writing(self._engine) as connection:
            yield connection

    def _check_key(self, newest: Sequence[Row[Any]]) -> None:
        """Refuse a key that opens nothing: what were sealed with it would lie beside what it cannot open."""
        if newest and not database.readable(newest, self._read):
            raise SealingKeyUnfit(
                f"{self._key_file.name} does not open the secrets of the vaults: it is another one"
            )

    @property
    def _seals(self) -> Sealer:
        assert self._sealer is not None, "the store is not open"
        return self._sealer

    def _first(self, query: Select[Any]) -> SecretVersion | None:
        with self._reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else self._read(row)

    def _all(self, query: Select[Any]) -> list[SecretVersion]:
        with self._reading() as connection:
            return [self._read(row) for row in connection.execute(query).all()]

    def _list(self, query: Select[Any], limit: int) -> list[SecretVersion]:
        closed = Secret("")
        with self._reading() as connection:
            return database.full_page(
                limit,
                lambda many: connection.execute(query.limit(many)).all(),
                lambda row: rows.to_version(row, closed),
            )

    def _read(self, row: Row[Any]) -> SecretVersion:
        with database.shaping("secret_versions", rows.place(row)):
            try:
                value = self._seals.open(row.sealed, rows.place(row))
            except SealingKeyUnfit as exc:
                raise ValueError(exc.message) from exc
        return rows.to_version(row, value)


def _beside(url: str) -> Path:
    path = make_url(url).database
    if not url.startswith("sqlite") or not path:
        raise SealingKeyUnfit("this database needs a key file that is named")
    return Path(path).with_suffix(".key")
