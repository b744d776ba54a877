"""Requests over HTTPS: the proxy of the environment, trusted CAs, throttling and retries.

A request is repeated only if that cannot do anything twice: the server asked for it (429, 503), or the method
is idempotent. Redirects are not followed, so a token never reaches another host.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from podpass import __version__
from podpass.http.client import HttpResponse, HttpServer, RequestFailed, choose_proxy, send_request
from podpass.provision.errors import ApiError

Sleep = Callable[[float], Awaitable[None]]
Report = Callable[[str], None]

_MAX_BYTES = 8 * 1024 * 1024
_IDEMPOTENT = frozenset({"GET", "PUT", "DELETE"})
_THROTTLED = frozenset({429, 503})
_BROKEN = frozenset({500, 502, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """How often a request is sent at most, the seconds for one response, and the longest wait between two."""

    attempts: int
    seconds: float
    longest_wait: float = 60.0


PATIENT = RequestLimits(attempts=6, seconds=60.0)
# An instance on the same machine is not overloaded for long: it fails because of its disk or a fault.
LOCAL = RequestLimits(attempts=3, seconds=60.0, longest_wait=5.0)


def ignore(_: str) -> None:
    """Report nothing."""


def header(response: HttpResponse, name: str) -> str:
    """Return the value of a response header, empty if there is none."""
    wanted = name.lower().encode()
    found = (value for key, value in response.headers if key.lower() == wanted)
    return next(found, b"").decode("latin-1")


@dataclass(kw_only=True)
class AzureConnection:
    """How requests reach a service, and how they wait.

    `agent` is the product in the header User-Agent. `ca_file` replaces the CAs of the system. `sleep` and
    `report` are for waits: the pause itself, and a line about its reason. `trace` receives a line for each
    response.
    """

    agent: str = "podpass"
    https_proxy: str = field(default="", repr=False)
    no_proxy: str = ""
    ca_file: Path | None = None
    sleep: Sleep = asyncio.sleep
    report: Report = ignore
    trace: Report = ignore
    limits: RequestLimits = PATIENT
    _tls: ssl.SSLContext | None = field(default=None, repr=False)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str], **how: Any) -> Self:
        """Create a connection through the proxy that the environment names."""
        return cls(
            https_proxy=environ.get("https_proxy") or environ.get("HTTPS_PROXY") or "",
            no_proxy=environ.get("no_proxy") or environ.get("NO_PROXY") or "",
            **how,
        )

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> HttpResponse:
        """Send a request, and repeat it while the service is overloaded.

        `url` is an https URL; any status that is not repeated is returned. Raises ApiError if the service
        does not respond.
        """
        host = urlsplit(url).hostname or ""
        for attempt in range(1, self.limits.attempts + 1):
            try:
                response = await self._send_once(method, url, headers or {}, body)
            except ApiError as exc:
                if method not in _IDEMPOTENT or attempt >= self.limits.attempts:
                    raise
                await self._wait(2.0**attempt, exc.message)
                continue
            repeated = response.status in _THROTTLED or (
                response.status in _BROKEN and method in _IDEMPOTENT
            )
            if not repeated or attempt >= self.limits.attempts:
                return response
            seconds = parse_retry_after(header(response, "retry-after"), 2.0**attempt)
            if seconds > self.limits.longest_wait:
                raise ApiError(
                    f"{host} accepts no request for the next {seconds:.0f} seconds",
                    api_status=response.status,
                )
            await self._wait(seconds, f"{host} returned status {response.status}")
        raise AssertionError("unreachable")

    async def _wait(self, seconds: float, reason: str) -> None:
        self.report(f"{reason}; trying again in {seconds:.0f} seconds")
        await self.sleep(seconds)

    async def _send_once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> HttpResponse:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise ApiError("the address of a request is not an https URL")
        host, port = parts.hostname, parts.port or 443
        server = HttpServer(
            host=host,
            port=port,
            tls=self._context(),
            proxy=choose_proxy(host, port, https_proxy=self.https_proxy, no_proxy=self.no_proxy),
        )
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        all_headers = {"User-Agent": f"{self.agent}/{__version__}", **headers}
        fields = tuple(
            (key.encode(), value.encode("latin-1")) for key, value in all_headers.items()
        )
        try:
            async with asyncio.timeout(self.limits.seconds):
                response = await send_request(
                    server, method, target, fields, body, max_bytes=_MAX_BYTES
                )
        except TimeoutError as exc:
            raise ApiError(
                f"{host} did not respond within {self.limits.seconds:.0f} seconds"
            ) from exc
        except RequestFailed as exc:
            raise ApiError(f"{host} sent no usable response: {exc.message}") from exc
        except OSError as exc:
            raise ApiError(f"{host} cannot be reached: {_cause(exc)}") from exc
        self.trace(f"{method} {host}{parts.path} returned status {response.status}")
        return response

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            # Without a CA file, SSL_CERT_FILE and SSL_CERT_DIR name the CAs, or the system does.
            self._tls = ssl.create_default_context(cafile=self.ca_file and str(self.ca_file))
        return self._tls


def parse_retry_after(text: str, default: float) -> float:
    """Return the seconds of a Retry-After header; `default` for a date or no number."""
    try:
        seconds = float(text)
    except ValueError:
        return default
    return seconds if 0 <= seconds < float("inf") else default


def _cause(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    return f"{type(error).__name__}: {error.strerror or error}"
