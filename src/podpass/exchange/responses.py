"""JSON responses that all endpoints share, and the conversion of exceptions into error responses."""

import logging
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from podpass.database import DatabaseFailed
from podpass.exchange import token_request
from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.exchange.metrics import THROTTLED
from podpass.exchange.origins import Origins
from podpass.exchange.throttling import is_throttled
from podpass.http.server import BodyRefused, Headers, Reply

_log = logging.getLogger(__name__)

JSON_HEADERS: Headers = (
    (b"content-type", b"application/json; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)
# Without Strict-Transport-Security: on localhost, a browser would apply it to every port of the machine.
NO_STORE_HEADERS: Headers = (
    (b"content-type", b"application/json; charset=utf-8"),
    (b"cache-control", b"no-store, no-cache"),
    (b"pragma", b"no-cache"),
    (b"expires", b"-1"),
    (b"p3p", b'CP="DSP CUR OTPi IND OTRi ONL FIN"'),
    (b"x-content-type-options", b"nosniff"),
)
ALREADY_LOGGED = logging.NOTSET


def not_allowed(*methods: str) -> Reply:
    """Return 405, with the allowed methods."""
    allow = (b"allow", ", ".join(methods).encode())
    return Reply(405, (allow, *JSON_HEADERS), b'{"error":"method_not_allowed"}')


def not_found() -> Reply:
    """Return 404."""
    return Reply(404, JSON_HEADERS, b'{"error":"not_found"}')


class LoggedRefusal(NamedTuple):
    """The error to return, and the level and the outcome of its log line.

    The level ALREADY_LOGGED means that a bug was logged, with its traceback.
    """

    error: AadstsError
    level: int
    fields: Mapping[str, Any]


def as_refusal(exc: Exception, known: Mapping[str, Any]) -> LoggedRefusal:
    """Convert an exception into a refusal; log a bug, with the fields that are known of the request."""
    if isinstance(exc, AadstsError):
        outcome = THROTTLED if is_throttled(exc) else exc.entry.name
        return LoggedRefusal(
            exc, logging.INFO, {"outcome": outcome, "cause": exc.message, **exc.record}
        )
    if isinstance(exc, DatabaseFailed):
        unavailable = AadstsError(numbers.DIRECTORY_UNAVAILABLE)
        fields = {"outcome": unavailable.entry.name, **exc.facts}
        return LoggedRefusal(unavailable, logging.ERROR, fields)
    _log.error("request_failed", exc_info=exc, extra={"stage": "exchange", **known})
    failure = AadstsError(numbers.INTERNAL_ERROR)
    cause = "podpass failed; see the traceback in its log"
    return LoggedRefusal(failure, ALREADY_LOGGED, {"outcome": failure.entry.name, "cause": cause})


def error_headers(exc: Exception) -> Headers:
    """Return the headers that belong to an error: when to retry, or how to send the body."""
    body = exc.__cause__.headers if isinstance(exc.__cause__, BodyRefused) else ()
    return (*retry_after(exc), *body)


def retry_after(exc: Exception) -> Headers:
    """Return the header Retry-After, if another attempt may succeed."""
    if isinstance(exc, DatabaseFailed):
        seconds: float | None = exc.retry_after_seconds
    else:
        seconds = exc.retry_seconds if isinstance(exc, AadstsError) else None
    if seconds is None:
        return ()
    return ((b"retry-after", b"%d" % max(1, math.ceil(seconds))),)


def error_body(
    refused: AadstsError, origins: Origins, trace: str, correlation: str, now: float
) -> bytes:
    """Return the JSON body of an error, with the URL of the page that explains it."""
    return token_request.error_body(
        refused, login=origins.pages, trace_id=trace, correlation_id=correlation, now=now
    )


def with_ids(headers: Headers, trace: str, correlation: str) -> Headers:
    """Add the headers with trace ID and correlation ID, which connect a response to the log."""
    return (
        *headers,
        (b"x-ms-request-id", trace.encode()),
        (b"client-request-id", correlation.encode()),
    )
