"""Write audit entries in the transaction of the change that they record."""

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, insert

from podpass.directory.actor import actor
from podpass.directory.model import AuditEntry
from podpass.directory.store.schema import audit_entries
from podpass.log import correlation_id

# Only these actions store details after the target: another target, such as a name, may contain spaces.
_DETAILED = "Microsoft.Authorization/roleAssignments/"


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


def split_target(action: str, stored: str) -> tuple[str, dict[str, str]]:
    """Return target and details of a stored target: `ID role=R principal=P`."""
    if not action.startswith(_DETAILED):
        return stored, {}
    target, *words = stored.split(" ")
    pairs = (word.partition("=") for word in words)
    return target, {name: value for name, _, value in pairs}


def _stored_target(entry: AuditEntry) -> str:
    # `split_target` would not find the details of another action.
    assert not entry.details or entry.action.startswith(_DETAILED), entry.action
    return " ".join([entry.target, *(f"{name}={value}" for name, value in entry.details.items())])


def write_entries(connection: Connection, entries: Iterable[AuditEntry]) -> None:
    """Write entries in the given order."""
    columns = [name for name in audit_entries.c.keys() if name != "serial"]  # noqa: SIM118
    rows = [
        {**{name: getattr(one, name) for name in columns}, "target": _stored_target(one)}
        for one in entries
    ]
    if rows:
        connection.execute(insert(audit_entries), rows)
