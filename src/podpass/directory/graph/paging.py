"""List and count collections: filter, order and page them. A request scans a bounded number of objects."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from podpass.directory.graph import filters, wire
from podpass.directory.graph.errors import MalformedRequest, UnsupportedQuery
from podpass.directory.graph.filter_parser import And, Comparison, Expression
from podpass.directory.graph.filters import FilterSchema
from podpass.directory.graph.model import GraphRequest, GraphResponse, JsonObject
from podpass.directory.model import Identity
from podpass.directory.store.identity_queries import Condition

# The maximum number of objects that one request scans if no index covers its filter. The page may then be
# short; the next link continues the scan, as in Graph.
MAX_SCANNED = 1000
_BATCH_SIZE = 200
_MAX_ORDERED = wire.MAX_PAGE_SIZE
_BUILT_IN = "builtin:"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityCollection:
    """A collection of identities that the store returns in pages.

    `builtin` are objects that every tenant has; they precede those of the store. `prefix` is the prefix of
    page tokens; `is_included` is a condition in addition to the filter.
    """

    schema: FilterSchema
    kind: str
    context: str
    fetch: Callable[[Sequence[Condition], str | None, int], Awaitable[Sequence[Identity]]]
    count: Callable[[Sequence[Condition]], Awaitable[int]]
    show: Callable[[Identity], JsonObject]
    builtin: Sequence[JsonObject] = ()
    prefix: str = ""
    is_included: Callable[[Identity], bool] | None = None


ScanResult = tuple[list[JsonObject], str | None]
"""Objects, and the position after which the next page begins; None on the last page."""


async def list_identities(request: GraphRequest, collection: IdentityCollection) -> GraphResponse:
    """Return one page of a collection. Raises UnsupportedQuery, MalformedRequest."""
    expression = _filter(request, collection.schema)
    if request.options.order is not None:
        items, after = await _ordered(request, collection, expression)
    else:
        items, after = await _scan(
            collection, expression, request.options.after, request.options.top
        )
    after = after if after is None else collection.prefix + after
    wants_count = request.options.count and request.eventual
    count = await _count(collection, expression) if wants_count else None
    return 200, _page(request, items, collection.kind, collection.context, count=count, after=after)


async def count_identities(request: GraphRequest, collection: IdentityCollection) -> GraphResponse:
    """Return the number of objects in a collection (`/$count`). Raises UnsupportedQuery."""
    _require_eventual(request, "$count")
    found = await _count(collection, _filter(request, collection.schema, counts=True))
    if found is None:
        raise UnsupportedQuery(
            f"$count with this $filter or $search is supported for up to {MAX_SCANNED} objects."
        )
    return 200, found


def list_items(
    request: GraphRequest, items: Sequence[JsonObject], schema: FilterSchema, context: str
) -> GraphResponse:
    """Return one page of objects that are already in memory. Raises UnsupportedQuery, MalformedRequest."""
    return 200, slice_items(request, items, schema).to_body(request, schema.name, context)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionPage:
    """One page of objects that are already in memory."""

    items: Sequence[JsonObject]
    after: str | None
    count: int | None

    def to_body(self, request: GraphRequest, kind: str, context: str) -> JsonObject:
        """Return the page as a response body."""
        return _page(request, self.items, kind, context, count=self.count, after=self.after)


def slice_items(
    request: GraphRequest, items: Sequence[JsonObject], schema: FilterSchema
) -> CollectionPage:
    """Select the requested page from objects that are already in memory.

    Raises UnsupportedQuery, MalformedRequest.
    """
    expression = _filter(request, schema)
    found = [item for item in items if filters.matches(expression, item)]
    if request.options.order is not None:
        found = _sorted(found, *request.options.order)
    begin = _parse_offset(request.options.after)
    page = found[begin : begin + request.options.top]
    end = begin + len(page)
    after = str(end) if end < len(found) else None
    counted = len(found) if request.options.count else None
    return CollectionPage(items=page, after=after, count=counted)


def object_response(
    request: GraphRequest, item: JsonObject, kind: str, context: str, *, status: int = 200
) -> GraphResponse:
    """Return one object."""
    reject_expand(request)
    shown = wire.select_properties(item, request.options, kind)
    head = {"@odata.context": wire.context_url(request.base, f"{context}/$entity", request.options)}
    return status, head | shown


def reject_expand(request: GraphRequest) -> None:
    """Reject `$expand`, which podpass does not support. Raises UnsupportedQuery."""
    if request.options.expand:
        raise UnsupportedQuery(
            "'$expand' is not supported: request the related objects by their own path."
        )


def _page(
    request: GraphRequest,
    items: Sequence[JsonObject],
    kind: str,
    context: str,
    *,
    count: int | None,
    after: str | None,
) -> JsonObject:
    reject_expand(request)
    body: JsonObject = {"@odata.context": wire.context_url(request.base, context, request.options)}
    if count is not None:
        body["@odata.count"] = count
    if after is not None:
        body["@odata.nextLink"] = wire.next_link(request.address, request.options, after)
    body["value"] = [wire.select_properties(item, request.options, kind) for item in items]
    return body


def _filter(
    request: GraphRequest, schema: FilterSchema, *, counts: bool = False
) -> Expression | None:
    expression = request.options.filter
    if expression is not None:
        expression = filters.normalize_names(expression, schema)
        filters.validate(expression, schema)
        if filters.is_advanced(expression):
            _require_eventual(request, "This $filter operator")
            if not (request.options.count or counts):
                raise UnsupportedQuery("This $filter operator requires $count=true.")
    if request.options.search is None:
        return expression
    _require_eventual(request, "$search")
    name, text = request.options.search
    if name not in ("displayName", "description"):
        raise UnsupportedQuery("$search supports only displayName and description.")
    searched = Comparison((name,), "contains", text)
    return searched if expression is None else And((expression, searched))


def _require_eventual(request: GraphRequest, what: str) -> None:
    if not request.eventual:
        raise UnsupportedQuery(f"{what} requires the header 'ConsistencyLevel: eventual'.")


async def _scan(
    collection: IdentityCollection, expression: Expression | None, after: str | None, limit: int
) -> ScanResult:
    query_plan = filters.plan_query(expression, collection.schema)
    builtin = [item for item in collection.builtin if filters.matches(expression, item)]
    begin, after = _parse_position(after)
    found = builtin[begin : begin + limit] if after is None else []
    if len(found) == limit:
        return found, f"{_BUILT_IN}{begin + limit}"
    scanned = 0
    is_scan = query_plan.rest is not None or collection.is_included is not None
    while scanned < MAX_SCANNED:
        want = _BATCH_SIZE if is_scan else limit - len(found) + 1
        rows = await collection.fetch(query_plan.where, after, want)
        # Yield to the event loop, so that a long scan does not delay other requests.
        await asyncio.sleep(0)
        for row in rows:
            if len(found) == limit:
                return found, after
            scanned += 1
            after = row.client_id
            if collection.is_included is None or collection.is_included(row):
                item = collection.show(row)
                if filters.matches(query_plan.rest, item):
                    found.append(item)
        if len(rows) < want:
            return found, None
    return found, after


def _parse_position(after: str | None) -> tuple[int, str | None]:
    if after is None or not after.startswith(_BUILT_IN):
        return 0, after
    return _parse_offset(after.removeprefix(_BUILT_IN)), None


def _parse_offset(after: str | None) -> int:
    if after is None:
        return 0
    if not (after.isascii() and after.isdigit()):
        raise MalformedRequest("The $skiptoken is invalid.")
    return int(after[:9])


async def _ordered(
    request: GraphRequest, collection: IdentityCollection, expression: Expression | None
) -> ScanResult:
    assert request.options.order is not None
    items, more = await _scan(collection, expression, None, _MAX_ORDERED)
    if more is not None:
        raise UnsupportedQuery(
            f"$orderby supports up to {_MAX_ORDERED} objects: add a $filter that matches fewer."
        )
    begin = _parse_offset(request.options.after)
    end = begin + request.options.top
    return _sorted(items, *request.options.order)[begin:end], str(end) if end < len(items) else None


def _sorted(items: Sequence[JsonObject], name: str, descending: bool) -> list[JsonObject]:
    name = wire.find_property_name(items[0], name) if items else name

    def key(item: JsonObject) -> tuple[bool, str]:
        value = item.get(name)
        return value is not None, str(value).casefold()

    if any(name not in item or isinstance(item[name], list | dict) for item in items):
        raise UnsupportedQuery(f"Objects of this type cannot be ordered by '{name[:80]}'.")
    return sorted(items, key=key, reverse=descending)


async def _count(collection: IdentityCollection, expression: Expression | None) -> int | None:
    """Count the matching objects; None if that would scan more objects than one request may."""
    query_plan = filters.plan_query(expression, collection.schema)
    if query_plan.rest is None and collection.is_included is None:
        builtin = [item for item in collection.builtin if filters.matches(expression, item)]
        return len(builtin) + await collection.count(query_plan.where)
    items, more = await _scan(collection, expression, None, MAX_SCANNED)
    return len(items) if more is None else None
