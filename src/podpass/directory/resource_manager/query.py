"""Parse the query of a request: api-version, `$filter`, `$top`, `$skiptoken`. Pure."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from urllib.parse import parse_qsl, quote, urlencode

from podpass.crypto import jose
from podpass.directory.resource_manager import filters
from podpass.directory.resource_manager.errors import ManagerError, bad_request
from podpass.directory.resource_manager.model import OperationContext, QueryParameters

MAX_TOP = 1000
_MAX_TOKEN = 4096
_API_VERSION = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:-(?:alpha|beta|preview|privatepreview)(?:\.\d+)?)?"
)


def parse(query: bytes) -> QueryParameters:
    """Parse a query, which must have unique parameters and a valid api-version, except its filter.

    Raises ManagerError.
    """
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, max_num_fields=20, errors="strict"
        )
    except ValueError as exc:
        raise bad_request("InvalidRequestUri", "The query string is invalid.") from exc
    found = {name.lower(): value for name, value in pairs}
    if len(found) != len(pairs):
        raise bad_request("InvalidRequestUri", "A query parameter occurs twice.")
    return QueryParameters(
        api_version=_parse_api_version(found.get("api-version", "")),
        top=_parse_top(found.get("$top")),
        after=_parse_after(found.get("$skiptoken", "")),
        raw={name: value for name, value in pairs if name.lower() != "$skiptoken"},
    )


def with_filter(query: QueryParameters) -> QueryParameters:
    """Return the query of a path that is served, with its filter. Raises ManagerError."""
    given = {name.lower(): value for name, value in query.raw.items()}
    return replace(query, filter=filters.parse(given.get("$filter", "")))


def _parse_api_version(given: str) -> str:
    if not given:
        raise bad_request(
            "MissingApiVersionParameter",
            "The query must have an api-version, for example ?api-version=2024-11-01.",
        )
    found = _API_VERSION.fullmatch(given.lower())
    try:
        date.fromisoformat(found[1] if found else "")
    except ValueError as exc:
        text = f"'{given[:40]}' is not an api-version: use YYYY-MM-DD, optionally with -preview."
        raise bad_request("InvalidApiVersionParameter", text) from exc
    return given


def _parse_top(given: str | None) -> int | None:
    if given is None:
        return None
    if not (given.isascii() and given.isdigit()) or not 1 <= int(given[:9]) <= MAX_TOP:
        raise bad_request(
            "InvalidTopInQueryString", f"The $top must be a number from 1 to {MAX_TOP}."
        )
    return int(given)


def _parse_after(token: str) -> str:
    try:
        if len(token) > _MAX_TOKEN:
            raise _invalid_token()
        text = jose.b64decode(token).decode()
    except (jose.MalformedToken, UnicodeDecodeError) as exc:
        raise _invalid_token() from exc
    if not text.isprintable():
        raise _invalid_token()
    return text


def _invalid_token() -> ManagerError:
    return bad_request("InvalidSkipTokenInQueryString", "The $skiptoken is invalid.")


def next_link(context: OperationContext, after: str) -> str:
    """Return the URL of the page that follows an entry."""
    token = jose.b64encode(after.encode())
    repeated: Mapping[str, str] = {**context.query.raw, "$skiptoken": token}
    return f"{context.endpoints.base}{quote(context.path)}?{urlencode(repeated, safe='$')}"
