"""The page that an error's `error_uri` leads to: for people as HTML, for programs that ask for it as JSON."""

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

import orjson

from podpass.exchange import responses
from podpass.exchange.errors import explain
from podpass.exchange.errors.explain import Explanation
from podpass.exchange.sign_in import html
from podpass.http.server import Receive, Reply, Scope, header

PATH = "error"


def find(first: str, rest: str) -> Callable[[Scope, Receive], Awaitable[Reply]] | None:
    """Find who answers a path; None when it is not the error page's."""
    return _answer if first == PATH and not rest else None


async def _answer(scope: Scope, receive: Receive) -> Reply:
    del receive
    if scope["method"] not in {"GET", "HEAD"}:
        return responses.not_allowed("GET", "HEAD")
    number = _asked(scope["query_string"])
    found = None if number is None else explain.find(number)
    status = 404 if found is None else 200
    accepted = header(scope, b"accept") or ""
    if "application/json" in accepted and "text/html" not in accepted:
        return Reply(status, responses.JSON, orjson.dumps(_document(number, found)))
    return Reply(status, html.headers(), _page(number, found))


def _asked(query: bytes) -> int | None:
    text = parse_qs(query.decode("latin-1")).get("code", [""])[0]
    found = explain.read(text).numbers
    return found[0] if found else None


def _document(number: int | None, found: Explanation | None) -> dict[str, object]:
    if found is None:
        near = explain.nearest(number) if number is not None else ()
        return {"error": "not_found", "code": number, "nearest": near}
    return {
        "code": found.number,
        "error": found.error,
        "status": found.status,
        "step": found.step,
        "says": found.says,
        "meaning": found.meaning,
        "cure": found.cure,
    }


def _page(number: int | None, found: Explanation | None) -> bytes:
    if number is None:
        return html.told("No number is given", [("Ask for", "/error?code=700213")])
    if found is None:
        near = ", ".join(f"AADSTS{each}" for each in explain.nearest(number))
        rows = [("Not known", "This service never answers this number."), ("Most like it", near)]
        return html.told(f"AADSTS{number}", [row for row in rows if row[1]])
    rows = [
        ("Says", found.says or "Only Entra answers this number; this service never does."),
        ("Comes about", found.meaning),
        ("What to do", f"{found.cure}."),
        ("Goes with", f"{found.error}, HTTP {found.status}"),
    ]
    return html.told(found.name, rows)
