"""Who changes the directory, and the record of every change.

An edge says who acts with `acting`; every write then tells it, in the transaction of the change itself.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, insert, select

from podpass import database
from podpass.directory.model import AuditEntry
from podpass.directory.schema import audit_entries
from podpass.log import correlation_id

if TYPE_CHECKING:
    from podpass.directory.session import Session

# Nobody is told to delete from the record of who changed what.
_KEEP = "stop podpass, then restore the database from a backup, or mend this row with sqlite3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who changes something: an object id, empty for podpass itself, and a name for people."""

    object_id: str = ""
    name: str = "podpass"


_PODPASS = Actor()
actor: ContextVar[Actor] = ContextVar("actor", default=_PODPASS)


@contextmanager
def acting(who: Actor) -> Iterator[None]:
    """Let changes made inside be recorded as those of `who`."""
    token = actor.set(who)
    try:
        yield
    finally:
        actor.reset(token)


def entry(action: str, target: str, now: float) -> AuditEntry:
    """Say who changes something now."""
    who = actor.get()
    return AuditEntry(
        time=now,
        actor=who.object_id,
        actor_name=who.name,
        action=action,
        target=target,
        correlation_id=correlation_id.get(),
    )


def write_entries(connection: Connection, entries: Iterable[AuditEntry]) -> None:
    """Write entries in their order."""
    columns = [name for name in audit_entries.c.keys() if name != "serial"]  # noqa: SIM118
    rows = [{name: getattr(one, name) for name in columns} for one in entries]
    if rows:
        connection.execute(insert(audit_entries), rows)


class Audit:
    """The record of changes; nothing takes an entry out."""

    def __init__(self, session: "Session") -> None:
        self._session = session

    async def record(self, one: AuditEntry) -> None:
        """Record a change of something that is kept elsewhere."""
        # Each change of a secret comes here: it must not send the next exchange to the database.
        await self._session.write(
            lambda write: write_entries(write.connection, [one]), forgets=False
        )

    async def list(
        self, *, after: int | None = None, limit: int = 100, since: float | None = None
    ) -> list[AuditEntry]:
        """List changes, the newest first: those before the entry `after`, none older than `since`."""
        query = select(audit_entries).order_by(audit_entries.c.serial.desc())
        if after is not None:
            query = query.where(audit_entries.c.serial < after)
        if since is not None:
            query = query.where(audit_entries.c.time >= since)
        return await self._session.read(
            lambda connection: database.list_page(connection, query, limit, _entry)
        )


def _entry(row: Row[Any]) -> AuditEntry:
    with database.shaping("audit_entries", row.serial, hint=_KEEP):
        database.check_types(row, audit_entries)
        return AuditEntry(**row._mapping)  # noqa: SLF001 - the documented way to a row's names
