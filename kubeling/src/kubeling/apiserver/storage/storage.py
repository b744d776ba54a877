"""Store objects on disk and in memory under one growing revision; commit a write before its response.

The store takes objects that were validated and returns fresh copies. Reads come from memory, where each
object is its JSON without `kind` and `apiVersion`. A write is one SQLite transaction in WAL mode with full
sync (0.2 ms), so neither a restart nor kill -9 loses an acknowledged write. Revisions never decrease. The
watch cache is empty after a start, so clients with an older watch must list again (410).
"""

import os
import sqlite3
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from kubeling.apiserver.kinds import Kind
from kubeling.apiserver.storage.watch_cache import ADDED, DELETED, MODIFIED, WatchCache, WatchEvent
from kubeling.errors import Error

Object = dict[str, Any]
NamespacedName = tuple[str, str]
"""Namespace and name; the namespace is empty for cluster-scoped kinds."""

_VERSION = 1
_MAX_REMOVED = 1000
_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_TABLES = """
CREATE TABLE objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE revision (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), value INTEGER NOT NULL);
INSERT INTO revision VALUES (1, 0);
"""


class StoreError(Error):
    """The database cannot be read or written."""

    code = "cluster_store"
    hint = "check that the disk has free space and that no other program writes to the database"


class StoreCorrupt(StoreError):
    """The database file was damaged, removed or replaced."""

    hint = "restore the file from a backup, or move it away to start empty; first stop the cluster"


class AlreadyExists(Error):
    """An object with this name already exists."""

    code = "already_exists"
    status = 409


class RevisionConflict(Error):
    """The object was changed or deleted after it was read."""

    code = "revision_conflict"
    status = 409


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One stored object: its namespace and name, its revision and its JSON."""

    namespace: str
    name: str
    revision: int
    raw: bytes

    def object(self) -> Object:
        """Return a fresh copy of the object."""
        value: Object = orjson.loads(self.raw)
        return value


Snapshot = Mapping[str, Mapping[NamespacedName, StoredObject]]
"""The objects of each resource at one time."""


def is_of_node(snapshot: Snapshot, node: str, resource: str, stored: StoredObject) -> bool:
    """Return whether a node writes an object: its Node, its lease, or a pod of the snapshot."""
    if resource == "leases.coordination.k8s.io":
        return stored.namespace == "kube-node-lease"
    if resource == "pods":
        return (stored.namespace, stored.name) in snapshot.get("pods", {})
    return resource == "nodes" and stored.name == node


class ObjectStore:
    """All objects of one cluster; open it before use. Without a path, they exist in memory only."""

    def __init__(self, path: Path | None, *, is_durable: bool = True) -> None:
        self._path, self._is_durable = path, is_durable
        self._database: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._is_open = False
        self._uncommitted: list[WatchEvent] | None = None
        self._objects: dict[str, dict[NamespacedName, StoredObject]] = {}
        self._names: dict[str, list[NamespacedName]] = {}  # sorted, so that no list request sorts
        self._removed: list[str] = []  # the last UIDs that `restore` has removed
        self.revision = 0
        self.watch_cache = WatchCache(0)

    def open(self) -> None:
        """Open or create the database, and read all objects. Raises StoreError."""
        if self._path is not None:
            self._open_database(self._path)
        self._is_open = True

    def _open_database(self, path: Path) -> None:
        try:
            # SQLite would create an empty database in an empty file.
            if path.exists() and path.stat().st_size == 0:
                raise StoreCorrupt(f"{path} is empty")
            # The file holds Secrets: only its owner may read it, from its creation on.
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            # The instance holds the lock of the data directory. Another process that has this file open must
            # not block the event loop for longer than this timeout.
            self._database = sqlite3.connect(path, isolation_level=None, timeout=0.2)
            self._file = _file_identity(path)
            self._prepare(self._database)
            self._load(self._database)
        except StoreError:
            self.close()
            raise
        except (OSError, sqlite3.Error) as exc:
            self.close()
            corrupt = _is_corrupt(exc) or isinstance(exc, IsADirectoryError)
            failed = StoreCorrupt if corrupt else StoreError
            raise failed(f"cannot open {path}: {exc}", path=str(path)) from exc

    def _prepare(self, database: sqlite3.Connection) -> None:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute(f"PRAGMA synchronous={'FULL' if self._is_durable else 'OFF'}")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            database.executescript(f"BEGIN;{_TABLES}PRAGMA user_version={_VERSION};COMMIT;")
        elif version != _VERSION:
            raise StoreError(
                f"{self._path} has format {version}, this program reads format {_VERSION}",
                hint="use the version that created it, or another database file",
            )

    def _load(self, database: sqlite3.Connection) -> None:
        found = database.execute("SELECT value FROM revision").fetchone()
        if found is None:
            raise StoreCorrupt(f"{self._path} is corrupt: it has no revision")
        self.revision = found[0]
        self.watch_cache = WatchCache(self.revision)
        for resource, namespace, name, raw in database.execute("SELECT * FROM objects"):
            try:
                version = int(orjson.loads(raw)["metadata"]["resourceVersion"])
            except (ValueError, TypeError, KeyError) as exc:
                raise StoreCorrupt(
                    f"{self._path} is corrupt: {resource} {namespace}/{name} cannot be read"
                ) from exc
            self._objects.setdefault(resource, {})[namespace, name] = StoredObject(
                namespace, name, version, raw
            )
        self._names = {resource: sorted(found) for resource, found in self._objects.items()}

    def close(self) -> None:
        """Close the database."""
        self._is_open = False
        if self._database is not None:
            self._database.close()
            self._database = None

    def get_stored(self, kind: Kind, namespace: str, name: str) -> StoredObject | None:
        """Return a stored object without decoding it; None if there is none."""
        return self._objects.get(kind.stored_as, {}).get((namespace, name))

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Return a fresh copy of an object; `namespace` is empty for cluster-scoped kinds."""
        stored = self.get_stored(kind, namespace, name)
        if stored is None:
            return None
        obj, conversion = stored.object(), kind.conversion
        return obj if conversion is None else conversion.from_storage(obj)

    def list_stored(
        self, kind: Kind, namespace: str = "", *, after: NamespacedName | None = None
    ) -> list[StoredObject]:
        """List the objects of a kind, sorted by namespace and name; an empty namespace means all namespaces.

        The list starts after the namespace and name in `after`.
        """
        keys = self._names.get(kind.stored_as, [])
        found = self._objects.get(kind.stored_as, {})
        return [found[key] for key in _select_names(keys, namespace, after)]

    def list_stored_at(
        self, revision: int, kind: Kind, namespace: str = "", *, after: NamespacedName | None = None
    ) -> list[StoredObject]:
        """List the objects of a kind at an earlier revision: the current state with later changes undone.

        Raises ResourceExpired.
        """
        self.watch_cache.require_listable(revision)
        first_changes: dict[NamespacedName, WatchEvent] = {}
        for event in self.watch_cache.events_since(revision, kind.stored_as):
            first_changes.setdefault((event.namespace, event.name), event)
        found = [
            stored
            for stored in self.list_stored(kind, namespace, after=after)
            if (stored.namespace, stored.name) not in first_changes
        ]
        for key in _select_names(sorted(first_changes), namespace, after):
            event = first_changes[key]
            if event.before is not None:
                found.append(StoredObject(*key, event.replaced, event.before))
        return sorted(found, key=lambda stored: (stored.namespace, stored.name))

    def last_change(self, kind: Kind) -> int:
        """Return the revision of the last known change of a kind, as a key for caches."""
        return self.watch_cache.last_change(kind.stored_as)

    def create(self, kind: Kind, obj: Mapping[str, Any]) -> Object:
        """Store a new object with the next revision.

        Raises AlreadyExists, StoreError; RevisionConflict for an object of one that `restore` has removed.
        """
        namespace, name = _name_of(obj)
        if self.get_stored(kind, namespace, name) is not None:
            raise AlreadyExists(f"{kind.resource} {name} exists")
        if self._removed and self._is_late(namespace, obj):
            raise RevisionConflict(f"{kind.resource} {name} belongs to an object that is gone")
        return self._write(kind, ADDED, obj, None)

    def update(self, kind: Kind, obj: Mapping[str, Any], read_revision: int) -> Object:
        """Replace an object if its revision is still `read_revision`. Raises RevisionConflict, StoreError."""
        return self._write(kind, MODIFIED, obj, self._require_revision(kind, obj, read_revision))

    def delete(self, kind: Kind, obj: Mapping[str, Any], read_revision: int) -> Object:
        """Remove an object if its revision is still `read_revision`; `obj` is its last state.

        Raises RevisionConflict, StoreError.
        """
        return self._write(kind, DELETED, obj, self._require_revision(kind, obj, read_revision))

    def snapshot(self) -> Snapshot:
        """Return the stored objects, to restore them later."""
        return {resource: dict(found) for resource, found in self._objects.items()}

    def restore(self, wanted: Snapshot, keep: Callable[[str, StoredObject], bool]) -> None:
        """Restore the objects of a snapshot in one transaction; watchers get an event for each change.

        Restored objects get new revisions: revisions never decrease. An object for which `keep` is true stays
        as it is, and is not created again. Raises StoreError.
        """
        events = list(self._plan_restore(wanted, keep))
        if not events:
            return
        self._commit(*events)
        for event in events:
            self._apply(event)
        removed = (
            event.object()["metadata"].get("uid") for event in events if event.type == DELETED
        )
        self._removed = [*self._removed, *filter(None, removed)][-_MAX_REMOVED:]

    def _is_late(self, namespace: str, obj: Mapping[str, Any]) -> bool:
        """Return whether a controller or the kubelet writes for an object that `restore` has removed."""
        if namespace and ("", namespace) not in self._objects.get("namespaces", {}):
            return True
        owners = [*(obj["metadata"].get("ownerReferences") or ()), obj.get("involvedObject") or {}]
        return any(each.get("uid") in self._removed for each in owners)

    def _plan_restore(
        self, wanted: Snapshot, keep: Callable[[str, StoredObject], bool]
    ) -> Iterator[WatchEvent]:
        revision = self.revision
        for resource in sorted({*self._objects, *wanted}):
            now, then = self._objects.get(resource, {}), wanted.get(resource, {})
            for key in sorted({*now, *then}):
                before, after = now.get(key), then.get(key)
                stored = after or before
                if before == after or stored is None or keep(resource, stored):
                    continue
                revision += 1
                change = DELETED if after is None else ADDED if before is None else MODIFIED
                raw = _with_revision(stored.raw, revision)
                yield _event(revision, change, resource, key, raw, before)

    def _require_revision(
        self, kind: Kind, obj: Mapping[str, Any], read_revision: int
    ) -> StoredObject:
        namespace, name = _name_of(obj)
        stored = self.get_stored(kind, namespace, name)
        if stored is None or stored.revision != read_revision:
            raise RevisionConflict(f"{kind.resource} {name} has been modified")
        return stored

    def _write(
        self, kind: Kind, change: str, obj: Mapping[str, Any], before: StoredObject | None
    ) -> Object:
        revision = self.revision + 1
        stored = {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}
        stored["metadata"] = {**stored["metadata"], "resourceVersion": str(revision)}
        conversion = kind.conversion
        if conversion is not None:
            stored = conversion.to_storage(stored)
        raw = orjson.dumps(stored)
        event = _event(revision, change, kind.stored_as, _name_of(obj), raw, before)
        self._commit(event)
        self._apply(event)
        return stored if conversion is None else conversion.from_storage(stored)

    def _apply(self, event: WatchEvent) -> None:
        """Update the memory after the commit of a change, and wake the watchers."""
        self.revision = event.revision
        key = event.namespace, event.name
        found = self._objects.setdefault(event.resource, {})
        keys = self._names.setdefault(event.resource, [])
        if event.type == DELETED:
            del found[key], keys[bisect_left(keys, key)]
        else:
            if event.type == ADDED:
                insort(keys, key)
            found[key] = StoredObject(*key, event.revision, event.raw)
        self.watch_cache.append(event)

    def check_database(self) -> None:
        """Check that a client's write would succeed and survive a restart. Raises StoreError."""
        self.check_file()
        # The value must change: SQLite writes nothing for an equal value.
        with self._write_transaction() as database:
            if database is not None:
                number = database.execute("PRAGMA application_id").fetchone()[0]
                database.execute(f"PRAGMA application_id={0 if number else 1}")

    def check_file(self) -> None:
        """Check that the opened file still exists and a row of each table can be read from it.

        Raises StoreCorrupt. Without this check, reads from memory hide a damaged file until the next start.
        """
        if self._path is None:
            return
        if _file_identity(self._path) != self._file:
            raise StoreCorrupt(f"{self._path} was removed or replaced while the cluster runs")
        try:
            # Use another connection, because this one has the pages in memory.
            uri = f"file:{quote(str(self._path))}?mode=rw"
            with closing(sqlite3.connect(uri, uri=True, timeout=0.2)) as other:
                for table in ("revision", "objects"):
                    other.execute(f"SELECT * FROM {table} LIMIT 1").fetchall()  # noqa: S608 our own table
        except sqlite3.Error as exc:
            if _is_corrupt(exc):  # otherwise the file is locked or read-only
                message = f"cannot read {self._path}: {exc}"
                raise StoreCorrupt(message, path=str(self._path)) from exc

    @contextmanager
    def one_transaction(self) -> Iterator[None]:
        """Commit all changes of the block together: the first start writes 30 objects.

        Memory has the changes before the commit: after an error, close the store.

        Raises:
            StoreError
        """
        self._uncommitted = []
        try:
            yield
        finally:
            events, self._uncommitted = self._uncommitted, None
        self._commit(*events)

    def _commit(self, *events: WatchEvent) -> None:
        """Write changes and the revision in one transaction; memory is updated after the commit."""
        if self._uncommitted is not None:
            self._uncommitted.extend(events)
            return
        with self._write_transaction() as database:
            if database is None or not events:
                return
            for event in events:
                key = event.resource, event.namespace, event.name
                if event.type == DELETED:
                    database.execute(
                        "DELETE FROM objects WHERE resource=? AND namespace=? AND name=?", key
                    )
                else:
                    database.execute(
                        "INSERT OR REPLACE INTO objects VALUES (?,?,?,?)", (*key, event.raw)
                    )
            database.execute("UPDATE revision SET value=?", (events[-1].revision,))

    @contextmanager
    def _write_transaction(self) -> Iterator[sqlite3.Connection | None]:
        """Commit the changes of the block; there is no connection if objects are in memory only."""
        if not self._is_open:
            raise StoreError("the store is closed")
        if (database := self._database) is None:
            yield None
            return
        try:
            with database:
                database.execute("BEGIN IMMEDIATE")
                yield database
        except sqlite3.Error as exc:
            raise StoreError(f"cannot write {self._path}: {exc}", path=str(self._path)) from exc


def _is_corrupt(exc: OSError | sqlite3.Error) -> bool:
    # The low byte of an extended result code is the primary result code.
    return getattr(exc, "sqlite_errorcode", 0) & 0xFF in _CORRUPT


def _file_identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _name_of(obj: Mapping[str, Any]) -> NamespacedName:
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _event(
    revision: int,
    change: str,
    resource: str,
    key: NamespacedName,
    raw: bytes,
    before: StoredObject | None,
) -> WatchEvent:
    return WatchEvent(
        revision=revision,
        type=change,
        resource=resource,
        namespace=key[0],
        name=key[1],
        raw=raw,
        before=before.raw if before else None,
        replaced=before.revision if before else 0,
    )


def _with_revision(raw: bytes, revision: int) -> bytes:
    stored = orjson.loads(raw)
    stored["metadata"]["resourceVersion"] = str(revision)
    return orjson.dumps(stored)


def _select_names(
    keys: list[NamespacedName], namespace: str, after: NamespacedName | None
) -> list[NamespacedName]:
    """Return the part of a sorted list that is in a namespace and after a name."""
    low, high = 0, len(keys)
    if namespace:
        # No namespace sorts between this namespace and the same text with a NUL character.
        low = bisect_left(keys, (namespace, ""))
        high = bisect_left(keys, (namespace + "\0", ""))
    if after is not None:
        low = max(low, bisect_right(keys, after))
    return keys[low:high]
