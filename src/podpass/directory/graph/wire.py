"""Parse the JSON bodies and query options of Graph, and write its responses. Pure.

Source: https://learn.microsoft.com/graph/query-parameters
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

from podpass.clock import rfc3339
from podpass.crypto import jose
from podpass.directory.graph import filter_parser
from podpass.directory.graph.errors import GraphError, MalformedRequest, UnsupportedQuery

MAX_PAGE_SIZE = 999
DEFAULT_PAGE_SIZE = 100
_MAX_TIME = 253402300799.0  # the end of the year 9999
_KNOWN = frozenset(
    {
        "$filter",
        "$select",
        "$top",
        "$count",
        "$skiptoken",
        "$orderby",
        "$search",
        "$expand",
        "$format",
        "$skip",
    }
)
_ORDER = re.compile(r"([A-Za-z]+)(?: +(asc|desc))?")
_SEARCH = re.compile(r'"([A-Za-z]+):([^"]{1,120})"')


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOptions:
    """The query options of a request; `given` is repeated in the link to the next page."""

    filter: filter_parser.Expression | None = None
    select: tuple[str, ...] = ()
    top: int = DEFAULT_PAGE_SIZE
    count: bool = False
    after: str | None = None
    order: tuple[str, bool] | None = None
    search: tuple[str, str] | None = None
    expand: str = ""
    given: Mapping[str, str] = field(default_factory=dict)


def parse_options(text: bytes) -> QueryOptions:
    """Parse the query of a request. Raises MalformedRequest, UnsupportedQuery."""
    try:
        pairs = parse_qsl(
            text.decode("ascii"), keep_blank_values=True, max_num_fields=20, errors="strict"
        )
    except ValueError as exc:
        raise MalformedRequest("The query string is invalid.") from exc
    given: dict[str, str] = {}
    for name, value in pairs:
        name = name if name.startswith("$") or f"${name}" not in _KNOWN else f"${name}"
        if name in given:
            raise MalformedRequest(f"The query option '{name}' occurs twice.")
        if name.startswith("$") and name not in _KNOWN:
            raise MalformedRequest(f"The query option '{name}' does not exist.")
        given[name] = value
    if "$skip" in given:
        raise UnsupportedQuery("'$skip' is not supported: follow @odata.nextLink.")
    return QueryOptions(
        filter=filter_parser.parse(given["$filter"]) if given.get("$filter", "").strip() else None,
        select=_parse_names(given.get("$select", "")),
        top=_parse_top(given.get("$top")),
        count=_parse_flag(given.get("$count", "false")),
        after=_parse_after(given.get("$skiptoken")),
        order=_parse_order(given.get("$orderby")),
        search=_parse_search(given.get("$search")),
        expand=given.get("$expand", "").strip(),
        given={name: value for name, value in given.items() if name in _KNOWN},
    )


def _parse_names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _parse_top(text: str | None) -> int:
    if text is None:
        return DEFAULT_PAGE_SIZE
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= MAX_PAGE_SIZE:
        raise UnsupportedQuery(
            f"'$top' must be a number from 1 to {MAX_PAGE_SIZE}, not '{text[:20]}'."
        )
    return int(text)


def _parse_flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise MalformedRequest("'$count' must be true or false.")
    return text.lower() == "true"


def _parse_after(token: str | None) -> str | None:
    if token is None:
        return None
    try:
        return jose.b64decode(token).decode("ascii")
    except (jose.MalformedToken, UnicodeDecodeError) as exc:
        raise MalformedRequest("The $skiptoken is invalid.") from exc


def _parse_order(text: str | None) -> tuple[str, bool] | None:
    if text is None:
        return None
    found = _ORDER.fullmatch(text.strip())
    if found is None:
        raise UnsupportedQuery("$orderby supports only one property, with asc or desc.")
    return found[1], found[2] == "desc"


def _parse_search(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    found = _SEARCH.fullmatch(text.strip())
    if found is None:
        raise MalformedRequest(
            '$search must have the form "property:text", with the quotation marks.'
        )
    return found[1], found[2]


def parse_body(body: bytes) -> dict[str, Any]:
    """Parse a body, which must be a JSON object with unique members. Raises MalformedRequest."""
    try:
        return jose.loads_object(body)
    except jose.MalformedToken as exc:
        raise MalformedRequest("The body is not a JSON object with unique members.") from exc


def format_time(seconds: float) -> str | None:
    """Format a time; 0 means no time."""
    return rfc3339(min(seconds, _MAX_TIME)) if seconds else None


def parse_time(path: str, value: object) -> float:
    """Parse a time with an offset. Raises MalformedRequest."""
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or (isinstance(value, str) and len(value) > 40):
        raise MalformedRequest(f"The value of '{path}' is not a valid time.")
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    try:
        return min(max(found.timestamp(), 0), _MAX_TIME)
    except OverflowError as exc:
        raise MalformedRequest(f"The value of '{path}' is not a valid time.") from exc


def find_property_name(item: Mapping[str, Any], asked: str) -> str:
    """Return the name of a property in the object's spelling; the caller may use any case."""
    if asked in item:
        return asked
    return next((name for name in item if name.lower() == asked.lower()), asked)


def select_properties(item: Mapping[str, Any], options: QueryOptions, kind: str) -> dict[str, Any]:
    """Return the properties of an object that `$select` names.

    Raises MalformedRequest for a property it does not have.
    """
    if not options.select:
        return dict(item)
    shown = {name: value for name, value in item.items() if name.startswith("@")}
    for asked in options.select:
        if asked == "*":
            return dict(item)
        name = find_property_name(item, asked)
        if name not in item and kind == "directoryObject":
            continue  # in a list of several types, objects of another type may have this property
        if name not in item:
            raise MalformedRequest(f"A {kind} has no property '{name[:80]}' for $select.")
        shown[name] = item[name]
    return shown


def context_url(base: str, what: str, options: QueryOptions) -> str:
    """Return the context URL of a response (`@odata.context`)."""
    of = f"({','.join(options.select)})" if options.select else ""
    head, slash, tail = what.partition("/$entity")
    return f"{base}/$metadata#{head}{of}{slash}{tail}"


def next_link(address: str, options: QueryOptions, after: str) -> str:
    """Return the URL of the page that follows the entry `after`."""
    repeated = {name: value for name, value in options.given.items() if name != "$skiptoken"}
    token = jose.b64encode(after.encode())
    return f"{address}?{urlencode({**repeated, '$skiptoken': token}, safe='$')}"


def error_body(refused: GraphError, ids: Sequence[str], now: float) -> dict[str, Any]:
    """Return the error body; `ids` are the request ID and the client request ID."""
    inner = {
        "date": rfc3339(now).removesuffix("Z"),
        "request-id": ids[0],
        "client-request-id": ids[1],
    }
    body: dict[str, Any] = {"code": refused.wire_code, "message": refused.message}
    if refused.conflict:
        detail = {"code": "ObjectConflict", "message": refused.message, "target": refused.conflict}
        body["details"] = [detail]
    return {"error": {**body, "innerError": inner}}
