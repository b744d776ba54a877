"""Objects and their versions on a SQL database. When a write returns, it is on the disk.

`vaults.py` stores the vaults. A collection has the objects of one kind in one vault; the column `vault` is
its key.
"""

import asyncio
import base64
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)

from podpass.crypto.envelope import InvalidSealingKey, Sealer
from podpass.crypto.secret import Secret
from podpass.database import Database, decode_full_page, decode_rows, fetch_page
from podpass.directory.store import audit_writer
from podpass.lab.services.vault import backups, errors, rows
from podpass.lab.services.vault.model import (
    AuditContext,
    MissingObject,
    ObjectAttributes,
    ObjectState,
    ObjectVersion,
    RecoveryPolicy,
    kind_of,
    list_collections,
    new_version,
    vault_of,
)
from podpass.lab.services.vault.schema import CHAIN, metadata, secrets, versions

# The sealing key counts as wrong if it opens none of this many versions.
_KEY_SAMPLE = 5
_DAY = 24 * 3600

Changed = TypeVar("Changed", ObjectVersion, ObjectVersion | None, ObjectState)
Restored = tuple[Sequence[ObjectVersion], Sequence[ObjectState]]


class VaultStore:
    """Versions of secrets, keys and certificates, sealed with a key from a separate file.

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

    async def get(self, vault: str, name: str, version: str = "") -> ObjectVersion | None:
        """Return one version, or the latest, of a secret that is not deleted."""
        values = {"vault": vault, "key": name.lower(), "version": version}
        statement = rows.ONE_VERSION if version else rows.LATEST
        found = await self._database.fetch(statement, values)
        return self._read(rows.name_columns(found[0])) if found else None

    async def get_deleted(self, vault: str, name: str) -> ObjectVersion | None:
        """Return the latest version of a deleted secret."""
        query = rows.select_version(vault, name).where(secrets.c.deleted.is_not(None))
        row = await self._database.read(lambda one: one.execute(query).first())
        return None if row is None else self._read(row)

    async def find(self, vault: str, name: str, *, deleted: bool = False) -> ObjectState | None:
        """Return an object without its versions, or a deleted one."""
        query = select(secrets).filter_by(vault=vault, key=name.lower())
        query = query.where(_is_deleted(deleted))
        row = await self._database.read(lambda one: one.execute(query).first())
        return None if row is None else rows.to_state(row)

    async def page_states(
        self, vault: str, *, after: str, limit: int, deleted: bool = False
    ) -> Sequence[ObjectState]:
        """List objects without their versions, after the name `after`."""
        query = select(secrets).where(secrets.c.vault == vault, secrets.c.key > after.lower())
        query = query.where(_is_deleted(deleted)).order_by(secrets.c.key)
        return await self._database.read(
            lambda one: decode_full_page(
                limit, lambda size: one.execute(query.limit(size)).all(), rows.to_state
            )
        )

    async def due(
        self, now: float, *, limit: int, after: ObjectState | None = None
    ) -> Sequence[ObjectState]:
        """List objects of all vaults whose next action is due, the earliest first, starting after `after`."""
        order = (secrets.c.next_action, secrets.c.vault, secrets.c.key)
        query = select(secrets).where(
            secrets.c.next_action <= int(now), secrets.c.deleted.is_(None)
        )
        if after is not None:
            last = (after.next_action, after.collection, after.name.lower())
            query = query.where(tuple_(*order) > tuple_(*last))
        query = query.order_by(*order)
        return await self._database.read(lambda one: fetch_page(one, query, limit, rows.to_state))

    async def counts(self) -> Mapping[str, int]:
        """Count the secrets of each vault, without deleted ones."""
        query = select(secrets.c.vault, func.count()).where(
            secrets.c.deleted.is_(None), secrets.c.vault.not_like("%/%")
        )
        query = query.group_by(secrets.c.vault)
        found = await self._database.read(lambda one: one.execute(query).all())
        return {str(vault): int(count) for vault, count in found}

    async def vaults(self) -> frozenset[str]:
        """Return the keys of all vaults that have objects or deleted objects."""
        query = select(secrets.c.vault).distinct()
        found = await self._database.read(lambda one: one.scalars(query).all())
        return frozenset(map(vault_of, found))

    async def page(
        self, vault: str, *, after: str, limit: int, deleted: bool = False
    ) -> Sequence[ObjectVersion]:
        """List the latest version of each secret, or deleted secret, after the name `after`.

        Values are not decrypted, because lists do not show them.
        """
        return await self._list(rows.select_latest(vault, after=after, deleted=deleted), limit)

    async def page_versions(
        self, vault: str, name: str, *, after: int, limit: int
    ) -> Sequence[ObjectVersion]:
        """List versions of a secret after the ordinal `after`, oldest first. Values are not decrypted."""
        return await self._list(rows.select_versions(vault, name, after=after), limit)

    async def backup(self, vault: str, name: str, owner: str) -> bytes | None:
        """Return a sealed backup of all versions of an object, for one owner; None if it does not exist.

        Raises BackupTooLarge, ManagedObject.
        """
        query = rows.select_versions(vault, name).limit(backups.MAX_VERSIONS + 1)
        found = await self._database.read(lambda one: one.execute(query).all())
        # Hundreds of versions would delay the other requests of the event loop.
        return await asyncio.to_thread(self._back_up, found, vault, name, owner) if found else None

    def _back_up(self, stored: Sequence[Row[Any]], vault: str, name: str, owner: str) -> bytes:
        found = [self._read(row) for row in stored]
        if found[0].managed:
            raise errors.managed(kind_of(vault), name)
        if len(found) > backups.MAX_VERSIONS:
            raise errors.BackupTooLarge(
                f"The {kind_of(vault).noun} has more than {backups.MAX_VERSIONS} versions.",
                name=name,
            )
        text = backups.serialize(found).reveal().encode()
        if len(text) > backups.MAX_BYTES:
            raise errors.BackupTooLarge(
                f"The versions together are over {backups.MAX_BYTES} bytes.", name=name
            )
        return self._seals.seal(text, backups.seal_context(owner))

    # Writes. The audit entry `audit` is part of the transaction of the change.

    async def set(
        self,
        vault: str,
        name: str,
        value: Secret,
        attributes: ObjectAttributes,
        now: float,
        audit: AuditContext | None = None,
    ) -> ObjectVersion:
        """Write a new version, which becomes the latest.

        Raises NameTaken while a deleted secret has the name; ManagedObject.
        """
        return await self.put([new_version(vault, name, value, attributes, now)], audit)

    async def put(
        self,
        new: Sequence[ObjectVersion],
        audit: AuditContext | None = None,
        *,
        states: Sequence[ObjectState] = (),
        expected: ObjectState | MissingObject | None = None,
    ) -> ObjectVersion:
        """Write new versions, which become the latest ones, and states of objects, all or nothing.

        Objects that do not exist are created. Return the first version as it is stored. Raises NameTaken,
        NameInUse, ManagedObject; OutdatedState if `expected` is no longer the state of its object.
        """

        def step(connection: Connection) -> ObjectVersion:
            self._put(connection, new, states, expected)
            first = new[0]
            query = rows.select_version(first.collection, first.name, first.version)
            return self._read(connection.execute(query).one())

        return await self._write(step, audit)

    async def put_states(
        self,
        states: Sequence[ObjectState],
        audit: AuditContext | None = None,
        *,
        expected: ObjectState | MissingObject | None = None,
    ) -> None:
        """Write states of objects without new versions. Raises as `put`."""

        def step(connection: Connection) -> ObjectState:
            self._put(connection, (), states, expected)
            return states[0]

        await self._write(step, audit)

    async def update(
        self,
        vault: str,
        name: str,
        version: str,
        attributes: ObjectAttributes,
        now: float,
        audit: AuditContext | None = None,
        *,
        views: Sequence[str] = (),
    ) -> ObjectVersion | None:
        """Change the given attributes of one version, or the latest; None if it does not exist.

        The versions of the same name and ID on the collections `views` change too. Raises ManagedObject.
        """
        columns = rows.columns(attributes)
        changed = {column: columns[column] for column in attributes.given}

        def step(connection: Connection) -> ObjectVersion | None:
            query = rows.select_version(vault, name, version).where(secrets.c.deleted.is_(None))
            found = connection.execute(query).first()
            if found is None:
                return None
            if rows.to_version(found, lambda *_: Secret("")).managed:
                raise errors.managed(kind_of(vault), found.name)
            statement = update(versions).where(
                versions.c.vault.in_((vault, *views)),
                versions.c.key == found.key,
                versions.c.version == found.version,
            )
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
        *,
        views: Sequence[str] = (),
    ) -> ObjectVersion | ObjectState | None:
        """Soft-delete an object, also from the collections `views`.

        Return its latest version, or its state if it has no version; None if it does not exist. Raises
        ManagedObject.
        """
        values = {"deleted": int(now), "purge_on": int(now) + recovery.days * _DAY}
        return await self._set_deleted((vault, *views), name, audit, values, was_deleted=False)

    async def recover(
        self,
        vault: str,
        name: str,
        audit: AuditContext | None = None,
        *,
        views: Sequence[str] = (),
    ) -> ObjectVersion | ObjectState | None:
        """Recover a deleted object, with the results of `delete`."""
        values = {"deleted": None, "purge_on": None}
        return await self._set_deleted((vault, *views), name, audit, values, was_deleted=True)

    async def _set_deleted(
        self,
        collections: Sequence[str],
        name: str,
        audit: AuditContext | None,
        values: Mapping[str, Any],
        *,
        was_deleted: bool,
    ) -> ObjectVersion | ObjectState | None:
        vault, key = collections[0], name.lower()
        statement = update(secrets).where(secrets.c.vault.in_(collections), secrets.c.key == key)

        def step(connection: Connection) -> ObjectVersion | ObjectState | None:
            state = _find_own(connection, vault, key, deleted=was_deleted)
            if state is None:
                return None
            connection.execute(statement.where(_is_deleted(was_deleted)).values(**values))
            row = connection.execute(rows.select_version(vault, name)).first()
            changed = replace(state, **values) if row is None else self._read(row)
            _audit(connection, audit, changed)
            return changed

        return await self._database.write(step)

    async def restore(
        self,
        vault: str,
        blob: bytes,
        owner: str,
        audit: AuditContext | None = None,
        *,
        prepare: Callable[[Sequence[ObjectVersion]], Restored] | None = None,
    ) -> ObjectVersion:
        """Write all versions of a backup, and return the latest.

        `prepare` returns the versions and the states to write; by default those of the backup. Raises
        InvalidBackup; NameTaken, NameInUse: a backup never replaces a secret.
        """

        def decode() -> Restored:
            found = backups.deserialize(self._open_backup(blob, owner), vault)
            if prepare is not None:
                return prepare(found)
            state = ObjectState(collection=vault, name=found[-1].name, settings=found[-1].settings)
            return found, (state,)

        # The views of a certificate take milliseconds for each version.
        new, states = await asyncio.to_thread(decode)
        name = states[0].name

        def step(connection: Connection) -> ObjectVersion:
            for collection in {each.collection for each in states}:
                existing = _find(connection, collection, name.lower())
                if existing is not None:
                    deleted = existing.deleted is not None
                    raise errors.name_in_use(kind_of(collection), existing.name, deleted=deleted)
            self._put(connection, new, states, None)
            return self._read(connection.execute(rows.select_version(vault, name)).one())

        return await self._write(step, audit)

    async def purge(
        self,
        vault: str,
        name: str,
        audit: AuditContext | None = None,
        *,
        views: Sequence[str] = (),
    ) -> bool:
        """Purge a deleted object with all its versions, also from the collections `views`.

        Return whether it existed. Raises ManagedObject.
        """
        key = name.lower()
        statement = delete(secrets).where(
            secrets.c.vault.in_((vault, *views)), secrets.c.key == key, _is_deleted(True)
        )

        def step(connection: Connection) -> bool:
            state = _find_own(connection, vault, key, deleted=True)
            if state is not None:
                connection.execute(statement)
                _audit(connection, audit, state, deleted=True)
            return state is not None

        return await self._database.write(step)

    async def remove(self, vault: str, name: str, audit: AuditContext | None = None) -> bool:
        """Delete an object that has no soft delete, such as an issuer. Return whether it existed."""

        def step(connection: Connection) -> bool:
            state = _find_own(connection, vault, name.lower(), deleted=False)
            if state is not None:
                connection.execute(delete(secrets).filter_by(vault=vault, key=name.lower()))
                _audit(connection, audit, state)
            return state is not None

        return await self._database.write(step)

    async def put_off(self, state: ObjectState, now: float, until: int | None) -> None:
        """Set the time of the next action of an object if it is still due; None for no action."""
        statement = update(secrets).filter_by(vault=state.collection, key=state.name.lower())
        statement = statement.where(secrets.c.next_action <= int(now)).values(next_action=until)
        await self._database.write(lambda one: one.execute(statement))

    async def purge_expired(self, now: float) -> int:
        """Purge deleted objects whose retention time is over. Return their number."""
        due = secrets.c.purge_on <= int(now)
        query = select(secrets.c.key).where(due).limit(1)
        if await self._database.read(lambda one: one.execute(query).first()) is None:
            return 0
        return await self._database.write(
            lambda one: one.execute(delete(secrets).where(due)).rowcount
        )

    async def clear(self, vaults: Collection[str]) -> int:
        """Purge every object of these vaults. Return their number."""
        collections = [collection for vault in vaults for collection in list_collections(vault)]
        statement = delete(secrets).where(secrets.c.vault.in_(collections))
        return await self._database.write(lambda one: one.execute(statement).rowcount)

    # Sealed values in the settings of an object

    def seal_text(self, value: Secret, state: ObjectState) -> str:
        """Seal a value for the settings of an object; it opens for this object only."""
        sealed = self._seals.seal(value.reveal().encode(), _settings_context(state))
        return base64.b64encode(sealed).decode()

    def open_text(self, sealed: str, state: ObjectState) -> Secret:
        """Open a value in the settings of an object. Raises InvalidSealingKey."""
        found = self._seals.open(base64.b64decode(sealed), _settings_context(state))
        return Secret(found.decode())

    # Internal

    async def _write(
        self, step: Callable[[Connection], Changed], audit: AuditContext | None
    ) -> Changed:
        def whole(connection: Connection) -> Changed:
            changed = step(connection)
            if changed is not None:
                _audit(connection, audit, changed)
            return changed

        # No topic: no cache holds secrets.
        return await self._database.write(whole)

    def _put(
        self,
        connection: Connection,
        new: Sequence[ObjectVersion],
        states: Sequence[ObjectState],
        expected: ObjectState | MissingObject | None,
    ) -> None:
        if expected is not None:
            found = _find(connection, expected.collection, expected.name.lower())
            if isinstance(expected, MissingObject):
                # A deleted object is refused below, with its own error.
                is_outdated = found is not None and found.deleted is None
            else:
                is_outdated = found != expected
            if is_outdated:
                raise errors.OutdatedState(f"{expected.name} was changed by another request.")
        written = {(each.collection, each.name.lower()) for each in states}
        for state in states:
            _put_object(connection, state)
            connection.execute(
                update(secrets)
                .filter_by(vault=state.collection, key=state.name.lower())
                .values(settings=rows.dump(state.settings), next_action=state.next_action)
            )
        for one in new:
            if (key := (one.collection, one.name.lower())) not in written:
                _put_object(connection, ObjectState(collection=one.collection, name=one.name))
                written.add(key)
        if new:
            # All rows in one batch: one round trip for each of the 1,500 versions of a certificate's backup
            # takes longer than a request may.
            connection.execute(insert(versions), [self._row(each) for each in new])

    def _row(self, new: ObjectVersion) -> dict[str, Any]:
        key = new.name.lower()
        context = rows.value_context(new.collection, key, new.version)
        return {
            "vault": new.collection,
            "key": key,
            "version": new.version,
            "sealed": self._seals.seal(new.value.reveal().encode(), context),
            "created": new.created,
            "updated": new.updated,
            **rows.columns(new),
        }

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

    async def _list(self, query: Select[Any], limit: int) -> list[ObjectVersion]:
        return await self._database.read(
            lambda one: decode_full_page(
                limit,
                lambda size: one.execute(query.limit(size)).all(),
                lambda row: rows.to_version(row, lambda *_: Secret("")),
            )
        )

    def _read(self, row: Row[Any]) -> ObjectVersion:
        return rows.to_version(row, self._unseal)

    def _unseal(self, sealed: bytes, context: str) -> Secret:
        try:
            return Secret(self._seals.open(sealed, context).decode())
        except InvalidSealingKey as exc:
            raise ValueError(exc.message) from exc


def _find(connection: Connection, vault: str, key: str) -> ObjectState | None:
    row = connection.execute(select(secrets).filter_by(vault=vault, key=key)).first()
    return None if row is None else rows.to_state(row)


def _find_own(connection: Connection, vault: str, key: str, *, deleted: bool) -> ObjectState | None:
    """Return an object that a caller may change. Raises ManagedObject."""
    state = _find(connection, vault, key)
    if state is None or (state.deleted is not None) is not deleted:
        return None
    if state.managed:
        raise errors.managed(kind_of(vault), state.name)
    return state


def _put_object(connection: Connection, state: ObjectState) -> None:
    """Create an object unless it exists. Raises NameTaken, NameInUse, ManagedObject."""
    kind, key = kind_of(state.collection), state.name.lower()
    existing = _find(connection, state.collection, key)
    if existing is None:
        row = {"vault": state.collection, "key": key, "name": state.name}
        connection.execute(insert(secrets).values(**row))
        return
    if existing.managed and not state.managed:
        raise errors.managed(kind, existing.name)
    if existing.deleted is not None:
        raise errors.name_taken(kind, existing.name)
    # A certificate never takes over a secret or a key of the caller.
    if state.managed and not existing.managed:
        raise errors.name_in_use(kind, existing.name, deleted=False)


def _is_deleted(deleted: bool) -> ColumnElement[bool]:
    return secrets.c.deleted.is_not(None) if deleted else secrets.c.deleted.is_(None)


def _audit(
    connection: Connection,
    audit: AuditContext | None,
    changed: ObjectState | ObjectVersion,
    *,
    deleted: bool = False,
) -> None:
    if audit is not None:
        audit_writer.write_entries(connection, [audit.entry(changed, deleted=deleted)])


def _settings_context(state: ObjectState) -> str:
    # Every context of a value has two separators and no line break.
    return f"settings\n{state.collection}/{state.name.lower()}"
