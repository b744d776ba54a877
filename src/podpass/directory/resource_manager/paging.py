"""Lists in pages; each caller gets only the entries that it may read."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Generic, Protocol, TypeVar

from podpass.directory.resource_manager import errors
from podpass.directory.resource_manager.model import OperationContext

DEFAULT_PAGE_SIZE = 100
_BATCH = 200
_MAX_SCANNED = 2000

Item = TypeVar("Item")
Read = TypeVar("Read", covariant=True)


class FetchPage(Protocol[Read]):
    """Return up to `limit` entries that follow the entry `after`."""

    async def __call__(self, *, after: str | None, limit: int) -> Sequence[Read]: ...


@dataclass(frozen=True, slots=True)
class ListPage(Generic[Item]):
    """One page of a list; `after` is its last entry, None on the last page."""

    items: list[Item]
    after: str | None


async def collect_page(
    context: OperationContext,
    fetch: FetchPage[Item],
    key: Callable[[Item], str] = attrgetter("resource_id"),
    keep: Callable[[Item], Awaitable[bool]] | None = None,
) -> ListPage[Item]:
    """Collect entries after the previous page until the page is full.

    The next page follows the `key` of the last entry. Entries that `keep` rejects count as scanned. After the
    maximum of scanned entries the page ends, possibly short, with a link to the next page.
    """
    size = context.query.top or DEFAULT_PAGE_SIZE
    limit = size + 1 if keep is None else _BATCH
    after, found = context.query.after or None, list[Item]()
    for _ in range(_MAX_SCANNED // _BATCH):
        batch = await fetch(after=after, limit=limit)
        for item in batch:
            if len(found) == size:
                return ListPage(found, after)
            if keep is None or await keep(item):
                found.append(item)
            after = key(item)
        if len(batch) < limit:
            return ListPage(found, None)
        await asyncio.sleep(0)  # a long scan must not delay other requests
    return ListPage(found, after)


async def read_check(
    context: OperationContext, action: str
) -> Callable[[str], Awaitable[bool]] | None:
    """Return the access check for each entry; None if the caller may read every entry.

    Raises ManagerError for a caller without any role at or below the scope.
    """
    principal_id, directory = context.caller.object_id, context.directory
    if await directory.is_permitted(principal_id, action, context.scope):
        return None
    if not await directory.assignments.list(under=context.scope, principal=principal_id, limit=1):
        raise errors.authorization_failed(context.caller, action, context.scope)

    async def is_readable(scope: str) -> bool:
        return await directory.is_permitted(principal_id, action, scope)

    return is_readable
