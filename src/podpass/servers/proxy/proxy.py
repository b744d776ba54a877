"""Run `podpass proxy`: listen on loopback, answer token requests, and stop gracefully."""

import asyncio
import logging
import socket
from contextlib import AsyncExitStack
from pathlib import Path

from podpass import __version__, log
from podpass.clock import Clock, system
from podpass.http.server import App, Drain, Limits, Receive, Scope, Send, bind, respond, serving
from podpass.imds.app import ImdsApp
from podpass.imds.entra_client import Authority, Binding, EntraClient
from podpass.imds.forwarder import Forwarder
from podpass.imds.metrics import ProxyMetrics
from podpass.imds.token_cache import TokenCache
from podpass.servers.file_limits import disable_core_dumps
from podpass.servers.listen import listen
from podpass.servers.shutdown_signal import ShutdownSignal
from podpass.settings.proxy import ProxySettings
from podpass.settings.reading import DISABLED_ADDRESS

_log = logging.getLogger(__name__)

_LEVELS = {"": "warning", "info": "info", "debug": "debug", "trace": "debug", "all": "debug"}
_SERVER = f"azure-workload-identity/proxy/v{__version__} (podpass)"
_LIMITS = Limits(connections=1024, head_bytes=16 * 1024, head_seconds=5.0)
_DRAIN = Drain(keepalive_seconds=0.5, grace_seconds=5.0)
_METRICS_TYPE = ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),)


def run(settings: ProxySettings, clock: Clock = system) -> None:
    """Run the sidecar until a termination signal.

    Errors:  SettingsError, PortInUse, before anything starts.
    """
    import uvloop

    authority = find_authority(settings)
    disable_core_dumps()
    log.configure(level=_LEVELS[settings.log_level])
    sock = bind(
        settings.proxy_address,
        settings.proxy_port,
        otherwise="choose another with --proxy-port",
    )
    metrics_sock = None
    if settings.metrics_addr != DISABLED_ADDRESS:
        metrics_sock = listen("--metrics-addr", settings.metrics_addr)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, authority, sock, metrics_sock, clock))


def find_authority(settings: ProxySettings) -> Authority:
    """Return the authority that the environment of the pod names.

    Errors:  SettingsError.
    """
    binding = None
    if settings.token_proxy:
        binding = Binding(
            url=settings.token_proxy,
            sni=settings.sni_name,
            ca_file=settings.ca_file,
            ca_data=settings.ca_data,
        )
        binding.check()
    return Authority(
        host=settings.authority_host,
        tenant_id=settings.tenant_id,
        token_file=Path(settings.token_file),
        binding=binding,
    )


async def _serve(
    settings: ProxySettings,
    authority: Authority,
    sock: socket.socket,
    metrics_sock: socket.socket | None,
    clock: Clock,
) -> None:
    client, metrics = EntraClient(authority, clock), ProxyMetrics()
    forwarder = Forwarder(is_enabled=settings.forward)
    cache = TokenCache(client.request_token, clock)
    app = ImdsApp(
        cache,
        forwarder,
        metrics,
        clock,
        client_id=settings.client_id,
        strict=settings.strict,
        imds_errors=settings.imds_errors,
        server=_SERVER,
    )
    async with AsyncExitStack() as stack:
        shutdown = stack.enter_context(ShutdownSignal())
        for close in (client.close, forwarder.close, cache.close):
            stack.push_async_callback(close)
        if metrics_sock is not None:
            await stack.enter_async_context(serving(_metrics_app(metrics), metrics_sock))
        await stack.enter_async_context(serving(app, sock, limits=_LIMITS, drain=_DRAIN))
        port = sock.getsockname()[1]
        _log.warning("starting the proxy server", extra={"port": port, "userAgent": _SERVER})
        await shutdown.requested.wait()
        _log.warning("received shutdown signal")


def _metrics_app(metrics: ProxyMetrics) -> App:
    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["path"] == "/metrics":
            await respond(send, 200, metrics.render(), _METRICS_TYPE)
        else:
            await respond(send, 404, b"not found\n", _METRICS_TYPE)

    return app
