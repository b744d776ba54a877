"""A span for each verdict, sent to a collector by OTLP over HTTP as JSON; off unless an endpoint is named.

JSON, because the collector takes it as well as protobuf, and the libraries that write the latter would cost
more memory than the whole cache of accounts. An API server that traces sends `traceparent`, so a verdict
stands under the request for its pod. A collector that is away costs spans, never a pod.
"""

import asyncio
import contextlib
import logging
import os
import re
import ssl
from collections import deque
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from podpass import __version__
from podpass.admission.metrics_reasons import Observe
from podpass.clock import Clock
from podpass.http.server import App, Receive, Scope, Send, header
from podpass.tasks import beside

_log = logging.getLogger(__name__)

MAX_WAITING, _MAX_SENT = 4096, 512
_EVERY_SECONDS = 5.0
_TIMEOUT = aiohttp.ClientTimeout(total=10)
# W3C Trace Context, version 00; what is no such header begins a trace of its own.
_PARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SERVER, _FAILED = 2, 2  # the numbers of SPAN_KIND_SERVER and STATUS_CODE_ERROR
_parent: ContextVar[str] = ContextVar("traceparent", default="")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One verdict.

    Units:   `began` in seconds since the epoch.
    """

    parent: str
    began: float
    seconds: float
    outcome: str
    reason: str
    namespace: str


class Traces:
    """Spans that wait to be sent; it is an Observe, and passes on to the one it was given."""

    def __init__(self, endpoint: str, observe: Observe, clock: Clock) -> None:
        self._url = endpoint.rstrip("/") + "/v1/traces"
        self._observe = observe
        self._clock = clock
        self._waiting: deque[Span] = deque(maxlen=MAX_WAITING)
        self._away = False

    def __call__(self, outcome: str, reason: str, namespace: str, seconds: float) -> None:
        self._observe(outcome, reason, namespace, seconds)
        self._waiting.append(
            Span(
                parent=_parent.get(),
                began=self._clock() - seconds,
                seconds=seconds,
                outcome=outcome,
                reason=reason,
                namespace=namespace,
            )
        )

    def around(self, app: App) -> App:
        """Make an application that knows whose request a verdict belongs to."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            _parent.set(header(scope, b"traceparent") or "")
            await app(scope, receive, send)

        return traced

    @contextlib.asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Send for as long as the context lasts, and what is left at its end."""
        tls = ssl.create_default_context() if self._url.startswith("https:") else True
        connector = aiohttp.TCPConnector(ssl=tls)
        async with aiohttp.ClientSession(timeout=_TIMEOUT, connector=connector) as session:
            try:
                async with beside(self._send_on(session), "traces"):
                    yield
            finally:
                await self._send(session)

    async def _send_on(self, session: aiohttp.ClientSession) -> None:
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            while await self._send(session):
                pass

    async def _send(self, session: aiohttp.ClientSession) -> bool:
        """Send some of what waits, and tell whether there is more to send now."""
        count = min(len(self._waiting), _MAX_SENT)
        spans = [self._waiting.popleft() for _ in range(count)]
        if not (written := [one for span in spans if (one := _written(span))]):
            return bool(self._waiting)
        body = orjson.dumps(_request(written))
        headers = {"content-type": "application/json"}
        try:
            async with session.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                cause = "" if answer.status < 300 else f"it answered {answer.status}"
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            cause = type(exc).__name__
        self._tell(cause)
        return not cause and bool(self._waiting)

    def _tell(self, cause: str) -> None:
        if cause and not self._away:
            _log.warning("traces_not_sent", extra={"collector": self._url, "cause": cause})
        self._away = bool(cause)


def _written(span: Span) -> Json | None:
    """Write a span as OTLP does; None where whoever asks has decided against tracing."""
    parent = _PARENT.fullmatch(span.parent)
    if parent and not int(parent[3], 16) & 1:
        return None
    facts = {"podpass.outcome": span.outcome, "k8s.namespace.name": span.namespace}
    if span.reason:
        facts["podpass.reason"] = span.reason
    return {
        "traceId": parent[1] if parent else os.urandom(16).hex(),
        "spanId": os.urandom(8).hex(),
        **({"parentSpanId": parent[2]} if parent else {}),
        "name": "admission",
        "kind": _SERVER,
        "startTimeUnixNano": str(int(span.began * 1e9)),
        "endTimeUnixNano": str(int((span.began + span.seconds) * 1e9)),
        "attributes": _attributes(facts),
        "status": {"code": _FAILED} if span.outcome == "failed" else {},
    }


def _request(spans: list[Json]) -> Json:
    service = {"service.name": "podpass-webhook", "service.version": __version__}
    scope = {"name": "podpass.admission", "version": __version__}
    scoped = {"scope": scope, "spans": spans}
    resource = {"attributes": _attributes(service)}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [scoped]}]}


def _attributes(facts: dict[str, str]) -> list[Json]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in facts.items()]
