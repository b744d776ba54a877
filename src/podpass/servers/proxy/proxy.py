"""Run `podpass proxy`: listen on loopback, answer token requests, and stop gracefully."""

import asyncio
import logging
import socket
from contextlib import AsyncExitStack
from pathlib import Path

from podpass import __version__, log
from podpass.clock import Clock, system
from podpass.http.limits import PROBE_LIMITS
from podpass.http.server import App, Drain, Limits, Receive, Scope, Send, respond, serving
from podpass.imds.app import ImdsApp
from podpass.imds.authority import Authority, Binding
from podpass.imds.entra_client import EntraClient
from podpass.imds.forwarder import Forwarder
from podpass.imds.metrics import ProxyMetrics
from podpass.imds.token_cache import TokenCache
from podpass.servers.file_limits import disable_core_dumps
from podpass.servers.listen import listen, listen_on_loopback
from podpass.servers.shutdown_signal import ShutdownSignal
from podpass.settings.proxy import ProxySettings
from podpass.settings.reading import DISABLED_ADDRESS

_log = logging.getLogger(__name__)

_LEVELS = {"": "warning", "info": "info", "debug": "debug", "trace": "debug", "all": "debug"}
_SERVER = f"azure-workload-identity/proxy/v{__version__} (podpass)"
LIMITS = Limits(connections=1024, head_bytes=16 * 1024, head_seconds=5.0)
_DRAIN = Drain(keepalive_seconds=0.5, grace_seconds=5.0)
_METRICS_TYPE = ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),)


def run(settings: ProxySettings, clock: Clock = system) -> None:
    """Run the sidecar until a termination signal. Raises SettingsError, PortInUse, before anything starts."""
    import uvloop

    authority = find_authority(settings)
    disable_core_dumps()
    log.configure(level=_LEVELS[settings.log_level])
    sock = listen_on_loopback("--proxy-port", settings.proxy_port, address=settings.proxy_address)
    metrics_sock = None
    if settings.metrics_addr != DISABLED_ADDRESS:
        metrics_sock = listen("--metrics-addr", settings.metrics_addr)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, authority, sock, metrics_sock, clock))


def find_authority(settings: ProxySettings) -> Authority:
    """Return the authority that the environment of the pod names. Raises SettingsError."""
    binding = None
    if settings.token_proxy:
        binding = Binding(
            url=settings.token_proxy,
            sni=settings.sni_name,
            ca_file=settings.ca_file,
            ca_data=settings.ca_data,
        )
    return Authority.from_urls(
        settings.authority_host,
        settings.tenant_id,
        Path(settings.token_file),
        binding,
        https_proxy=settings.https_proxy,
        no_proxy=settings.no_proxy,
    )


async def _serve(
    settings: ProxySettings,
    authority: Authority,
    sock: socket.socket,
    metrics_sock: socket.socket | None,
    clock: Clock,
) -> None:
    cache = TokenCache(EntraClient(authority, clock).request_token, clock)
    metrics = ProxyMetrics(cache, clock)
    app = ImdsApp(
        cache,
        Forwarder(is_enabled=settings.forward),
        metrics,
        clock,
        client_id=settings.client_id,
        strict=settings.strict,
        imds_errors=settings.imds_errors,
        server=_SERVER,
    )
    async with AsyncExitStack() as stack:
        shutdown = stack.enter_context(ShutdownSignal())
        stack.push_async_callback(cache.close)
        if metrics_sock is not None:
            await stack.enter_async_context(
                serving(_metrics_app(metrics), metrics_sock, limits=PROBE_LIMITS)
            )
        await stack.enter_async_context(serving(app, sock, limits=LIMITS, drain=_DRAIN))
        host, port = sock.getsockname()[:2]
        _log.warning(
            "starting the proxy server", extra={"host": host, "port": port, "userAgent": _SERVER}
        )
        await shutdown.requested.wait()
        _log.warning("received shutdown signal")


def _metrics_app(metrics: ProxyMetrics) -> App:
    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["path"] == "/metrics":
            await respond(send, 200, metrics.render(), _METRICS_TYPE)
        else:
            await respond(send, 404, b"not found\n", _METRICS_TYPE)

    return app
