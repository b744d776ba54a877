"""Lists of which a caller is shown what it may read, page by page."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from podpass.directory.resource_manager import refusals
from podpass.directory.resource_manager.model import Call

PAGE = 100
_BATCH = 200
_MAX_LOOKED = 2000

Item = TypeVar("Item")
Read = TypeVar("Read", covariant=True)


class Fetch(Protocol[Read]):
    """Read the entries after one, as many as the limit."""

    async def __call__(self, after: str | None, limit: int) -> Sequence[Read]: ...


@dataclass(frozen=True, slots=True)
class Found(Generic[Item]):
    """One page of a list; `after` is where the next one begins, None on the last."""

    items: list[Item]
    after: str | None


async def gather(
    call: Call,
    fetch: Fetch[Item],
    key: Callable[[Item], str],
    keep: Callable[[Item], Awaitable[bool]] | None = None,
) -> Found[Item]:
    """Read entries from where the page before ended until a page is full.

    What is not kept was looked at all the same: after so many a page is short, and says where to go on.
    """
    size = call.query.top or PAGE
    limit = size + 1 if keep is None else _BATCH
    after, found = call.query.after or None, list[Item]()
    for _ in range(_MAX_LOOKED // _BATCH):
        batch = await fetch(after, limit)
        for item in batch:
            if len(found) == size:
                return Found(found, after)
            if keep is None or await keep(item):
                found.append(item)
            after = key(item)
        if len(batch) < limit:
            return Found(found, None)
        await asyncio.sleep(0)  # a long look is not to keep other requests waiting
    return Found(found, after)


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
