"""Run `podpass issuer serve`: the two documents of a folder target over HTTP or HTTPS."""

import asyncio
import logging
import socket
from contextlib import AsyncExitStack
from pathlib import Path

from podpass import log
from podpass.assertion.app import create_document_app
from podpass.assertion.publishing import config
from podpass.assertion.publishing.targets import open_target
from podpass.errors import UsageError
from podpass.http.server import App, serving
from podpass.http.tls import ReloadingTls
from podpass.servers.file_limits import shared_limits
from podpass.servers.listen import listen
from podpass.servers.shutdown_signal import ShutdownSignal

_log = logging.getLogger(__name__)

_CERTIFICATE_SECONDS = 60.0


def run(folder: Path, address: str, certificate: Path | None, key: Path | None) -> None:
    """Serve the documents until a termination signal.

    Raises IssuerError, UsageError, PortInUse, before anything starts.
    """
    settings = config.read(folder)
    if not settings.target.startswith("folder:"):
        raise UsageError(
            f"the documents are published to {settings.target}, not to a folder",
            hint="verifiers read them there; `podpass issuer serve` needs a target folder:PATH",
        )
    log.configure()
    target = open_target(settings.target, folder, {})
    app = create_document_app(settings.issuer, lambda path: target.read(path.removeprefix("/")))
    sock = listen("--listen", address)
    asyncio.run(_serve(app, sock, certificate, key))


async def _serve(app: App, sock: socket.socket, certificate: Path | None, key: Path | None) -> None:
    async with AsyncExitStack() as stack:
        shutdown = stack.enter_context(ShutdownSignal())
        context = None
        if certificate is not None and key is not None:
            tls = ReloadingTls(certificate, key)
            await stack.enter_async_context(tls.watching(_CERTIFICATE_SECONDS))
            context = tls.context
        await stack.enter_async_context(serving(app, sock, context, limits=shared_limits()))
        host, port = sock.getsockname()[:2]
        _log.info("issuer_started", extra={"host": host, "port": port})
        await shutdown.requested.wait()
        _log.info("issuer_stopping")
