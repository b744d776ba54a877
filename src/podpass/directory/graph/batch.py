"""JSON batching: parse several requests from one body, run them in order, return all responses.

Source: https://learn.microsoft.com/graph/json-batching
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from podpass.directory.graph.errors import MalformedRequest
from podpass.directory.graph.model import GraphResponse, JsonObject

MAX_REQUESTS = 20
_HEADERS = {"Content-Type": "application/json"}
_SAFE = "%!$&'()*+,;=:@/?-._~"
_METHODS = frozenset({"GET", "POST", "PATCH", "DELETE", "PUT"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRequest:
    """One request of a batch.

    `path` and `query` are percent-encoded; headers have names in lower case; `after` holds the ids of the
    requests that must succeed first.
    """

    id: str
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    after: tuple[str, ...]


def parse(body: Mapping[str, Any]) -> list[BatchRequest]:
    """Parse a batch. Raises MalformedRequest."""
    given = body.get("requests")
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_REQUESTS:
        raise MalformedRequest(f"The batch is invalid: it must have 1 to {MAX_REQUESTS} requests.")
    parts: list[BatchRequest] = []
    for each in given:
        part = _parse_part(each)
        before = {one.id for one in parts}
        if part.id in before or not before.issuperset(part.after):
            raise MalformedRequest(
                "The batch is invalid: ids must be unique, and dependsOn must name earlier requests."
            )
        parts.append(part)
    return parts


def _parse_part(given: object) -> BatchRequest:
    if not isinstance(given, dict):
        raise MalformedRequest("The batch is invalid: a request is not an object.")
    name, method, url = given.get("id"), given.get("method"), given.get("url")
    headers, after = given.get("headers") or {}, given.get("dependsOn") or []
    # A list or an object cannot be looked up in the set of methods.
    is_known = isinstance(method, str) and method in _METHODS
    if not isinstance(name, str) or not isinstance(url, str) or not is_known:
        raise MalformedRequest(
            "The batch is invalid: a request needs id, method and a relative url."
        )
    if not isinstance(headers, dict) or not isinstance(after, list):
        raise MalformedRequest("The batch is invalid: headers must be an object, dependsOn a list.")
    try:
        parts = urlsplit(url if url.startswith("/") else "/" + url)
    except ValueError as exc:
        raise MalformedRequest("The batch is invalid: a url cannot be parsed.") from exc
    if parts.netloc or "$batch" in parts.path:
        raise MalformedRequest(
            "The batch is invalid: a url must be relative and must not be $batch."
        )
    content = given.get("body")
    return BatchRequest(
        id=name,
        method=str(method),
        path=quote(parts.path, safe=_SAFE),
        query=quote(parts.query, safe=_SAFE),
        headers={str(key).lower(): str(value) for key, value in headers.items()},
        body=b"" if content is None else _serialize(content),
        after=tuple(str(each) for each in after),
    )


def _serialize(content: object) -> bytes:
    """Serialize a body; unlike orjson, the standard library accepts integers of any length."""
    try:
        return json.dumps(content).encode()
    except RecursionError as exc:
        raise MalformedRequest("The batch is invalid: a body is nested too deeply.") from exc


async def run(
    parts: list[BatchRequest], run_one: Callable[[BatchRequest], Awaitable[GraphResponse]]
) -> GraphResponse:
    """Run the requests of a batch; skip those that depend on a failed request."""
    failed: set[str] = set()
    answers = []
    for part in parts:
        is_blocked = bool(failed.intersection(part.after))
        status, body = (424, _failed_dependency()) if is_blocked else await run_one(part)
        if status >= 400:
            failed.add(part.id)
        answer: dict[str, Any] = {"id": part.id, "status": status, "headers": _HEADERS}
        answers.append(answer if body is None else answer | {"body": body})
    return 200, {"responses": answers}


def _failed_dependency() -> JsonObject:
    text = "A request that this request depends on failed."
    return {"error": {"code": "FailedDependency", "message": text}}
