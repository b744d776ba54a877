"""Write audit entries in the transaction of the change that they record."""

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, insert

from podpass.directory.actor import actor
from podpass.directory.model import AuditEntry
from podpass.directory.store.rows import to_json
from podpass.directory.store.schema import audit_entries
from podpass.log import correlation_id


def create_entry(
    action: str, target: str, now: float, details: Mapping[str, str] | None = None
) -> AuditEntry:
    """Return an audit entry for a change by the current actor."""
    author = actor.get()
    return AuditEntry(
        time=now,
        actor=author.object_id,
        actor_name=author.name,
        action=action,
        target=target,
        correlation_id=correlation_id.get(),
        details=details or {},
    )


def write_entries(connection: Connection, entries: Iterable[AuditEntry]) -> None:
    """Write entries in the given order."""
    columns = [name for name in audit_entries.c.keys() if name != "serial"]  # noqa: SIM118
    rows = [
        {**{name: getattr(one, name) for name in columns}, "details": to_json(one.details)}
        for one in entries
    ]
    if rows:
        connection.execute(insert(audit_entries), rows)
