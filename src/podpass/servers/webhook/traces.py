"""Export a span for each admission response by OTLP over HTTP in JSON; disabled without an endpoint.

A collector accepts JSON as well as protobuf, and the libraries for protobuf need more memory than the
complete ServiceAccount cache. An API server that traces sends `traceparent`, so the span is a child of the
span of the pod's request. While the collector is unavailable, spans are lost, but pods are admitted as usual.
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
from podpass.admission.metrics_reasons import MetricsRecorder
from podpass.clock import Clock
from podpass.http.server import App, Receive, Scope, Send, header
from podpass.tasks import background_task

_log = logging.getLogger(__name__)

MAX_QUEUED, _MAX_BATCH = 4096, 512
_EVERY_SECONDS = 5.0
_TIMEOUT = aiohttp.ClientTimeout(total=10)
# W3C Trace Context, version 00; without a valid header the span begins a new trace.
_PARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_SERVER, _FAILED = 2, 2  # the values of SPAN_KIND_SERVER and STATUS_CODE_ERROR
_parent: ContextVar[str] = ContextVar("traceparent", default="")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One admission response.

    Units: `began` in seconds since the epoch.
    """

    parent: str
    began: float
    seconds: float
    outcome: str
    reason: str
    namespace: str


class TraceExporter:
    """Queues spans and exports them; a MetricsRecorder that also calls another MetricsRecorder."""

    def __init__(self, endpoint: str, metrics: MetricsRecorder, clock: Clock) -> None:
        self._url = endpoint.rstrip("/") + "/v1/traces"
        self._metrics = metrics
        self._clock = clock
        self._waiting: deque[Span] = deque(maxlen=MAX_QUEUED)
        self._is_failing = False

    def __call__(self, outcome: str, reason: str, namespace: str, seconds: float) -> None:
        self._metrics(outcome, reason, namespace, seconds)
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

    def wrap(self, app: App) -> App:
        """Wrap an application so that spans get the parent of the request's `traceparent` header."""

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            _parent.set(header(scope, b"traceparent") or "")
            await app(scope, receive, send)

        return traced

    @contextlib.asynccontextmanager
    async def exporting(self) -> AsyncIterator[None]:
        """Export spans until the context ends, then export the remaining ones."""
        tls = ssl.create_default_context() if self._url.startswith("https:") else True
        connector = aiohttp.TCPConnector(ssl=tls)
        async with aiohttp.ClientSession(timeout=_TIMEOUT, connector=connector) as session:
            try:
                async with background_task(self._export_periodically(session), "traces"):
                    yield
            finally:
                await self._export(session)

    async def _export_periodically(self, session: aiohttp.ClientSession) -> None:
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            while await self._export(session):
                pass

    async def _export(self, session: aiohttp.ClientSession) -> bool:
        """Export one batch; return whether more spans wait and the collector accepted this batch."""
        count = min(len(self._waiting), _MAX_BATCH)
        spans = [self._waiting.popleft() for _ in range(count)]
        if not (encoded := [each for span in spans if (each := _encode_span(span))]):
            return bool(self._waiting)
        body = orjson.dumps(_build_request(encoded))
        headers = {"content-type": "application/json"}
        try:
            async with session.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                cause = "" if answer.status < 300 else f"status {answer.status}"
        except (aiohttp.ClientError, OSError, TimeoutError) as exc:
            cause = type(exc).__name__
        if cause and not self._is_failing:
            _log.warning("trace_export_failed", extra={"collector": self._url, "cause": cause})
        self._is_failing = bool(cause)
        return not cause and bool(self._waiting)


def _encode_span(span: Span) -> Json | None:
    """Encode a span for OTLP; return None if the API server decided not to sample the trace."""
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
        "attributes": _encode_attributes(facts),
        "status": {"code": _FAILED} if span.outcome == "failed" else {},
    }


def _build_request(spans: list[Json]) -> Json:
    service = {"service.name": "podpass-webhook", "service.version": __version__}
    scope = {"name": "podpass.admission", "version": __version__}
    scoped = {"scope": scope, "spans": spans}
    resource = {"attributes": _encode_attributes(service)}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [scoped]}]}


def _encode_attributes(facts: dict[str, str]) -> list[Json]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in facts.items()]
