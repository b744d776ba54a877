"""Rate limiting of requests: the limiter's interface, and the error for a request that exceeds a limit."""

from typing import Protocol

from podpass.exchange.errors import numbers
from podpass.exchange.errors.catalogue import AadstsError
from podpass.http.server import Scope

_TOO_MANY = 429


class RequestLimiter(Protocol):
    """Limits the requests of a client and of an address, as `rate_limits.RateLimiter` does."""

    def acquire(self, source: str, client_id: str) -> float | None: ...
    def on_success(self, source: str, client_id: str) -> None: ...
    def on_rejection(self, source: str) -> None: ...
    def on_extra_work(self, source: str, requests: int) -> None: ...
    def acquire_device_code(self, source: str) -> float | None: ...


def require_no_wait(wait: float | None) -> None:
    """Check that a limiter allowed a request.

    `wait` is None for an allowed request, otherwise the seconds until the request is allowed. Raises
    AadstsError 90055.
    """
    if wait is not None:
        raise too_many_requests(wait)


def too_many_requests(wait: float) -> AadstsError:
    """Return the error for a request that exceeds a limit.

    Units: `wait` in seconds, for the header Retry-After.
    """
    return AadstsError(numbers.TOO_MANY_REQUESTS).with_response(
        step="wire", status=_TOO_MANY, retry_seconds=wait
    )


def is_throttled(refused: AadstsError) -> bool:
    """Return whether a request was refused because of a rate limit."""
    return refused.status == _TOO_MANY


def is_client_error(status: int) -> bool:
    """Return whether a response counts against its address: an error of the client, but not a rate limit."""
    return 400 <= status < 500 and status != _TOO_MANY


def client_address(scope: Scope) -> str:
    """Return the source address of a request."""
    client = scope.get("client")
    return client[0] if client else ""
