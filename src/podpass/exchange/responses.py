"""Answers for programs that are the same wherever they are given, and what a fault becomes as one of them."""

import logging
import math

from podpass.database import DatabaseFailed
from podpass.exchange import token_request
from podpass.exchange.errors.catalogue import Refused
from podpass.exchange.metrics import THROTTLED
from podpass.exchange.origins import Origins
from podpass.exchange.throttling import is_throttled
from podpass.exchange.token_request import Facts
from podpass.http.server import Headers, Reply

_log = logging.getLogger(__name__)

JSON: Headers = (
    (b"content-type", b"application/json; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
)
# No Strict-Transport-Security: on localhost a browser would apply it to every port of the machine.
PRIVATE: Headers = (
    (b"content-type", b"application/json; charset=utf-8"),
    (b"cache-control", b"no-store, no-cache"),
    (b"pragma", b"no-cache"),
    (b"expires", b"-1"),
    (b"p3p", b'CP="DSP CUR OTPi IND OTRi ONL FIN"'),
    (b"x-content-type-options", b"nosniff"),
)
TOLD = logging.NOTSET


def not_allowed(*methods: str) -> Reply:
    """Refuse a method, and name those that are not refused."""
    allow = (b"allow", ", ".join(methods).encode())
    return Reply(405, (allow, *JSON), b'{"error":"method_not_allowed"}')


def not_found() -> Reply:
    """Tell that nothing has this path."""
    return Reply(404, JSON, b'{"error":"not_found"}')


def refusal(exc: Exception, facts: Facts) -> tuple[Refused, int]:
    """Say as a refusal what went wrong, and how loud the log is to be; the cause goes into `facts`.

    Shapes:  a level of TOLD says that a bug has had its line already, with its traceback.
    """
    if isinstance(exc, Refused):
        outcome = THROTTLED if is_throttled(exc) else exc.entry.name
        facts |= {"outcome": outcome, "cause": exc.message}
        return exc, logging.INFO
    if isinstance(exc, DatabaseFailed):
        unread = Refused(90033)
        facts |= {"outcome": unread.entry.name, **exc.facts}
        return unread, logging.ERROR
    _log.error("request_failed", exc_info=exc, extra={"stage": "exchange", **facts})
    failure = Refused(50000)
    facts["outcome"] = failure.entry.name
    return failure, TOLD


def retry_after(exc: Exception) -> Headers:
    """Say when to ask again, where that may help."""
    if isinstance(exc, DatabaseFailed):
        seconds: float | None = exc.again_seconds
    else:
        seconds = exc.retry_seconds if isinstance(exc, Refused) else None
    if seconds is None:
        return ()
    return ((b"retry-after", b"%d" % max(1, math.ceil(seconds))),)


def refused_body(
    refused: Refused, origins: Origins, trace: str, correlation: str, now: float
) -> bytes:
    """Write a refusal, with the page that explains it."""
    return token_request.error_body(
        refused, login=origins.pages, trace_id=trace, correlation_id=correlation, now=now
    )


def ids(headers: Headers, trace: str, correlation: str) -> Headers:
    """Add the ids that tie an answer to the log."""
    return (
        *headers,
        (b"x-ms-request-id", trace.encode()),
        (b"client-request-id", correlation.encode()),
    )
