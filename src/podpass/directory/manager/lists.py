"""Lists of which a caller is shown what it may read, page by page."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from podpass.directory.manager import refusals, wire
from podpass.directory.manager.model import Call

_BATCH = 200

Item = TypeVar("Item")
Read = TypeVar("Read", covariant=True)


class Fetch(Protocol[Read]):
    """Read the entries after one, as many as the limit."""

    async def __call__(self, after: str | None, limit: int) -> Sequence[Read]: ...


async def gather(
    call: Call,
    fetch: Fetch[Item],
    key: Callable[[Item], str],
    keep: Callable[[Item], Awaitable[bool]] | None = None,
) -> list[Item]:
    """Read entries from where the page before ended until a page is full, and one more."""
    size = wire.page_size(call) + 1
    limit = size if keep is None else max(size, _BATCH)
    after, found = call.query.after or None, list[Item]()
    while len(found) < size:
        batch = await fetch(after, limit)
        for item in batch:
            if keep is None or await keep(item):
                found.append(item)
        if len(batch) < limit:
            break
        after = key(batch[-1])
    return found[:size]


async def readable(call: Call, action: str) -> Callable[[str], Awaitable[bool]] | None:
    """Say what is shown to a caller who may read not all, but something below; None shows all.

    Errors:  ManagerRefusal for a caller who holds no role at all here.
    """
    who, directory = call.caller.object_id, call.directory
    if await directory.permitted(who, action, call.scope):
        return None
    if not await directory.assignments.list(under=call.scope, principal=who, limit=1):
        raise refusals.not_authorized(call.caller, action, call.scope)

    async def may(scope: str) -> bool:
        return await directory.permitted(who, action, scope)

    return may
