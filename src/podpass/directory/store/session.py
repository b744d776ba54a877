"""What the parts of the directory share: the database, the clock, what is kept in memory, the audit."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from podpass.clock import Clock, system
from podpass.database import Database, Prepared, ValueUnfit
from podpass.directory import errors
from podpass.directory.model import AuditEntry
from podpass.directory.store import audit_writer
from podpass.directory.store.cache import Cache
from podpass.directory.store.schema import CHAIN, metadata

_KEPT = 4096
TOPIC = "directory"

Result = TypeVar("Result")


@dataclass(slots=True)
class Write:
    """One transaction that writes; what it records is written with it, or not at all."""

    connection: Connection
    now: float
    entries: list[AuditEntry] = field(default_factory=list)

    def record(self, action: str, target: str) -> None:
        """Tell of a change, for the audit; a write that changes nothing tells of none."""
        self.entries.append(audit_writer.entry(action, target, self.now))


class Session:
    """One database and the values read from it that are kept until the next write, whoever makes it."""

    def __init__(self, database: Database, clock: Clock = system) -> None:
        self.clock = clock
        self.database = database
        self._opened = False
        self._caches: list[Cache[Any, Any]] = []
        database.listen(TOPIC, self.forget)

    async def open(self) -> None:
        """Make the tables if they are new, bring them up to date if they are old.

        Errors:  DatabaseUnusable.
        """
        if not self.database.is_open:
            await self.database.open()
            self._opened = True
        try:
            await self.database.prepare(metadata, CHAIN)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the database, if it was opened here."""
        if self._opened:
            self._opened = False
            await self.database.close()
        self.forget()

    def cache(self, size: int = _KEPT) -> Cache[Any, Any]:
        """Make a cache that any write to the directory empties."""
        made: Cache[Any, Any] = Cache(size, lambda: self.database.heard)
        self._caches.append(made)
        return made

    def forget(self) -> None:
        """Keep nothing in memory of what was read."""
        for cache in self._caches:
            cache.clear()

    async def read(self, step: Callable[[Connection], Result]) -> Result:
        """Run a step that sees one state of the directory.

        Errors:  InvalidValue for what no database can be asked for; DatabaseFailed; those of the step.
        """
        try:
            return await self.database.read(step)
        except ValueUnfit as exc:
            raise errors.InvalidValue(exc.message) from exc

    async def fetch(self, query: Prepared, **values: object) -> list[Any]:
        """Give the rows of one statement, for what is read with every token.

        Errors:  DatabaseFailed.
        """
        return await self.database.fetch(query, values)

    async def write(
        self,
        step: Callable[[Write], Result],
        *,
        forgets: bool = True,
        seconds: float | None = None,
    ) -> Result:
        """Run a step in one transaction, which is on the disk when this returns.

        Shapes:  `forgets` unless nothing is written that is read through a cache; `seconds` for what may take
                 longer than anybody who is served is kept waiting.
        Errors:  Conflict for what the database itself holds to be unique; InvalidValue for what it does not
                 keep; DatabaseFailed; those of the step.
        """

        def run(connection: Connection) -> Result:
            write = Write(connection, self.clock())
            result = step(write)
            audit_writer.write_entries(connection, write.entries)
            return result

        try:
            return await self.database.write(
                run, tells=(TOPIC,) if forgets else (), seconds=seconds
            )
        except IntegrityError as exc:
            raise errors.Conflict("another entry has this name or id already") from exc
        except ValueUnfit as exc:
            raise errors.InvalidValue(exc.message) from exc
