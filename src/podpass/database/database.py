"""One open database, shared by the stores of a process."""

import errno
from collections.abc import Callable, Iterable
from typing import Any, Self, TypeVar

from sqlalchemy import MetaData
from sqlalchemy.engine import Connection

from podpass.database import engine, migrate
from podpass.database.errors import DatabaseFailed, DatabaseUnusable
from podpass.database.migrate import MigrationChain
from podpass.database.notifications import ChangeNotifier, OnChange
from podpass.database.postgres.backend import PostgresBackend
from podpass.database.prepared import PreparedStatement, Values
from podpass.database.sqlite import SqliteBackend

# How long a caller waits before it gets DatabaseBusy.
_WAIT_SECONDS = 2.0
_CONNECTIONS = 4
_PREPARE_SECONDS = 600.0
_READ_ONLY_HINT = (
    "make its disk writable again; until then `podpass backup` can read the data that it holds"
)

Result = TypeVar("Result")


class Database:
    """A SQLite file or a PostgreSQL database, with notifications about changes by other processes.

    A step is a plain function of a connection. On SQLite it runs in the event loop, on PostgreSQL in a
    thread. So it uses only its arguments, and never calls the server's own code.

    `sqlite:////absolute/path` or `postgresql://user:password@host/database`. `connections` bounds the
    connections for steps to PostgreSQL; there are three more, two for single statements and one for
    notifications. With `make`, a missing file is created. `patience` is the longest wait for a connection or
    a lock, in seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = _CONNECTIONS,
        patience: float = _WAIT_SECONDS,
        make: bool = True,
    ) -> None:
        self._url = engine.parse_url(url)
        self._notifier = ChangeNotifier()
        self._backend: SqliteBackend | PostgresBackend
        if self._url.get_backend_name() == "sqlite":
            self._backend = SqliteBackend(self._url, self._notifier, patience, make=make)
        else:
            self._backend = PostgresBackend(self._url, self._notifier, patience, connections)
        self.is_open = False

    async def open(self) -> None:
        """Connect, and start to receive notifications about changes by other processes.

        Raises DatabaseUnusable.
        """
        try:
            await self._backend.open()
        except (DatabaseFailed, OSError) as exc:
            await self._backend.close()
            raise self._to_unusable_error(exc) from exc
        except BaseException:
            await self._backend.close()
            raise
        self.is_open = True

    async def close(self) -> None:
        """Close the database with all its threads and connections."""
        self.is_open = False
        await self._backend.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def prepare(self, schema: MetaData, chain: MigrationChain) -> None:
        """Create the tables of a store, or upgrade them.

        Raises DatabaseUnusable, for tables of a later podpass too.
        """
        try:
            # At most starts the tables are already current; this read does not wait for a writer.
            if await self.read(lambda connection: migrate.is_current(connection, chain)):
                return
            await self.write(
                lambda connection: migrate.prepare(connection, schema, chain),
                seconds=_PREPARE_SECONDS,
            )
        except DatabaseFailed as exc:
            raise self._to_unusable_error(exc) from exc

    async def ping(self) -> None:
        """Check that the database is available and its tables can be read. Raises DatabaseFailed."""
        await self._backend.ping()

    async def read(
        self,
        step: Callable[[Connection], Result],
        *,
        seconds: float | None = None,
        once: bool = False,
    ) -> Result:
        """Run a step that reads: all its statements see one state of the database.

        The step may run twice, after a lost connection or invalid UTF-8; `once` prevents that, for a step
        with side effects elsewhere. Raises DatabaseFailed, those of the step.
        """
        return await self._backend.read(step, seconds, once=once)

    async def fetch(self, statement: PreparedStatement, values: Values) -> list[Any]:
        """Return the rows of one prepared statement: the fast path for queries of every token request.

        Raises DatabaseFailed.
        """
        return await self._backend.fetch(statement, values)

    async def write(
        self,
        step: Callable[[Connection], Result],
        *,
        topics: Iterable[str] = (),
        seconds: float | None = None,
    ) -> Result:
        """Run a step in one transaction, which is on the disk when this returns.

        Writers of all processes run one at a time: the values that a step reads stay current until it
        commits. A step that raises changes nothing.

        Subscribers of `topics`, here and in every other process, are notified after the commit; the iterable
        is read when the step is done. `seconds` bounds wait and run time, for a step that may take longer
        than a request can wait. Raises DatabaseFailed; DatabaseUncertain when it is unknown whether the
        commit succeeded; those of the step; IntegrityError for a duplicate.
        """
        return await self._backend.write(step, topics, seconds)

    def subscribe(self, topic: str, on_change: OnChange) -> None:
        """Call `on_change` in the event loop whenever data of a topic may have changed."""
        self._notifier.subscribe(topic, on_change)

    @property
    def is_connected(self) -> bool:
        """Return whether notifications from other processes arrive; without them, nothing may be cached."""
        return self._notifier.is_connected

    @property
    def name(self) -> str:
        """Return the URL without its password, for messages."""
        return engine.redact_url(self._url)

    def _to_unusable_error(self, exc: DatabaseFailed | OSError) -> DatabaseUnusable:
        if isinstance(exc, OSError):
            return DatabaseUnusable(
                f"{self.name} cannot be opened: {exc.strerror}",
                hint=_READ_ONLY_HINT
                if exc.errno == errno.EROFS
                else "use a path in an existing directory that you can write to",
            )
        message = f"{self.name} cannot be opened: {exc.facts.get('cause', exc.message)}"
        return DatabaseUnusable(message, hint=exc.hint)
