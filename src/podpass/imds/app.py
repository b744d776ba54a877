"""The sidecar's application: routes, the token request, forwarding, and one log line for each request.

Paths match as in the reference: a prefix decides, and the first segment may have any case.
"""

import logging
import posixpath
import re
from collections.abc import Coroutine
from typing import Any
from urllib.parse import quote

from podpass.clock import Clock
from podpass.http.reply import Reply
from podpass.http.server import BodyTooLarge, Receive, Scope, Send, header, read_body
from podpass.imds import responses
from podpass.imds.entra_client import TokenNotAcquired
from podpass.imds.forwarder import Forwarder
from podpass.imds.metrics import ProxyMetrics
from podpass.imds.token_cache import TokenCache
from podpass.imds.token_query import BadTokenQuery, TokenQuery, parse_token_query

_log = logging.getLogger(__name__)

_TOKEN_PATH = re.compile(r"/metadata/(?-i:identity/oauth2/token)", re.IGNORECASE)
_READY_PATH = "/readyz"
_MAX_BODY_BYTES = 64 * 1024
_NO_METADATA_HEADER = "Required metadata header not specified"
_FORWARDED = "Requests with the header X-Forwarded-For are refused"


class ImdsApp:
    """The ASGI application; `fast_path` answers token requests from the cache."""

    fast_path_method = b"GET"

    def __init__(
        self,
        cache: TokenCache,
        forwarder: Forwarder,
        metrics: ProxyMetrics,
        clock: Clock,
        *,
        client_id: str,
        strict: bool,
        imds_errors: bool,
        server: str,
    ) -> None:
        self._cache = cache
        self._forwarder = forwarder
        self._metrics = metrics
        self._clock = clock
        self._client_id = client_id
        self._strict = strict
        self._imds_errors = imds_errors or strict
        self._server = (b"server", server.encode())

    def fast_path(self, scope: Scope, _body: bytes) -> Coroutine[Any, Any, Reply] | None:
        """Return the response to a token request, or None for any other request."""
        if _TOKEN_PATH.match(scope["path"]) and _clean_path(scope["path"]) is None:
            return self._answer_token(scope)
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        reply = await self._route(scope, receive)
        await send(
            {
                "type": "http.response.start",
                "status": reply.status,
                "headers": [*reply.headers, _content_length(reply)],
            }
        )
        await send({"type": "http.response.body", "body": reply.body})

    async def _route(self, scope: Scope, receive: Receive) -> Reply:
        path = scope["path"]
        if (cleaned := _clean_path(path)) is not None:
            return self._redirect(cleaned, scope)
        if _TOKEN_PATH.match(path):
            return await self._answer_token(scope)
        if path.startswith(_READY_PATH):
            _log.info("received readyz request", extra={"uri": path})
            return responses.READY
        return await self._forward(scope, receive)

    async def _answer_token(self, scope: Scope) -> Reply:
        """Answer a token request; every failure becomes an error response."""
        reply, outcome = await self._token_reply(scope)
        self._metrics.requests[outcome] += 1
        return Reply(reply.status, (*reply.headers, self._server), reply.body)

    async def _token_reply(self, scope: Scope) -> tuple[Reply, str]:
        if self._strict and (refusal := _refuse(scope)) is not None:
            return refusal, "refused"
        query_text = scope["query_string"].decode("latin-1")
        _log.info("received token request", extra={"method": scope["method"], "uri": scope["path"]})
        try:
            query = parse_token_query(query_text, self._client_id)
        except BadTokenQuery as exc:
            return responses.query_error(exc, imds_errors=self._imds_errors), "bad_request"
        return await self._acquire(query)

    async def _acquire(self, query: TokenQuery) -> tuple[Reply, str]:
        key = (query.client_id, query.scope)
        outcome = "cached"
        token = self._cache.cached(key)
        if token is None:
            outcome = "acquired"
            try:
                token = await self._cache.get(key)
            except TokenNotAcquired as exc:
                return responses.token_error(exc, imds_errors=self._imds_errors), "failed"
        _log.info(
            "successfully acquired token",
            extra={"client_id": query.client_id, "resource": query.resource, "from": outcome},
        )
        return responses.token_reply(query, token, self._clock()), outcome

    async def _forward(self, scope: Scope, receive: Receive) -> Reply:
        try:
            body = await read_body(receive, _MAX_BODY_BYTES)
        except BodyTooLarge as exc:
            return responses.text_error(413, exc.message)
        query = scope["query_string"].decode("latin-1")
        target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        reply = await self._forwarder.forward(scope["method"], target, scope["headers"], body)
        _log.info("received response from IMDS", extra={"status": reply.status})
        self._metrics.requests["forwarded"] += 1
        return reply

    def _redirect(self, path: str, scope: Scope) -> Reply:
        query = scope["query_string"]
        location = quote(path).encode() + (b"?" + query if query else b"")
        return Reply(301, ((b"location", location),), b"")


def _refuse(scope: Scope) -> Reply | None:
    """Refuse a request without the header, as IMDS does: a redirect to the sidecar does not add it."""
    if (header(scope, b"metadata") or "").lower() != "true":
        return responses.query_error(BadTokenQuery(_NO_METADATA_HEADER), imds_errors=True)
    if header(scope, b"x-forwarded-for") is not None:
        return responses.query_error(BadTokenQuery(_FORWARDED), imds_errors=True)
    return None


def _clean_path(path: str) -> str | None:
    """Remove empty and dot segments from a path; return None if there are none."""
    if "//" not in path and "/." not in path:
        return None
    cleaned = "/" + posixpath.normpath(path).lstrip("/")
    if path.endswith("/") and cleaned != "/":
        cleaned += "/"
    return cleaned if cleaned != path else None


def _content_length(reply: Reply) -> tuple[bytes, bytes]:
    return b"content-length", str(len(reply.body)).encode()
