"""Several requests in one body: read, run in their order, answered together.

Source: https://learn.microsoft.com/graph/json-batching
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from podpass.directory.graph.calls import Answer, Item
from podpass.directory.graph.refusals import Malformed

MAX_REQUESTS = 20
_HEADERS = {"Content-Type": "application/json"}
_SAFE = "%!$&'()*+,;=:@/?-._~"
_METHODS = frozenset({"GET", "POST", "PATCH", "DELETE", "PUT"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One request of a batch.

    Shapes:  `path` and `query` are percent-encoded; headers have names in lower case; `after` are the ids of
             requests that have to succeed before.
    """

    id: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    after: tuple[str, ...]


def read(body: Mapping[str, Any]) -> list[Part]:
    """Read a batch.

    Errors:  Malformed.
    """
    given = body.get("requests")
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_REQUESTS:
        raise Malformed(f"The batch does not fit: want 1 to {MAX_REQUESTS} requests.")
    parts: list[Part] = []
    for each in given:
        part = _part(each)
        before = {one.id for one in parts}
        if part.id in before or not before.issuperset(part.after):
            raise Malformed(
                "The batch does not fit: ids have to differ, and depend on earlier ones."
            )
        parts.append(part)
    return parts


def _part(given: object) -> Part:
    if not isinstance(given, dict):
        raise Malformed("The batch does not fit: a request is no object.")
    name, method, url = given.get("id"), given.get("method"), given.get("url")
    headers, after = given.get("headers") or {}, given.get("dependsOn") or []
    if not isinstance(name, str) or not isinstance(url, str) or method not in _METHODS:
        raise Malformed("The batch does not fit: a request needs id, method and a relative url.")
    if not isinstance(headers, dict) or not isinstance(after, list):
        raise Malformed("The batch does not fit: headers are an object, dependsOn is a list.")
    try:
        parts = urlsplit(url if url.startswith("/") else "/" + url)
    except ValueError as exc:
        raise Malformed("The batch does not fit: a url cannot be read.") from exc
    if parts.netloc or "$batch" in parts.path:
        raise Malformed("The batch does not fit: a url is relative, and names no batch.")
    content = given.get("body")
    return Part(
        id=name,
        method=method,
        path=quote(parts.path, safe=_SAFE),
        query=quote(parts.query, safe=_SAFE),
        headers={str(key).lower(): str(value) for key, value in headers.items()},
        body=b"" if content is None else _again(content),
        after=tuple(str(each) for each in after),
    )


def _again(content: object) -> bytes:
    """Write a body as it came; the standard library also takes numbers of any length."""
    try:
        return json.dumps(content).encode()
    except RecursionError as exc:
        raise Malformed("The batch does not fit: a body is nested too deep.") from exc


async def run(parts: list[Part], one: Callable[[Part], Awaitable[Answer]]) -> Answer:
    """Run the requests of a batch; what depends on one that failed is not run."""
    failed: set[str] = set()
    answers = []
    for part in parts:
        held = bool(failed.intersection(part.after))
        status, body = (424, _not_run()) if held else await one(part)
        if status >= 400:
            failed.add(part.id)
        answer: dict[str, Any] = {"id": part.id, "status": status, "headers": _HEADERS}
        answers.append(answer if body is None else answer | {"body": body})
    return 200, {"responses": answers}


def _not_run() -> Item:
    text = "A request this one depends on has failed."
    return {"error": {"code": "FailedDependency", "message": text}}
