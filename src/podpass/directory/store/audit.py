"""The record of changes: list it, and record changes of objects that are stored elsewhere."""

from typing import Any

from sqlalchemy import Row, select

from podpass import database
from podpass.directory.model import AuditEntry
from podpass.directory.store.audit_writer import write_entries
from podpass.directory.store.schema import audit_entries
from podpass.directory.store.session import Session

# The hint never proposes to delete an audit row.
_KEEP = "stop podpass, then restore the database from a backup, or repair this row with sqlite3"


class Audit:
    """The record of changes; nothing takes an entry out."""

    def __init__(self, session: Session) -> None:
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
