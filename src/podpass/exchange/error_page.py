"""The page that `error_uri` of an error points to: HTML for browsers, JSON for clients that request it."""

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

import orjson

from podpass.exchange import responses
from podpass.exchange.errors import explanations
from podpass.exchange.errors.explanations import Explanation
from podpass.exchange.sign_in import html
from podpass.http.server import Receive, Reply, Scope, header

PATH = "error"


def find_page(first: str, rest: str) -> Callable[[Scope, Receive], Awaitable[Reply]] | None:
    """Return the handler of the error page; None for any other path."""
    return _error_page if first == PATH and not rest else None


async def _error_page(scope: Scope, receive: Receive) -> Reply:
    del receive
    if scope["method"] not in {"GET", "HEAD"}:
        return responses.not_allowed("GET", "HEAD")
    number = _requested_number(scope["query_string"])
    found = None if number is None else explanations.find_explanation(number)
    status = 404 if found is None else 200
    accepted = header(scope, b"accept") or ""
    if "application/json" in accepted and "text/html" not in accepted:
        return Reply(status, responses.JSON_HEADERS, orjson.dumps(_json_document(number, found)))
    return Reply(status, html.headers(), _html_page(number, found))


def _requested_number(query: bytes) -> int | None:
    text = parse_qs(query.decode("latin-1")).get("code", [""])[0]
    found = explanations.parse_error_text(text).numbers
    return found[0] if found else None


def _json_document(number: int | None, found: Explanation | None) -> dict[str, object]:
    if found is None:
        near = explanations.similar_numbers(number) if number is not None else ()
        return {"error": "not_found", "code": number, "nearest": near}
    return {
        "code": found.number,
        "error": found.error,
        "status": found.status,
        "step": found.step,
        "says": found.says,
        "cause": found.cause,
        "resolution": found.resolution,
    }


def _html_page(number: int | None, found: Explanation | None) -> bytes:
    if number is None:
        return html.details("No number is given", [("Ask for", "/error?code=700213")])
    if found is None:
        near = ", ".join(f"AADSTS{each}" for each in explanations.similar_numbers(number))
        rows = [("Unknown", "This service never returns this number."), ("Similar numbers", near)]
        return html.details(f"AADSTS{number}", [row for row in rows if row[1]])
    rows = [
        ("Message", found.says or "Only Entra returns this number; this service never does."),
        ("Cause", found.cause),
        ("Resolution", f"{found.resolution}."),
        ("Error", f"{found.error}, HTTP {found.status}"),
    ]
    return html.details(found.name, rows)
