"""Serve the probes, with the reason of a failure.

Paths and queries are those of azure-workload-identity: `/healthz` and `/readyz`, `?verbose`, `?exclude=NAME`,
`/readyz/NAME`. There are two differences. Liveness checks only the process itself, because a restart fixes
neither a missing certificate nor an unavailable API server. And the first line of the response contains the
reason.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from podpass.http.server import App, Receive, Scope, Send, respond
from podpass.tasks import background_task

CHECK_SECONDS = 2.0
_TIMEOUT_SECONDS = 5.0
_ALL_INTERFACES = ("0.0.0.0", "::")  # noqa: S104 compared, not bound
_MAX_STEPS = 8


class PortCheck:
    """Checks periodically that the webhook's own port completes TLS handshakes with the expected certificate.

    The check connects over TCP, like an API server. A handshake in memory with the same TLS context shows the
    expected certificate, so the check is independent of the source of the certificate.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        host, self._port = sock.getsockname()[:2]
        self._host = "127.0.0.1" if host in _ALL_INTERFACES else host
        self._context = context
        self._reason = f"port {self._port} has not been checked yet"

    def not_ready_reason(self) -> str:
        """Return why the last handshake failed, or an empty text."""
        return self._reason

    @contextlib.asynccontextmanager
    async def checking(self) -> AsyncIterator[None]:
        """Check once, then periodically until the context ends."""
        self._reason = await self._check()
        async with background_task(self._check_periodically(), "port check"):
            yield

    async def _check_periodically(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            self._reason = await self._check()

    async def _check(self) -> str:
        before = read_served_certificate(self._context)
        if before is None:
            return "there is no certificate for a handshake"
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                found = await _read_presented_certificate(self._host, self._port)
        except (OSError, TimeoutError) as exc:  # ssl.SSLError is an OSError
            return f"the TLS handshake with the own port {self._port} failed: {type(exc).__name__}"
        # The certificate may have been replaced during the check.
        if found not in (before, read_served_certificate(self._context)):
            return f"port {self._port} presents another certificate than that of this process"
        return ""


def read_served_certificate(context: ssl.SSLContext) -> bytes | None:
    """Return the certificate (DER) that a server context presents; None if a handshake fails."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = _create_unverified_context().wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    try:
        for step in range(_MAX_STEPS):
            with contextlib.suppress(ssl.SSLWantReadError):
                (server if step % 2 else client).do_handshake()
        return client.getpeercert(binary_form=True)
    except (ssl.SSLError, ValueError):
        return None


async def _read_presented_certificate(host: str, port: int) -> bytes | None:
    _, writer = await asyncio.open_connection(host, port, ssl=_create_unverified_context())
    try:
        found: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return found
    finally:
        writer.transport.abort()


def _create_unverified_context() -> ssl.SSLContext:
    """Create a client context that accepts any certificate; the client sends no data."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


Check = Callable[[], str]
"""Returns why a check fails, or an empty text."""

_TEXT = ((b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff"))
_OK, _FAILED, _UNKNOWN, _NOT_ALLOWED = 200, 500, 404, 405


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One probe and its checks, in the order of the response."""

    name: str
    checks: Mapping[str, Check]

    def run_checks(self) -> dict[str, str]:
        """Run every check; return the reason of each, empty if it succeeds."""
        return {name: check() for name, check in self.checks.items()}

    def not_ready_reason(self) -> str:
        """Return the first reason, or an empty text."""
        return next((reason for reason in self.run_checks().values() if reason), "")


def answer(probe: Probe, rest: str, query: str) -> tuple[int, str]:
    """Return status and body for a request to a probe.

    `rest` is the path after the probe's own: empty, or the name of a check. In azure-workload-identity, a
    probe has one check with the probe's name; here that name means all checks.
    """
    params = parse_qs(query, keep_blank_values=True)
    if rest in ("", probe.name):
        return _run_all(probe, set(params.get("exclude", ())), verbose="verbose" in params)
    if rest not in probe.checks:
        return (
            _UNKNOWN,
            f"no check has the name {rest!r}; the checks are {', '.join(probe.checks)}\n",
        )
    reason = probe.checks[rest]()
    return (_FAILED, f"internal server error: {reason}\n") if reason else (_OK, "ok")


def _run_all(probe: Probe, excluded: set[str], *, verbose: bool) -> tuple[int, str]:
    if probe.name in excluded:
        excluded = set(probe.checks)
    found = probe.run_checks()
    failed = [reason for name, reason in found.items() if reason and name not in excluded]
    if not failed and not verbose:
        return _OK, "ok"
    lines = [*failed[:1], *_format_checks(found, excluded)]
    lines.append(f"{probe.name} check {'failed' if failed else 'passed'}")
    return (_FAILED if failed else _OK), "\n".join(lines) + "\n"


def _format_checks(found: Mapping[str, str], excluded: set[str]) -> Iterator[str]:
    for name, reason in found.items():
        if name in excluded:
            yield f"[+]{name} excluded: ok"
        else:
            yield f"[-]{name} failed: {reason}" if reason else f"[+]{name} ok"
    if unknown := sorted(excluded - set(found)):
        yield f"warn: no check to exclude has the name {', '.join(unknown)}"


def create_app(*probes: Probe) -> App:
    """Create the application that serves the probes."""
    known = {probe.name: probe for probe in probes}

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        name, _, rest = scope["path"].strip("/").partition("/")
        if scope["method"] not in ("GET", "HEAD"):
            await respond(send, _NOT_ALLOWED, b"", ((b"allow", b"GET, HEAD"),))
        elif name not in known:
            await respond(send, _UNKNOWN, b"not found\n", _TEXT)
        else:
            query = scope["query_string"].decode("latin-1")
            status, text = answer(known[name], rest, query)
            await respond(send, status, text.encode(), _TEXT)

    return app
