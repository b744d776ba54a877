"""The audit log: list it, and record changes of objects that are stored elsewhere."""

from typing import Any

from sqlalchemy import Row, func, select

from podpass import database
from podpass.directory.model import AuditEntry
from podpass.directory.store.audit_writer import write_entries
from podpass.directory.store.rows import from_json
from podpass.directory.store.schema import audit_entries
from podpass.directory.store.session import Session

# The hint never proposes to delete an audit row.
_REPAIR_HINT = (
    "stop podpass, then restore the database from a backup, or repair this row with sqlite3"
)


class Audit:
    """The audit log. No method deletes an entry."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def record(self, one: AuditEntry) -> None:
        """Record a change of an object that is stored elsewhere."""
        # Every change of a secret is recorded here, and must not clear the caches of the token path.
        await self._session.write(
            lambda write: write_entries(write.connection, [one]), clears_caches=False
        )

    async def last_serial(self) -> int:
        """Return the number of the newest entry; 0 if there is none."""
        query = select(func.max(audit_entries.c.serial))
        return await self._session.read(lambda c: c.execute(query).scalar_one() or 0)

    async def list(
        self, *, after: int | None = None, limit: int = 100, since: float | None = None
    ) -> list[AuditEntry]:
        """List entries, newest first: those before the entry `after`, none older than `since`."""
        query = select(audit_entries).order_by(audit_entries.c.serial.desc())
        if after is not None:
            query = query.where(audit_entries.c.serial < after)
        if since is not None:
            query = query.where(audit_entries.c.time >= since)
        return await self._session.read(
            lambda connection: database.fetch_page(connection, query, limit, _to_entry)
        )


@database.row_decoder(audit_entries, key=lambda row: row.serial, hint=_REPAIR_HINT)
def _to_entry(row: Row[Any]) -> AuditEntry:
    values = row._mapping  # noqa: SLF001 - the documented access to the names of a row
    details = from_json(row.details)
    if not all(isinstance(value, str) for value in details.values()):
        raise ValueError("the details are not all text")
    return AuditEntry(**{**values, "details": details})
