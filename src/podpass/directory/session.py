"""What the parts of the directory share: the database, the clock, what is kept in memory, the audit."""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import IntegrityError

from podpass import database
from podpass.clock import Clock, system
from podpass.directory import audit, rules, upgrade
from podpass.directory.cache import Cache
from podpass.directory.model import AuditEntry
from podpass.directory.schema import VERSION, metadata

_KEPT = 4096

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass(slots=True)
class Write:
    """One transaction that writes; what it records is written with it, or not at all."""

    connection: Connection
    now: float
    entries: list[AuditEntry] = field(default_factory=list)

    def record(self, action: str, target: str) -> None:
        """Tell of a change, for the audit; a write that changes nothing tells of none."""
        self.entries.append(audit.entry(action, target, self.now))


class Session:
    """One open database and the values read from it that are kept until the next write."""

    def __init__(self, url: str, clock: Clock = system) -> None:
        self.clock = clock
        self._url = url
        self._engine: Engine | None = None
        self._caches: list[Cache[Any, Any]] = []

    def open(self) -> None:
        """Open the database, making it if it is new, bringing it up to date if it is old.

        Errors:  DatabaseUnusable.
        """
        self._engine = database.open_database(
            self._url, metadata, version=VERSION, upgrades=upgrade.STEPS
        )

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
        self.forget()

    def cache(self) -> Cache[Any, Any]:
        """Make a cache that any write through this session empties."""
        made: Cache[Any, Any] = Cache(_KEPT)
        self._caches.append(made)
        return made

    def forget(self) -> None:
        """Keep nothing in memory of what was read."""
        for cache in self._caches:
            cache.clear()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        assert self._engine is not None, "the directory is not open"
        with database.reading(self._engine) as connection:
            yield connection

    @contextmanager
    def writing(self, *, forgets: bool = True) -> Iterator[Write]:
        """Write in one transaction, which is on the disk when the block ends.

        Shapes:  `forgets` unless nothing is written that is read through a cache.
        Errors:  Conflict for what the database itself holds to be unique; DatabaseFailed.
        """
        assert self._engine is not None, "the directory is not open"
        try:
            with database.writing(self._engine) as connection:
                write = Write(connection, self.clock())
                yield write
                audit.write_entries(connection, write.entries)
        except IntegrityError as exc:
            raise rules.Conflict("another entry has this name or id already") from exc
        finally:
            if forgets:
                self.forget()
