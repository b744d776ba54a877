"""The sidecar's application: routes, the token request, forwarding, and one log line for each request.

Paths match as in azure-workload-identity: a prefix decides, and the first segment may have any case.

    path                                  protocol
    /metadata/identity/oauth2/token       IMDS
    /msi/token                            App Service (header with a secret), Cloud Shell (Metadata: true)
    /readyz                               readiness
    other paths                           forwarded to the machine's metadata service
"""

import logging
import posixpath
import re
import time
from collections.abc import Coroutine
from typing import Any
from urllib.parse import quote

from podpass.clock import Clock
from podpass.http.reply import Reply
from podpass.http.request_validation import Headers
from podpass.http.server import BodyTooLarge, Receive, Scope, Send, header, read_body
from podpass.imds import responses
from podpass.imds.entra_client import TokenNotAcquired
from podpass.imds.forwarder import Forwarder
from podpass.imds.metrics import ProxyMetrics
from podpass.imds.token_cache import TokenCache
from podpass.imds.token_query import BadTokenQuery, TokenQuery, parse_token_query
from podpass.log import hop

_log = logging.getLogger(__name__)

_TOKEN_PATH = re.compile(r"/{1,2}metadata/(?-i:identity/oauth2/token)", re.IGNORECASE)
_MSI_PATH = re.compile(r"/msi/token/?", re.IGNORECASE)
_READY_PATH = "/readyz"
_FORM = "application/x-www-form-urlencoded"
_MAX_BODY_BYTES = 64 * 1024
_NO_BODY_STATUSES = frozenset((204, 304))
_NO_METADATA_HEADER = "Required metadata header not specified"
_NO_MSI_HEADER = (
    "Required header not specified: X-IDENTITY-HEADER or secret (App Service), or Metadata: true"
    " (Cloud Shell)"
)
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

    def fast_path(self, scope: Scope, body: bytes) -> Coroutine[Any, Any, Reply] | None:
        """Return the response to a token request, or None for any other request."""
        if _is_token_path(scope["path"]) and _clean_path(scope["path"]) is None:
            return self._answer_token(scope, body)
        return None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            reply = await self._route(scope, await read_body(receive, _MAX_BODY_BYTES))
        except BodyTooLarge as exc:
            reply = responses.text_error(413, exc.message)
        await send(
            {
                "type": "http.response.start",
                "status": reply.status,
                "headers": [*reply.headers, *_content_length(reply)],
            }
        )
        await send({"type": "http.response.body", "body": reply.body})

    async def _route(self, scope: Scope, body: bytes) -> Reply:
        path = scope["path"]
        if (cleaned := _clean_path(path)) is not None:
            query = scope["query_string"]
            location = quote(cleaned).encode() + (b"?" + query if query else b"")
            return Reply(301, ((b"location", location),), b"")
        if _is_token_path(path):
            return await self._answer_token(scope, body)
        if path.startswith(_READY_PATH):
            _log.info("received readyz request", extra={"uri": path})
            expired = self._cache.status().expired
            return responses.not_ready(expired) if expired else responses.READY
        return await self._forward(scope, body)

    async def _answer_token(self, scope: Scope, body: bytes) -> Reply:
        """Answer a token request; every failure becomes an error response."""
        is_msi = _MSI_PATH.fullmatch(scope["path"]) is not None
        began = time.perf_counter()
        reply, outcome = await self._token_reply(scope, body, began, is_msi=is_msi)
        self._metrics.requests[outcome] += 1
        return Reply(reply.status, (*reply.headers, self._server), reply.body)

    async def _token_reply(
        self, scope: Scope, body: bytes, began: float, *, is_msi: bool
    ) -> tuple[Reply, str]:
        imds_errors = self._imds_errors or is_msi
        if refusal := _refuse(scope, is_strict=self._strict, is_msi=is_msi):
            _log_refused("refused", began, cause=refusal)
            return responses.query_error(BadTokenQuery(refusal), imds_errors=True), "refused"
        if _log.isEnabledFor(logging.INFO):
            _log.info(
                "received token request", extra={"method": scope["method"], "uri": scope["path"]}
            )
        form = body if body and _is_form(scope) else b""
        try:
            query = parse_token_query(
                scope["query_string"].decode("latin-1"), self._client_id, form.decode("latin-1")
            )
        except BadTokenQuery as exc:
            _log_refused("bad_request", began, cause=exc.message)
            return responses.query_error(exc, imds_errors=imds_errors), "bad_request"
        token, outcome = self._cache.cached((query.client_id, query.scope)), "cached"
        if token is None:
            try:
                token, outcome = await self._cache.get((query.client_id, query.scope)), "acquired"
            except TokenNotAcquired as exc:
                code = exc.number or exc.code
                facts = {"cause": exc.message, "code": code, "correlation_id": exc.request_id}
                _log_refused("failed", began, query, **facts)
                return responses.token_error(exc, imds_errors=imds_errors), "failed"
        if _log.isEnabledFor(logging.INFO):
            _log_token(query, outcome, began, token.request_id)
        return responses.token_reply(query, token, self._clock(), names_client=is_msi), outcome

    async def _forward(self, scope: Scope, body: bytes) -> Reply:
        query = scope["query_string"].decode("latin-1")
        target = scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        reply = await self._forwarder.forward(scope["method"], target, scope["headers"], body)
        _log.info("received response from IMDS", extra={"status": reply.status})
        self._metrics.requests["forwarded"] += 1
        return reply


def _log_token(query: TokenQuery, outcome: str, began: float, request_id: str) -> None:
    if query.is_default:
        _log.info("client_id not found in request, defaulting to AZURE_CLIENT_ID")
    hop(
        _log,
        "successfully acquired token",
        stage="imds",
        asked=f"a token for {query.resource}",
        checked=(),
        seconds=time.perf_counter() - began,
        client_id=query.client_id,
        resource=query.resource,
        outcome=outcome,
        correlation_id=request_id,
    )


def _log_refused(outcome: str, began: float, query: TokenQuery | None = None, **facts: str) -> None:
    asked = {} if query is None else {"client_id": query.client_id, "resource": query.resource}
    hop(
        _log,
        "token_request_refused",
        level=logging.WARNING,
        stage="imds",
        asked=f"a token for {query.resource}" if query else "a token",
        checked=(),
        seconds=time.perf_counter() - began,
        outcome=outcome,
        **{**asked, **facts},
    )


def _is_token_path(path: str) -> bool:
    return _TOKEN_PATH.match(path) is not None or _MSI_PATH.fullmatch(path) is not None


def _is_form(scope: Scope) -> bool:
    return (header(scope, b"content-type") or "").partition(";")[0].strip().lower() == _FORM


def _refuse(scope: Scope, *, is_strict: bool, is_msi: bool) -> str:
    """Return why a request is refused, or an empty string; after a redirect, clients add no such header."""
    has_metadata = (header(scope, b"metadata") or "").lower() == "true"
    if is_msi:
        if not (has_metadata or header(scope, b"x-identity-header") or header(scope, b"secret")):
            return _NO_MSI_HEADER
    elif is_strict and not has_metadata:
        return _NO_METADATA_HEADER
    if is_strict and header(scope, b"x-forwarded-for") is not None:
        return _FORWARDED
    return ""


def _clean_path(path: str) -> str | None:
    """Remove empty and dot segments from a path; return None if there are none."""
    if _TOKEN_PATH.match(path):
        # MSAL for Java sends two slashes if a variable names the authority host, and follows no redirect.
        path = "/" + path.lstrip("/")
    if "//" not in path and "/." not in path:
        return None
    cleaned = "/" + posixpath.normpath(path).lstrip("/")
    if path.endswith("/") and cleaned != "/":
        cleaned += "/"
    return cleaned if cleaned != path else None


def _content_length(reply: Reply) -> Headers:
    """Return the header with the length of a body; RFC 9110 forbids it with some statuses."""
    has_own = any(name == b"content-length" for name, _ in reply.headers)
    if has_own or reply.status in _NO_BODY_STATUSES:
        return ()
    return ((b"content-length", str(len(reply.body)).encode()),)
