"""The query of a request: api-version, `$filter`, `$top`, `$skiptoken`. Pure."""

import re
from collections.abc import Mapping
from datetime import date
from urllib.parse import parse_qsl, quote, urlencode

from podpass.crypto import jose
from podpass.directory.resource_manager import filters
from podpass.directory.resource_manager.model import Call, Query
from podpass.directory.resource_manager.refusals import ManagerRefusal, bad

MAX_TOP = 1000
_MAX_TOKEN = 4096
_API_VERSION = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:-(?:alpha|beta|preview|privatepreview)(?:\.\d+)?)?"
)


def read(query: bytes) -> Query:
    """Read a query with unique members and an api-version that is written as one.

    Errors:  ManagerRefusal.
    """
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, max_num_fields=20, errors="strict"
        )
    except ValueError as exc:
        raise bad("InvalidRequestUri", "The query cannot be read.") from exc
    found = {name.lower(): value for name, value in pairs}
    if len(found) != len(pairs):
        raise bad("InvalidRequestUri", "A query parameter stands twice.")
    return Query(
        api_version=_api_version(found.get("api-version", "")),
        filter=filters.read(found.get("$filter", "")),
        top=_top(found.get("$top")),
        after=_after(found.get("$skiptoken", "")),
        kept={name: value for name, value in pairs if name.lower() != "$skiptoken"},
    )


def _api_version(given: str) -> str:
    if not given:
        raise bad(
            "MissingApiVersionParameter",
            "The query has to name an api-version, such as ?api-version=2024-11-01.",
        )
    found = _API_VERSION.fullmatch(given.lower())
    try:
        date.fromisoformat(found[1] if found else "")
    except ValueError as exc:
        text = f"'{given[:40]}' is no api-version: want YYYY-MM-DD, with -preview if it is one."
        raise bad("InvalidApiVersionParameter", text) from exc
    return given


def _top(given: str | None) -> int | None:
    if given is None:
        return None
    if not (given.isascii() and given.isdigit()) or not 1 <= int(given[:9]) <= MAX_TOP:
        raise bad("InvalidTopInQueryString", f"The $top must be a number from 1 to {MAX_TOP}.")
    return int(given)


def _after(token: str) -> str:
    try:
        if len(token) > _MAX_TOKEN:
            raise _no_token()
        text = jose.b64decode(token).decode()
    except (jose.MalformedToken, UnicodeDecodeError) as exc:
        raise _no_token() from exc
    if not text.isprintable():
        raise _no_token()
    return text


def _no_token() -> ManagerRefusal:
    return bad(
        "InvalidSkipTokenInQueryString", "The $skiptoken is not one that was given out here."
    )


def next_link(call: Call, after: str) -> str:
    """Write the address of the page that begins behind an entry."""
    token = jose.b64encode(after.encode())
    kept: Mapping[str, str] = {**call.query.kept, "$skiptoken": token}
    return f"{call.origin.base}{quote(call.path)}?{urlencode(kept, safe='$')}"
