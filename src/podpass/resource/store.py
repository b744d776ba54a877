"""Secrets and their versions on a SQL database; what returned is on the disk.

Vaults themselves are the directory's; here a vault is only a name that keeps secrets apart.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, Row, Select, delete, func, insert, select, update
from sqlalchemy.engine import make_url

from podpass import database
from podpass.resource import refusals
from podpass.resource.model import RECOVERABLE_DAYS, SecretVersion, Wanted
from podpass.resource.schema import VERSION, metadata, secrets, versions
from podpass.resource.sealing import Sealer, SealingKeyUnfit
from podpass.secret import Secret

_DAY = 24 * 3600
_BOTH = secrets.join(versions)
_SELECT = select(secrets.c.name, secrets.c.deleted, secrets.c.purge_on, versions).select_from(_BOTH)


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
        self._engine = database.open_database(self._url, metadata, version=VERSION)
        try:
            with self._reading() as connection:
                empty = connection.execute(select(versions.c.ordinal).limit(1)).first() is None
            self._sealer = Sealer.from_file(self._key_file, make=empty)
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
        return self._first(_of(vault, name, version).where(secrets.c.deleted.is_(None)))

    async def get_deleted(self, vault: str, name: str) -> SecretVersion | None:
        """Find the latest version of a deleted secret."""
        return self._first(_of(vault, name).where(secrets.c.deleted.is_not(None)))

    async def counts(self) -> Mapping[str, int]:
        """Count the secrets of each vault that has any, deleted ones left out."""
        query = select(secrets.c.vault, func.count()).where(secrets.c.deleted.is_(None))
        with self._reading() as connection:
            rows = connection.execute(query.group_by(secrets.c.vault)).all()
        return {str(vault): int(count) for vault, count in rows}

    async def page(self, vault: str, *, after: str, limit: int) -> Sequence[SecretVersion]:
        """List the latest version of each secret whose name comes after `after`."""
        kept = secrets.c.deleted.is_(None)
        latest = select(func.max(versions.c.ordinal)).group_by(versions.c.vault, versions.c.key)
        query = (
            _SELECT.where(secrets.c.vault == vault, secrets.c.key > after.lower(), kept)
            .where(versions.c.ordinal.in_(latest.where(versions.c.vault == vault)))
            .order_by(secrets.c.key)
        )
        return self._all(query.limit(limit))

    async def page_versions(
        self, vault: str, name: str, *, after: int, limit: int
    ) -> Sequence[SecretVersion]:
        """List versions of a secret, oldest first, whose ordinal comes after `after`."""
        query = _SELECT.where(
            secrets.c.vault == vault,
            secrets.c.key == name.lower(),
            secrets.c.deleted.is_(None),
            versions.c.ordinal > after,
        )
        return self._all(query.order_by(versions.c.ordinal).limit(limit))

    # Writes

    async def set(
        self, vault: str, name: str, value: Secret, wanted: Wanted, now: float
    ) -> SecretVersion:
        """Write a new version, which is the latest from then on.

        Errors:  NameTaken while a deleted secret holds the name.
        """
        key, version = name.lower(), uuid.uuid4().hex
        row = {
            "sealed": self._seal(value, vault, key, version),
            "created": int(now),
            "updated": int(now),
            **_columns(wanted),
        }
        with self._writing() as connection:
            found = connection.execute(select(secrets).filter_by(vault=vault, key=key)).first()
            if found is None:
                connection.execute(insert(secrets).values(vault=vault, key=key, name=name))
            elif found.deleted is not None:
                raise refusals.name_taken(found.name)
            connection.execute(
                insert(versions).values(vault=vault, key=key, version=version, **row)
            )
            return self._read(connection.execute(_of(vault, name, version)).one())

    async def update(
        self, vault: str, name: str, version: str, wanted: Wanted, now: float
    ) -> SecretVersion | None:
        """Change what is given of one version, or the latest; None if there is none."""
        with self._writing() as connection:
            query = _of(vault, name, version).where(secrets.c.deleted.is_(None))
            found = connection.execute(query).first()
            if found is None:
                return None
            every = _columns(wanted)
            changed = {column: every[column] for column in wanted.given}
            connection.execute(
                update(versions)
                .where(versions.c.ordinal == found.ordinal)
                .values(**changed, updated=int(now))
            )
            return self._read(connection.execute(_of(vault, name, found.version)).one())

    async def delete(self, vault: str, name: str, now: float) -> SecretVersion | None:
        """Delete a secret so that it can be recovered for a time; None if there is none."""
        gone = {"deleted": int(now), "purge_on": int(now) + RECOVERABLE_DAYS * _DAY}
        return self._mark(vault, name, was_deleted=False, **gone)

    async def recover(self, vault: str, name: str) -> SecretVersion | None:
        """Bring a deleted secret back; None if there is none."""
        return self._mark(vault, name, was_deleted=True, deleted=None, purge_on=None)

    async def purge(self, vault: str, name: str) -> bool:
        """Delete a deleted secret for good, every version of it."""
        statement = delete(secrets).where(
            secrets.c.vault == vault,
            secrets.c.key == name.lower(),
            secrets.c.deleted.is_not(None),
        )
        with self._writing() as connection:
            return connection.execute(statement).rowcount > 0

    # Inside

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
            return self._read(connection.execute(_of(vault, name)).one())

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        assert self._engine is not None, "the store is not open"
        with database.reading(self._engine) as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        assert self._engine is not None, "the store is not open"
        with self._engine.begin() as connection:
            yield connection

    def _first(self, query: Select[Any]) -> SecretVersion | None:
        with self._reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else self._read(row)

    def _all(self, query: Select[Any]) -> list[SecretVersion]:
        with self._reading() as connection:
            return [self._read(row) for row in connection.execute(query).all()]

    def _seal(self, value: Secret, vault: str, key: str, version: str) -> bytes:
        assert self._sealer is not None, "the store is not open"
        return self._sealer.seal(value, f"{vault}/{key}/{version}")

    def _read(self, row: Row[Any]) -> SecretVersion:
        assert self._sealer is not None, "the store is not open"
        return SecretVersion(
            vault=row.vault,
            name=row.name,
            version=row.version,
            ordinal=row.ordinal,
            value=self._sealer.open(row.sealed, f"{row.vault}/{row.key}/{row.version}"),
            content_type=row.content_type,
            tags=json.loads(row.tags),
            enabled=row.enabled,
            not_before=row.not_before,
            expires=row.expires,
            created=row.created,
            updated=row.updated,
            deleted=row.deleted,
            purge_on=row.purge_on,
        )


def _beside(url: str) -> Path:
    path = make_url(url).database
    if not url.startswith("sqlite") or not path:
        raise SealingKeyUnfit("this database needs a key file that is named")
    return Path(path).with_suffix(".key")


def _of(vault: str, name: str, version: str = "") -> Select[Any]:
    """Select one version, or the latest, of a secret, deleted or not."""
    query = _SELECT.where(secrets.c.vault == vault, secrets.c.key == name.lower())
    if version:
        query = query.where(versions.c.version == version)
    return query.order_by(versions.c.ordinal.desc()).limit(1)


def _columns(wanted: Wanted) -> dict[str, Any]:
    return {
        "content_type": wanted.content_type,
        "tags": json.dumps(dict(wanted.tags)),
        "enabled": wanted.enabled,
        "not_before": wanted.not_before,
        "expires": wanted.expires,
    }
