"""Collections as Graph lists them: filtered, ordered, by pages, counted; looked through within bounds."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from podpass.directory.graph import filters, wire
from podpass.directory.graph.calls import Answer, Call, Item
from podpass.directory.graph.filters import Noun
from podpass.directory.graph.query import Both, Compare, Expr
from podpass.directory.graph.refusals import Malformed, Unsupported
from podpass.directory.model import Identity
from podpass.directory.store.identity_queries import Condition

# So many objects are looked at in one request where no index knows the answer; Graph too answers with
# short pages that have a next one.
LOOKED_AT = 1000
_AT_ONCE = 200
_ORDERED = wire.MAX_PAGE
_BUILT_IN = "builtin:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A collection of identities, as the store pages them.

    Shapes:  `builtin` are objects every tenant has; they come before those of the store. `prefix` begins
             the tokens of pages; `also` tells by more than the filter whether an object is meant.
    """

    noun: Noun
    kind: str
    context: str
    fetch: Callable[[Sequence[Condition], str | None, int], Awaitable[Sequence[Identity]]]
    count: Callable[[Sequence[Condition]], Awaitable[int]]
    show: Callable[[Identity], Item]
    builtin: Sequence[Item] = ()
    prefix: str = ""
    also: Callable[[Identity], bool] | None = None


Found = tuple[list[Item], str | None]
"""Objects, and behind which the next page begins, if there is one."""


async def answer(call: Call, source: Source) -> Answer:
    """Answer a listing.

    Errors:  Unsupported, Malformed.
    """
    asked = _filter(call, source.noun)
    if call.options.order is not None:
        items, after = await _ordered(call, source, asked)
    else:
        items, after = await _find(source, asked, call.options.after, call.options.top)
    after = after if after is None else source.prefix + after
    count = await _count(source, asked) if call.options.count and call.eventual else None
    return 200, _page(call, items, source.kind, source.context, count=count, after=after)


async def count(call: Call, source: Source) -> Answer:
    """Answer `/$count`.

    Errors:  Unsupported.
    """
    _want_eventual(call, "$count")
    found = await _count(source, _filter(call, source.noun, counts=True))
    if found is None:
        raise Unsupported(
            f"$count of what this $filter or $search means is served among {LOOKED_AT} objects."
        )
    return 200, found


def listed(call: Call, items: Sequence[Item], noun: Noun, context: str) -> Answer:
    """Answer a listing of objects that are all at hand.

    Errors:  Unsupported, Malformed.
    """
    return 200, sliced(call, items, noun).shown(call, noun.name, context)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One page of objects that are all at hand."""

    items: Sequence[Item]
    after: str | None
    count: int | None

    def shown(self, call: Call, kind: str, context: str) -> Item:
        """Show the page."""
        return _page(call, self.items, kind, context, count=self.count, after=self.after)


def sliced(call: Call, items: Sequence[Item], noun: Noun) -> Slice:
    """Cut the page that is asked for out of objects that are all at hand.

    Errors:  Unsupported, Malformed.
    """
    asked = _filter(call, noun)
    found = [item for item in items if filters.matches(asked, item)]
    if call.options.order is not None:
        found = _sorted(found, *call.options.order)
    begin = _offset(call.options.after)
    page = found[begin : begin + call.options.top]
    end = begin + len(page)
    after = str(end) if end < len(found) else None
    counted = len(found) if call.options.count else None
    return Slice(items=page, after=after, count=counted)


def one(call: Call, item: Item, kind: str, context: str, *, status: int = 200) -> Answer:
    """Answer one object."""
    refuse_expand(call)
    shown = wire.selected(item, call.options, kind)
    head = {"@odata.context": wire.context(call.base, f"{context}/$entity", call.options)}
    return status, head | shown


def refuse_expand(call: Call) -> None:
    """Refuse `$expand`, which podpass does not serve.

    Errors:  Unsupported.
    """
    if call.options.expand:
        raise Unsupported("'$expand' is not served: ask for the related objects by their own path.")


def _page(
    call: Call,
    items: Sequence[Item],
    kind: str,
    context: str,
    *,
    count: int | None,
    after: str | None,
) -> Item:
    refuse_expand(call)
    body: Item = {"@odata.context": wire.context(call.base, context, call.options)}
    if count is not None:
        body["@odata.count"] = count
    if after is not None:
        body["@odata.nextLink"] = wire.next_link(call.address, call.options, after)
    body["value"] = [wire.selected(item, call.options, kind) for item in items]
    return body


def _filter(call: Call, noun: Noun, *, counts: bool = False) -> Expr | None:
    asked = call.options.filter
    if asked is not None:
        asked = filters.spelled(asked, noun)
        filters.check(asked, noun)
        if filters.is_advanced(asked):
            _want_eventual(call, "This operator of $filter")
            if not (call.options.count or counts):
                raise Unsupported("This operator of $filter is answered with $count=true only.")
    if call.options.search is None:
        return asked
    _want_eventual(call, "$search")
    name, text = call.options.search
    if name not in ("displayName", "description"):
        raise Unsupported("$search is served for displayName and description.")
    searched = Compare((name,), "contains", text)
    return searched if asked is None else Both((asked, searched))


def _want_eventual(call: Call, what: str) -> None:
    if not call.eventual:
        raise Unsupported(f"{what} is answered with the header 'ConsistencyLevel: eventual' only.")


async def _find(source: Source, asked: Expr | None, after: str | None, limit: int) -> Found:
    plan = filters.plan(asked, source.noun)
    builtin = [item for item in source.builtin if filters.matches(asked, item)]
    begin, after = _resumed(after)
    found = builtin[begin : begin + limit] if after is None else []
    if len(found) == limit:
        return found, f"{_BUILT_IN}{begin + limit}"
    looked = 0
    looks = plan.rest is not None or source.also is not None
    while looked < LOOKED_AT:
        want = _AT_ONCE if looks else limit - len(found) + 1
        rows = await source.fetch(plan.where, after, want)
        # The store answers in this loop: others get their turn in between.
        await asyncio.sleep(0)
        for row in rows:
            if len(found) == limit:
                return found, after
            looked += 1
            after = row.client_id
            if source.also is None or source.also(row):
                item = source.show(row)
                if filters.matches(plan.rest, item):
                    found.append(item)
        if len(rows) < want:
            return found, None
    return found, after


def _resumed(after: str | None) -> tuple[int, str | None]:
    if after is None or not after.startswith(_BUILT_IN):
        return 0, after
    return _offset(after.removeprefix(_BUILT_IN)), None


def _offset(after: str | None) -> int:
    if after is None:
        return 0
    if not (after.isascii() and after.isdigit()):
        raise Malformed("The $skiptoken is not one of ours.")
    return int(after[:9])


async def _ordered(call: Call, source: Source, asked: Expr | None) -> Found:
    assert call.options.order is not None
    items, more = await _find(source, asked, None, _ORDERED)
    if more is not None:
        raise Unsupported(
            f"$orderby is served for up to {_ORDERED} objects: add a $filter that names fewer."
        )
    begin = _offset(call.options.after)
    end = begin + call.options.top
    return _sorted(items, *call.options.order)[begin:end], str(end) if end < len(items) else None


def _sorted(items: Sequence[Item], name: str, descending: bool) -> list[Item]:
    name = wire.property_of(items[0], name) if items else name

    def key(item: Item) -> tuple[bool, str]:
        value = item.get(name)
        return value is not None, str(value).casefold()

    if any(name not in item or isinstance(item[name], list | dict) for item in items):
        raise Unsupported(f"Objects of this kind cannot be ordered by '{name[:80]}'.")
    return sorted(items, key=key, reverse=descending)


async def _count(source: Source, asked: Expr | None) -> int | None:
    """Count what is meant; None when that would be to look at more objects than a request may."""
    plan = filters.plan(asked, source.noun)
    if plan.rest is None and source.also is None:
        builtin = [item for item in source.builtin if filters.matches(asked, item)]
        return len(builtin) + await source.count(plan.where)
    items, more = await _find(source, asked, None, LOOKED_AT)
    return len(items) if more is None else None
