"""One open database, which several stores of a process share."""

import errno
from collections.abc import Callable, Iterable
from typing import Any, Self, TypeVar

from sqlalchemy import MetaData
from sqlalchemy.engine import Connection

from podpass.database import engine, migrate
from podpass.database.errors import DatabaseFailed, DatabaseUnusable
from podpass.database.migrate import Chain
from podpass.database.notifications import News, Stale
from podpass.database.postgres.backend import Postgres
from podpass.database.prepared import Prepared, Values
from podpass.database.sqlite import Sqlite

# What a caller waits for before it is told to try again later.
_PATIENCE_SECONDS = 2.0
_CONNECTIONS = 4
_PREPARING_SECONDS = 600.0
_READ_ONLY_HINT = "make its disk writable again; `podpass backup` reads what is there meanwhile"

Result = TypeVar("Result")


class Database:
    """A SQLite file or a PostgreSQL database, and the news of what others write to it.

    A step is a plain function of a connection. It runs in the loop on SQLite and in a thread on
    PostgreSQL, so it holds to what it was given, and never calls back into what serves.

    Shapes:  `sqlite:////absolute/path` or `postgresql://user:password@host/database`. `connections` bounds
             those of steps to PostgreSQL; there are three more, two for single statements, one to listen.
             `make` makes a file that is not there.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = _CONNECTIONS,
        patience: float = _PATIENCE_SECONDS,
        make: bool = True,
    ) -> None:
        self._url = engine.parsed(url)
        self._news = News()
        self._runs: Sqlite | Postgres
        if self._url.get_backend_name() == "sqlite":
            self._runs = Sqlite(self._url, self._news, patience, make=make)
        else:
            self._runs = Postgres(self._url, self._news, patience, connections)
        self.is_open = False

    async def open(self) -> None:
        """Connect, and begin to hear of what other processes write.

        Errors:  DatabaseUnusable.
        """
        try:
            await self._runs.open()
        except (DatabaseFailed, OSError) as exc:
            await self._runs.close()
            raise self._unusable(exc) from exc
        except BaseException:
            await self._runs.close()
            raise
        self.is_open = True

    async def close(self) -> None:
        """Let go of the database: afterwards there is no thread and no connection of it left."""
        self.is_open = False
        await self._runs.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def prepare(self, schema: MetaData, chain: Chain) -> None:
        """Make the tables of a store if they are not there, and bring old ones up to date.

        Errors:  DatabaseUnusable, for tables of a later podpass too.
        """
        try:
            # Most starts find nothing to do: they need not wait for whoever writes.
            if await self.read(lambda connection: migrate.is_current(connection, chain)):
                return
            await self.write(
                lambda connection: migrate.prepare(connection, schema, chain),
                seconds=_PREPARING_SECONDS,
            )
        except DatabaseFailed as exc:
            raise self._unusable(exc) from exc

    async def look(self) -> None:
        """Ask whether it is there, and what lies in it can be read.

        Errors:  DatabaseFailed.
        """
        await self._runs.look()

    async def read(
        self,
        step: Callable[[Connection], Result],
        *,
        seconds: float | None = None,
        once: bool = False,
    ) -> Result:
        """Run a step that reads: all its statements see one state of the database.

        Shapes:  it may run twice, where a connection was dead or a text is none; `once` for one that writes
                 elsewhere meanwhile.
        Errors:  DatabaseFailed, those of the step.
        """
        return await self._runs.read(step, seconds, once=once)

    async def fetch(self, query: Prepared, values: Values) -> list[Any]:
        """Give the rows of one prepared statement: the short way for what every token asks.

        Errors:  DatabaseFailed.
        """
        return await self._runs.fetch(query, values)

    async def write(
        self,
        step: Callable[[Connection], Result],
        *,
        tells: Iterable[str] = (),
        seconds: float | None = None,
    ) -> Result:
        """Run a step in one transaction, which is on the disk when this returns.

        Writers come one at a time, in all processes together: what a step reads to decide stays true
        until it has written. A step that raises leaves nothing behind.

        Shapes:  `tells` are the topics of which what was read is stale afterwards, here and in every
                 other process; they are looked at when the step is done. `seconds` to wait and to take,
                 if it may be more than what serves can be kept waiting.
        Errors:  DatabaseFailed; DatabaseUncertain, when nobody knows whether it was committed; those of the
                 step; IntegrityError of what is there already.
        """
        return await self._runs.write(step, tells, seconds)

    def listen(self, topic: str, stale: Stale) -> None:
        """Call back, in the loop, whenever what was read of a topic may be stale."""
        self._news.listen(topic, stale)

    @property
    def heard(self) -> bool:
        """Tell whether news of other processes arrive; while they do not, nothing that was read is kept."""
        return self._news.heard

    @property
    def name(self) -> str:
        """The URL, for people: without its password."""
        return engine.shown(self._url)

    def _unusable(self, exc: DatabaseFailed | OSError) -> DatabaseUnusable:
        if isinstance(exc, OSError):
            return DatabaseUnusable(
                f"{self.name} cannot be opened: {exc.strerror}",
                hint=_READ_ONLY_HINT
                if exc.errno == errno.EROFS
                else "name a file in a folder that is there and yours",
            )
        said = f"{self.name} cannot be opened: {exc.facts.get('cause', exc.message)}"
        return DatabaseUnusable(said, hint=exc.hint)
