"""The changes of an instance's directory, as `podpass audit` asks for them."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from podpass.clock import Clock, rfc3339

if TYPE_CHECKING:
    from podpass.directory.model import AuditEntry
    from podpass.directory.store.directory import Directory

MAX_ENTRIES = 10_000
_PAGE = 500
# Looking for a text reads the record backwards; it stops somewhere, whatever is asked.
_MAX_READ = 200_000


async def read(
    directory: "Directory", asked: Mapping[str, str], clock: Clock
) -> list[dict[str, Any]]:
    """List changes, the latest last.

    Shapes:  `asked` may hold `limit`, `since` (seconds back), `who` and `target` (texts to be found in them).
    """
    limit = min(int(asked.get("limit", "100")), MAX_ENTRIES)
    since = clock() - int(asked["since"]) if "since" in asked else None
    found: list[dict[str, Any]] = []
    after: int | None = None
    for _ in range(_MAX_READ // _PAGE):
        page = await directory.audit.list(after=after, limit=_PAGE, since=since)
        found += [_row(entry) for entry in page if _fits(entry, asked)]
        if len(found) >= limit or len(page) < _PAGE:
            break
        after = page[-1].serial
        await asyncio.sleep(0)  # everything else of the instance lives in this loop
    return found[:limit][::-1]


def _fits(entry: "AuditEntry", asked: Mapping[str, str]) -> bool:
    who, target = asked.get("who", "").lower(), asked.get("target", "").lower()
    named = f"{entry.actor} {entry.actor_name}".lower()
    return who in named and target in entry.target.lower()


def _row(entry: "AuditEntry") -> dict[str, Any]:
    return {
        "time": rfc3339(entry.time),
        "who": entry.actor_name or entry.actor,
        "object_id": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "correlation_id": entry.correlation_id,
    }
