"""Graph's JSON and query options, read into our shapes and written from them. Pure.

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
from podpass.directory.graph import query
from podpass.directory.graph.refusals import GraphRefusal, Malformed, Unsupported

MAX_PAGE = 999
PAGE = 100
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
class Options:
    """What a request asks of a collection or an object; `given` are the options for the next page."""

    filter: query.Expr | None = None
    select: tuple[str, ...] = ()
    top: int = PAGE
    count: bool = False
    after: str | None = None
    order: tuple[str, bool] | None = None
    search: tuple[str, str] | None = None
    expand: str = ""
    given: Mapping[str, str] = field(default_factory=dict)


def read_options(text: bytes) -> Options:
    """Read a query.

    Errors:  Malformed, Unsupported.
    """
    try:
        pairs = parse_qsl(
            text.decode("ascii"), keep_blank_values=True, max_num_fields=20, errors="strict"
        )
    except ValueError as exc:
        raise Malformed("The query cannot be read.") from exc
    given: dict[str, str] = {}
    for name, value in pairs:
        name = name if name.startswith("$") or f"${name}" not in _KNOWN else f"${name}"
        if name in given:
            raise Malformed(f"The query option '{name}' stands twice.")
        if name.startswith("$") and name not in _KNOWN:
            raise Malformed(f"There is no query option '{name}'.")
        given[name] = value
    if "$skip" in given:
        raise Unsupported("'$skip' is not served: follow @odata.nextLink.")
    return Options(
        filter=query.parse(given["$filter"]) if given.get("$filter", "").strip() else None,
        select=_names(given.get("$select", "")),
        top=_top(given.get("$top")),
        count=_flag(given.get("$count", "false")),
        after=_after(given.get("$skiptoken")),
        order=_order(given.get("$orderby")),
        search=_search(given.get("$search")),
        expand=given.get("$expand", "").strip(),
        given={name: value for name, value in given.items() if name in _KNOWN},
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _top(text: str | None) -> int:
    if text is None:
        return PAGE
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text[:9]) <= MAX_PAGE:
        raise Unsupported(f"'$top' is a number from 1 to {MAX_PAGE}, not '{text[:20]}'.")
    return int(text)


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise Malformed("'$count' is true or false.")
    return text.lower() == "true"


def _after(token: str | None) -> str | None:
    if token is None:
        return None
    try:
        return jose.b64decode(token).decode("ascii")
    except (jose.MalformedToken, UnicodeDecodeError) as exc:
        raise Malformed("The $skiptoken is not one of ours.") from exc


def _order(text: str | None) -> tuple[str, bool] | None:
    if text is None:
        return None
    found = _ORDER.fullmatch(text.strip())
    if found is None:
        raise Unsupported("Of $orderby only one property, with asc or desc, is supported.")
    return found[1], found[2] == "desc"


def _search(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    found = _SEARCH.fullmatch(text.strip())
    if found is None:
        raise Malformed('Want $search="property:text", with the quotation marks.')
    return found[1], found[2]


def read_body(body: bytes) -> dict[str, Any]:
    """Read a body that has to be a JSON object with unique members.

    Errors:  Malformed.
    """
    try:
        return jose.loads_object(body)
    except jose.MalformedToken as exc:
        raise Malformed("The body is not a JSON object with unique members.") from exc


def time(seconds: float) -> str | None:
    """Write a time; 0 is none."""
    return rfc3339(min(seconds, _MAX_TIME)) if seconds else None


def read_time(path: str, value: object) -> float:
    """Read a time with an offset.

    Errors:  Malformed.
    """
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or (isinstance(value, str) and len(value) > 40):
        raise Malformed(f"The value of '{path}' is no time.")
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    try:
        return min(max(found.timestamp(), 0), _MAX_TIME)
    except OverflowError as exc:
        raise Malformed(f"The value of '{path}' is no time.") from exc


def property_of(item: Mapping[str, Any], asked: str) -> str:
    """Name a property as an object has it; callers may write it in any case."""
    if asked in item:
        return asked
    return next((name for name in item if name.lower() == asked.lower()), asked)


def selected(item: Mapping[str, Any], options: Options, kind: str) -> dict[str, Any]:
    """Show of an object what is asked for.

    Errors:  Malformed for a property it does not have.
    """
    if not options.select:
        return dict(item)
    shown = {name: value for name, value in item.items() if name.startswith("@")}
    for asked in options.select:
        if asked == "*":
            return dict(item)
        name = property_of(item, asked)
        if name not in item and kind == "directoryObject":
            continue  # a list of several kinds, of which others have it
        if name not in item:
            raise Malformed(f"A {kind} has no property '{name[:80]}' that $select could show.")
        shown[name] = item[name]
    return shown


def context(base: str, what: str, options: Options) -> str:
    """Name what an answer holds."""
    of = f"({','.join(options.select)})" if options.select else ""
    head, slash, tail = what.partition("/$entity")
    return f"{base}/$metadata#{head}{of}{slash}{tail}"


def next_link(address: str, options: Options, after: str) -> str:
    """Name the page that comes behind `after`."""
    kept = {name: value for name, value in options.given.items() if name != "$skiptoken"}
    token = jose.b64encode(after.encode())
    return f"{address}?{urlencode({**kept, '$skiptoken': token}, safe='$')}"


def error(refused: GraphRefusal, ids: Sequence[str], now: float) -> dict[str, Any]:
    """Write a refusal as every client of Graph reads it; `ids` are those of the request."""
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
