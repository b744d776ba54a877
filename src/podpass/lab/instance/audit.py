"""Search the audit log of an instance, for `podpass audit`."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from podpass.clock import Clock, rfc3339
from podpass.errors import Error

if TYPE_CHECKING:
    from podpass.directory.model import AuditEntry
    from podpass.directory.store.directory import Directory

MAX_ENTRIES = 10_000
_PAGE = 500
# A text filter reads the log backwards; it stops after this many entries.
_MAX_READ = 200_000


async def list_changes(
    directory: "Directory", filters: Mapping[str, str], clock: Clock, tenant_id: str
) -> list[dict[str, Any]]:
    """List changes, the newest last; those of role assignments name the role and its principal.

    `filters` may contain `limit`, `since` (seconds back), `who` and `target` (texts to search for).
    """
    limit = min(int(filters.get("limit", "100")), MAX_ENTRIES)
    since = clock() - int(filters["since"]) if "since" in filters else None
    found: list[AuditEntry] = []
    after: int | None = None
    for _ in range(_MAX_READ // _PAGE):
        page = await directory.audit.list(after=after, limit=_PAGE, since=since)
        found += [entry for entry in page if _matches(entry, filters)]
        if len(found) >= limit or len(page) < _PAGE:
            break
        after = page[-1].serial
        await asyncio.sleep(0)  # let the other parts of the instance run
    names = _Names(directory, tenant_id)
    return [await _format_entry(entry, names) for entry in found[:limit][::-1]]


class _Names:
    """The names of roles and principals; the id of one that no longer exists."""

    def __init__(self, directory: "Directory", tenant_id: str) -> None:
        self._directory, self._tenant_id = directory, tenant_id
        self._known: dict[str, str] = {}

    async def role_name(self, role_id: str) -> str:
        if role_id not in self._known:
            role = await self._directory.role_definitions.get(role_id)
            self._known[role_id] = role.name if role else role_id
        return self._known[role_id]

    async def principal_name(self, object_id: str) -> str:
        if object_id not in self._known:
            self._known[object_id] = await self._find_principal(object_id) or object_id
        return self._known[object_id]

    async def _find_principal(self, object_id: str) -> str | None:
        try:
            identity = await self._directory.identities.find(self._tenant_id, object_id=object_id)
            found = identity or await self._directory.users.get(object_id)
        except Error:  # a row that cannot be read; the log must stay readable
            return None
        return found.name if found else None


def _matches(entry: "AuditEntry", filters: Mapping[str, str]) -> bool:
    who, target = filters.get("who", "").lower(), filters.get("target", "").lower()
    actor = f"{entry.actor} {entry.actor_name}".lower()
    return who in actor and target in entry.target.lower()


async def _format_entry(entry: "AuditEntry", names: _Names) -> dict[str, Any]:
    row = {
        "time": rfc3339(entry.time),
        "who": entry.actor_name or entry.actor,
        "object_id": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "correlation_id": entry.correlation_id,
    }
    if {"role", "principal"} <= entry.details.keys():
        role, principal = entry.details["role"], entry.details["principal"]
        row["role"], row["principal_id"] = await names.role_name(role), principal
        row["principal"] = await names.principal_name(principal)
    return row
