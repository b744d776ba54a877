"""Whether the webhook's own port speaks TLS with the very certificate that it is meant to serve.

Asked as an API server would: over TCP, from outside the server. What is meant to be served is found by a
handshake in memory with the same context, so whoever keeps certificates need not tell.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator

from podpass.tasks import beside

LOOK_SECONDS = 2.0
_PATIENCE_SECONDS = 5.0
_EVERY_INTERFACE = ("0.0.0.0", "::")  # noqa: S104 compared, not bound
_STEPS = 8


class OwnPort:
    """One's own port, looked at from outside every other moment."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        host, self._port = sock.getsockname()[:2]
        self._host = "127.0.0.1" if host in _EVERY_INTERFACE else host
        self._context = context
        self._trouble = f"port {self._port} has not been asked yet"

    def trouble(self) -> str:
        """Say why no handshake succeeded when it was last tried; empty when one did."""
        return self._trouble

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look for as long as the context lasts, once before it begins."""
        self._trouble = await self._look()
        async with beside(self._watch(), "own port"):
            yield

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._trouble = await self._look()

    async def _look(self) -> str:
        before = served(self._context)
        if before is None:
            return "there is no certificate with which a handshake would succeed"
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                found = await _shown(self._host, self._port)
        except (OSError, TimeoutError) as exc:  # ssl.SSLError is an OSError
            return f"no TLS handshake with the own port {self._port}: {type(exc).__name__}"
        # It may have been replaced between the two.
        if found not in (before, served(self._context)):
            return f"port {self._port} shows another certificate than this process serves"
        return ""


def served(context: ssl.SSLContext) -> bytes | None:
    """Give the certificate (DER) that a server context shows; None if no handshake succeeds with it."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = _anyone().wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    try:
        for step in range(_STEPS):
            with contextlib.suppress(ssl.SSLWantReadError):
                (server if step % 2 else client).do_handshake()
        return client.getpeercert(binary_form=True)
    except (ssl.SSLError, ValueError):
        return None


async def _shown(host: str, port: int) -> bytes | None:
    _, writer = await asyncio.open_connection(host, port, ssl=_anyone())
    try:
        found: bytes | None = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return found
    finally:
        writer.transport.abort()


def _anyone() -> ssl.SSLContext:
    """Make a client that trusts whatever it is shown: it looks, and sends nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
