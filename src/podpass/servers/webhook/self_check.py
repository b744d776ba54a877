"""Check that the webhook's own port completes TLS handshakes with the expected certificate.

The check connects over TCP, like an API server. A handshake in memory with the same TLS context shows the
expected certificate, so the check is independent of the source of the certificate.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator

from podpass.tasks import background_task

CHECK_SECONDS = 2.0
_TIMEOUT_SECONDS = 5.0
_ALL_INTERFACES = ("0.0.0.0", "::")  # noqa: S104 compared, not bound
_MAX_STEPS = 8


class PortCheck:
    """Checks the webhook's own port periodically."""

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
