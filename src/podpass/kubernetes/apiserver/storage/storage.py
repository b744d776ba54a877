"""Objects on disk and in memory: one growing revision, every acknowledged write committed before.

What enters are objects that were checked; what leaves are fresh copies of them. Reads come from memory,
where each object is its JSON without `kind` and `apiVersion`; a write is one SQLite transaction in WAL
with full sync (0.2 ms), so neither a restart nor kill -9 loses what was answered. Revisions never go back,
and the window of changes begins anew at a start: older watches are told to list again.
"""

import os
import sqlite3
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from podpass.errors import Error
from podpass.kubernetes.apiserver.kinds import Kind
from podpass.kubernetes.apiserver.storage.watch_cache import (
    ADDED,
    DELETED,
    MODIFIED,
    Event,
    History,
)

Object = dict[str, Any]
Place = tuple[str, str]
"""Namespace and name; the namespace is empty for kinds that have none."""

_VERSION = 1
_RESTORE = "restore the file from a backup, or move it away to begin with an empty cluster"
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
    hint = "check that the disk has room and that nothing else writes the database"


class Taken(Error):
    """An object of this name exists already."""

    code = "object_exists"
    status = 409


class Moved(Error):
    """The object is not as it was when it was read, or is gone."""

    code = "object_moved"
    status = 409


@dataclass(frozen=True, slots=True)
class Entry:
    """One stored object: its place, its revision and its JSON."""

    namespace: str
    name: str
    revision: int
    raw: bytes

    def object(self) -> Object:
        """Give the object as a fresh copy."""
        value: Object = orjson.loads(self.raw)
        return value


class Store:
    """Every object of one cluster; open it before use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._entries: dict[str, dict[Place, Entry]] = {}
        self._places: dict[str, list[Place]] = {}  # in order, so that no list has to sort
        self.revision = 0
        self.history = History(0)

    def open(self) -> None:
        """Open or create the database, and read all of it.

        Errors:  StoreError.
        """
        try:
            # Secrets are in it: nobody else may read it, from the first byte on.
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            # The instance holds the data dir's lock: whoever has this file open is a guest, and must not
            # make the whole loop wait.
            self._database = sqlite3.connect(self._path, isolation_level=None, timeout=0.2)
            self._prepare(self._database)
            self._load(self._database)
        except StoreError:
            self.close()
            raise
        except (OSError, sqlite3.Error) as exc:
            self.close()
            raise StoreError(f"cannot open {self._path}: {exc}", path=str(self._path)) from exc

    def _prepare(self, database: sqlite3.Connection) -> None:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            database.executescript(f"BEGIN;{_TABLES}PRAGMA user_version={_VERSION};COMMIT;")
        elif version != _VERSION:
            raise StoreError(
                f"{self._path} is of format {version}, this program reads format {_VERSION}",
                hint="Use the version that created it, or another database file.",
            )

    def _load(self, database: sqlite3.Connection) -> None:
        found = database.execute("SELECT value FROM revision").fetchone()
        if found is None:
            raise StoreError(f"{self._path} is damaged: it has no revision", hint=_RESTORE)
        self.revision = found[0]
        self.history = History(self.revision)
        for resource, namespace, name, raw in database.execute("SELECT * FROM objects"):
            try:
                version = _revision(raw)
            except (ValueError, TypeError, KeyError) as exc:
                raise StoreError(
                    f"{self._path} is damaged: {resource} {namespace}/{name} cannot be read",
                    hint=_RESTORE,
                ) from exc
            self._entries.setdefault(resource, {})[namespace, name] = Entry(
                namespace, name, version, raw
            )
        self._places = {resource: sorted(found) for resource, found in self._entries.items()}

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def entry(self, kind: Kind, namespace: str, name: str) -> Entry | None:
        return self._entries.get(kind.resource, {}).get((namespace, name))

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Give a fresh copy of an object; `namespace` is empty for kinds that have none."""
        entry = self.entry(kind, namespace, name)
        return None if entry is None else entry.object()

    def entries(
        self, kind: Kind, namespace: str = "", *, after: Place | None = None
    ) -> list[Entry]:
        """List a kind by namespace and name; an empty namespace takes all of them.

        Shapes:  `after` leaves out what comes before it in that order, and itself.
        """
        places = self._places.get(kind.resource, [])
        found = self._entries.get(kind.resource, {})
        return [found[place] for place in _between(places, namespace, after)]

    def entries_at(
        self, revision: int, kind: Kind, namespace: str = "", *, after: Place | None = None
    ) -> list[Entry]:
        """List a kind as it was at an earlier revision: the state of now, with later changes undone.

        Errors:  history.Expired.
        """
        then: dict[Place, Event] = {}
        for event in self.history.since(revision, kind.resource):
            then.setdefault((event.namespace, event.name), event)
        kept = [
            entry
            for entry in self.entries(kind, namespace, after=after)
            if (entry.namespace, entry.name) not in then
        ]
        for place in _between(sorted(then), namespace, after):
            event = then[place]
            if event.before is not None:
                kept.append(Entry(*place, event.replaced, event.before))
        return sorted(kept, key=lambda entry: (entry.namespace, entry.name))

    def changed(self, kind: Kind) -> int:
        """Give the revision of the last change of a kind that is known of, for caches."""
        return self.history.changed(kind.resource)

    def create(self, kind: Kind, obj: Mapping[str, Any]) -> Object:
        """Store a new object under the next revision.

        Errors:  Taken, StoreError.
        """
        namespace, name = _place(obj)
        if self.entry(kind, namespace, name) is not None:
            raise Taken(f"{kind.resource} {name} exists")
        return self._write(kind, ADDED, obj, None)

    def update(self, kind: Kind, obj: Mapping[str, Any], seen: int) -> Object:
        """Replace an object that is still at the revision it was read at.

        Errors:  Moved, StoreError.
        """
        return self._write(kind, MODIFIED, obj, self._still(kind, obj, seen))

    def delete(self, kind: Kind, obj: Mapping[str, Any], seen: int) -> Object:
        """Remove an object that is still at the revision it was read at; `obj` is its last state.

        Errors:  Moved, StoreError.
        """
        return self._write(kind, DELETED, obj, self._still(kind, obj, seen))

    def _still(self, kind: Kind, obj: Mapping[str, Any], seen: int) -> Entry:
        namespace, name = _place(obj)
        entry = self.entry(kind, namespace, name)
        if entry is None or entry.revision != seen:
            raise Moved(f"{kind.resource} {name} has been modified")
        return entry

    def _write(
        self, kind: Kind, change: str, obj: Mapping[str, Any], before: Entry | None
    ) -> Object:
        revision = self.revision + 1
        stored = {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}
        stored["metadata"] = {**stored["metadata"], "resourceVersion": str(revision)}
        raw = orjson.dumps(stored)
        namespace, name = _place(obj)
        self._commit(kind.resource, namespace, name, None if change == DELETED else raw)
        self.revision = revision
        self._keep(kind, change, Entry(namespace, name, revision, raw))
        self.history.append(
            Event(
                revision=revision,
                type=change,
                resource=kind.resource,
                namespace=namespace,
                name=name,
                raw=raw,
                before=before.raw if before else None,
                replaced=before.revision if before else 0,
            )
        )
        return stored

    def _keep(self, kind: Kind, change: str, entry: Entry) -> None:
        place = entry.namespace, entry.name
        found = self._entries.setdefault(kind.resource, {})
        places = self._places.setdefault(kind.resource, [])
        if change == DELETED:
            del found[place], places[bisect_left(places, place)]
            return
        if change == ADDED:
            insort(places, place)
        found[place] = entry

    def _commit(self, resource: str, namespace: str, name: str, raw: bytes | None) -> None:
        """Write one change and the revision in one transaction; memory follows only after it."""
        database = self._database
        if database is None:
            raise StoreError("the store is closed")
        try:
            with database:
                database.execute("BEGIN IMMEDIATE")
                if raw is None:
                    database.execute(
                        "DELETE FROM objects WHERE resource=? AND namespace=? AND name=?",
                        (resource, namespace, name),
                    )
                else:
                    database.execute(
                        "INSERT OR REPLACE INTO objects VALUES (?,?,?,?)",
                        (resource, namespace, name, raw),
                    )
                database.execute("UPDATE revision SET value=?", (self.revision + 1,))
        except sqlite3.Error as exc:
            raise StoreError(f"cannot write {self._path}: {exc}", path=str(self._path)) from exc


def _place(obj: Mapping[str, Any]) -> Place:
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _revision(raw: bytes) -> int:
    return int(orjson.loads(raw)["metadata"]["resourceVersion"])


def _between(places: list[Place], namespace: str, after: Place | None) -> list[Place]:
    """Cut from places in order those of a namespace, and behind a place."""
    low, high = 0, len(places)
    if namespace:
        # No namespace sorts between this one and itself with a NUL.
        low, high = (
            bisect_left(places, (namespace, "")),
            bisect_left(places, (namespace + "\0", "")),
        )
    if after is not None:
        low = max(low, bisect_right(places, after))
    return places[low:high]
