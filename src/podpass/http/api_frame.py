"""The frame around every request of a JSON API: request IDs, the log line, error responses, common headers.

Each API subclasses `ApiFrame`. The subclass names its headers, its log events and its errors.
"""

import logging
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from podpass import log
from podpass.http.server import (
    BodyRefused,
    Headers,
    Receive,
    Scope,
    Send,
    header,
    respond,
    validate_request_id,
)

INTERNAL_ERROR = "internal_error"
_SEE_TRACEBACK = "podpass failed; see the traceback in its log"
ResponseT = TypeVar("ResponseT")
ProgressT = TypeVar("ProgressT", bound="RequestProgress")


@dataclass(slots=True, kw_only=True)
class RequestProgress:
    """The state of a request, for the response headers and the log.

    `client_request_id` is None when the client sends no valid ID; `checked` lists the checks that passed;
    `facts` are fields of the log line; `headers` are response headers of an error.
    """

    request_id: str
    client_request_id: str | None
    asked: str
    began: float = field(default_factory=time.perf_counter)
    checked: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    headers: Headers = ()

    @property
    def correlation_id(self) -> str:
        return self.client_request_id or self.request_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorOutcome(Generic[ResponseT]):
    """The response to an error that the API expects, and its fields in the log."""

    response: ResponseT
    outcome: str
    facts: Mapping[str, object] = field(default_factory=dict)
    level: int = logging.INFO


@dataclass(frozen=True, slots=True)
class EncodedResponse:
    """A response as the HTTP server sends it."""

    status: int
    body: bytes
    headers: Headers


class ApiFrame(ABC, Generic[ResponseT, ProgressT]):
    """One API: runs each request, maps errors to responses, and logs one line for each request."""

    logger: ClassVar[logging.Logger]
    stage: ClassVar[str]
    answered_event: ClassVar[str]
    failed_event: ClassVar[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        progress = self.begin(scope)
        log.correlation_id.set(progress.correlation_id)
        response = await self.run(self.serve(scope, receive, progress), progress)
        encoded = self.encode(scope, response, progress)
        await respond(send, encoded.status, encoded.body, encoded.headers)

    async def run(self, serving: Awaitable[ResponseT], progress: ProgressT) -> ResponseT:
        """Return the response to a request, also when it fails, and log the request."""
        try:
            response = await serving
        except Exception as exc:
            if isinstance(exc, BodyRefused):
                progress.headers = exc.headers
            expected = self.error_outcome(exc, progress)
            if expected is None:
                extra = {"stage": self.stage, **progress.facts}
                self.logger.exception(self.failed_event, extra=extra)
                self._log_request(progress, INTERNAL_ERROR, {"cause": _SEE_TRACEBACK})
                return self.internal_error(progress)
            self._log_request(progress, expected.outcome, expected.facts, expected.level)
            return expected.response
        self._log_request(progress, "ok", self.success_facts(response))
        return response

    def _log_request(
        self,
        progress: ProgressT,
        outcome: str,
        facts: Mapping[str, object],
        level: int = logging.INFO,
    ) -> None:
        log.hop(
            self.logger,
            self.answered_event,
            level=level,
            stage=self.stage,
            asked=progress.asked,
            checked=progress.checked,
            seconds=time.perf_counter() - progress.began,
            outcome=outcome,
            **{**progress.facts, **facts},
        )

    @abstractmethod
    def begin(self, scope: Scope) -> ProgressT:
        """Return the progress of a new request."""

    @abstractmethod
    async def serve(self, scope: Scope, receive: Receive, progress: ProgressT) -> ResponseT:
        """Run a request and return its response, or raise."""

    @abstractmethod
    def error_outcome(self, exc: Exception, progress: ProgressT) -> ErrorOutcome[ResponseT] | None:
        """Map an error to its response; None for an unexpected error."""

    @abstractmethod
    def internal_error(self, progress: ProgressT) -> ResponseT:
        """Return the response to an unexpected error."""

    @abstractmethod
    def encode(self, scope: Scope, response: ResponseT, progress: ProgressT) -> EncodedResponse:
        """Serialize a response."""

    def success_facts(self, response: ResponseT) -> Mapping[str, object]:  # noqa: ARG002
        """Return the log fields of a successful response."""
        return {}


def request_ids(scope: Scope, *client_headers: bytes) -> dict[str, Any]:
    """Return a new request ID, the client's own, and its address, as arguments of `RequestProgress`.

    The first of `client_headers` that the request has is read.
    """
    given = next(filter(None, (header(scope, name) for name in client_headers)), None)
    client = scope.get("client")
    return {
        "request_id": str(uuid.uuid4()),
        "client_request_id": validate_request_id(given),
        "facts": {"source": client[0]} if client else {},
    }


def common_headers(progress: RequestProgress, *request_id_headers: bytes) -> Headers:
    """Return the headers of every response: no caching, no sniffing, the request ID, those of an error."""
    return [
        (b"cache-control", b"no-cache"),
        (b"x-content-type-options", b"nosniff"),
        *((name, progress.request_id.encode()) for name in request_id_headers),
        *progress.headers,
    ]
