"""The objects that all parts of the directory share: database, clock, caches, audit log."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, insert, update
from sqlalchemy.exc import IntegrityError

from podpass.clock import Clock, system
from podpass.database import Database, PreparedStatement, UnstorableValue
from podpass.directory import errors
from podpass.directory.claims_expression import NO_KUBERNETES, KubernetesIssuers
from podpass.directory.model import AuditEntry, WriteResult
from podpass.directory.store import audit_writer
from podpass.directory.store.cache import Cache
from podpass.directory.store.schema import CHAIN, metadata

_CACHE_SIZE = 4096
TOPIC = "directory"

Result = TypeVar("Result")


@dataclass(slots=True)
class Write:
    """One write transaction. Its audit entries are part of it."""

    connection: Connection
    now: float
    expressions: KubernetesIssuers = NO_KUBERNETES
    entries: list[AuditEntry] = field(default_factory=list)

    def record(self, action: str, target: str, details: Mapping[str, str] | None = None) -> None:
        """Add an audit entry for a change."""
        self.entries.append(audit_writer.create_entry(action, target, self.now, details))

    def store(
        self, table: Table, key: Mapping[str, Any], values: Mapping[str, Any], *, exists: bool
    ) -> WriteResult:
        """Insert the row with a key, or update the existing one."""
        if exists:
            self.connection.execute(update(table).filter_by(**key).values(**values))
            return WriteResult.UPDATED
        self.connection.execute(insert(table).values(**key, **values))
        return WriteResult.CREATED


class Session:
    """One database, with caches that every write of any process clears."""

    def __init__(
        self,
        database: Database,
        clock: Clock = system,
        expressions: KubernetesIssuers = NO_KUBERNETES,
    ) -> None:
        self.clock = clock
        self.expressions = expressions
        self.database = database
        self._opened = False
        self._caches: list[Cache[Any, Any]] = []
        database.subscribe(TOPIC, self.clear_caches)

    async def open(self) -> None:
        """Create or upgrade the tables. Raises DatabaseUnusable."""
        if not self.database.is_open:
            await self.database.open()
            self._opened = True
        try:
            await self.database.prepare(metadata, CHAIN)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the database, if `open` opened it."""
        if self._opened:
            self._opened = False
            await self.database.close()
        self.clear_caches()

    def cache(self, size: int = _CACHE_SIZE) -> Cache[Any, Any]:
        """Create a cache that every write to the directory clears."""
        cache: Cache[Any, Any] = Cache(size, lambda: self.database.is_connected)
        self._caches.append(cache)
        return cache

    def clear_caches(self) -> None:
        """Clear all caches."""
        for cache in self._caches:
            cache.clear()

    async def read(self, step: Callable[[Connection], Result]) -> Result:
        """Run a step that sees one state of the directory.

        Raises InvalidValue for a value that a database cannot compare; DatabaseFailed; those of the step.
        """
        try:
            return await self.database.read(step)
        except UnstorableValue as exc:
            raise errors.InvalidValue(exc.message) from exc

    async def fetch(self, statement: PreparedStatement, **values: object) -> list[Any]:
        """Return the rows of one prepared statement, for queries of every token request.

        Raises DatabaseFailed.
        """
        return await self.database.fetch(statement, values)

    async def write(
        self,
        step: Callable[[Write], Result],
        *,
        clears_caches: bool = True,
        seconds: float | None = None,
    ) -> Result:
        """Run a step in one transaction, which is on the disk when this method returns.

        `clears_caches` is false for a write of data that no cache holds; `seconds` is for a step that may
        take longer than a request can wait. Raises Conflict for a duplicate; InvalidValue for a value that
        the database cannot store; DatabaseFailed; those of the step.
        """

        def run(connection: Connection) -> Result:
            write = Write(connection, self.clock(), self.expressions)
            result = step(write)
            audit_writer.write_entries(connection, write.entries)
            return result

        try:
            return await self.database.write(
                run, topics=(TOPIC,) if clears_caches else (), seconds=seconds
            )
        except IntegrityError as exc:
            raise errors.Conflict("another entry already has this name or id") from exc
        except UnstorableValue as exc:
            raise errors.InvalidValue(exc.message) from exc
