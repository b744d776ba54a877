"""Search the audit log of an instance, for `podpass audit`."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from podpass.clock import Clock, rfc3339

if TYPE_CHECKING:
    from podpass.directory.model import AuditEntry
    from podpass.directory.store.directory import Directory

MAX_ENTRIES = 10_000
_PAGE = 500
# A text filter reads the log backwards; it stops after this many entries.
_MAX_READ = 200_000


async def list_changes(
    directory: "Directory", filters: Mapping[str, str], clock: Clock
) -> list[dict[str, Any]]:
    """List changes, the newest last.

    Shapes:  `filters` may contain `limit`, `since` (seconds back), `who` and `target` (texts to search for).
    """
    limit = min(int(filters.get("limit", "100")), MAX_ENTRIES)
    since = clock() - int(filters["since"]) if "since" in filters else None
    found: list[dict[str, Any]] = []
    after: int | None = None
    for _ in range(_MAX_READ // _PAGE):
        page = await directory.audit.list(after=after, limit=_PAGE, since=since)
        found += [_format_entry(entry) for entry in page if _matches(entry, filters)]
        if len(found) >= limit or len(page) < _PAGE:
            break
        after = page[-1].serial
        await asyncio.sleep(0)  # let the other parts of the instance run
    return found[:limit][::-1]


def _matches(entry: "AuditEntry", filters: Mapping[str, str]) -> bool:
    who, target = filters.get("who", "").lower(), filters.get("target", "").lower()
    actor = f"{entry.actor} {entry.actor_name}".lower()
    return who in actor and target in entry.target.lower()


def _format_entry(entry: "AuditEntry") -> dict[str, Any]:
    return {
        "time": rfc3339(entry.time),
        "who": entry.actor_name or entry.actor,
        "object_id": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "correlation_id": entry.correlation_id,
    }
