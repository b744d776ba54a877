"""Run `podpass webhook`: start the probes, serve pods when everything is ready, then shut down gracefully.

Probes and metrics are served from the start, so that an operator can see the dependency that the webhook
waits for. A temporary problem, such as an unavailable API server or an empty Secret, does not end the
process, because a restart would not fix it. The process logs it, reports it in `/readyz`, and retries.
"""

import asyncio
import contextlib
import gc
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from podpass import __version__, log, names
from podpass.admission import sidecar
from podpass.admission.certificate_files import CertificateFiles, ServingCertificate
from podpass.admission.events import RefusalRecorder
from podpass.admission.handler import create_app
from podpass.admission.metrics import AdmissionMetrics
from podpass.admission.service_accounts import ServiceAccountCache
from podpass.admission.warnings import is_tenant
from podpass.clock import Clock, system
from podpass.http.limits import PROBE_LIMITS
from podpass.http.server import App, Drain, Limits, RunningServer, serving
from podpass.kubernetes.client import (
    BackOff,
    KubeClient,
    KubeError,
    Target,
    in_cluster,
    read_kubeconfig,
)
from podpass.servers.file_limits import (
    disable_core_dumps,
    limit_connections,
    memory_limit,
    raise_file_limit,
    source_share,
)
from podpass.servers.listen import format_address, listen
from podpass.servers.shutdown_signal import ShutdownSignal
from podpass.servers.webhook import metrics, probes
from podpass.servers.webhook.loop_latency import LoopLag
from podpass.servers.webhook.probes import PortCheck
from podpass.settings.reading import DISABLED_ADDRESS
from podpass.settings.webhook import WebhookSettings
from podpass.tasks import background_task

if TYPE_CHECKING:
    from podpass.admission.certificates import RotationPolicy


_log = logging.getLogger(__name__)

_LEVELS = {"": "warning", "info": "info", "debug": "debug", "trace": "debug", "all": "debug"}
_CONNECTIONS = 4096
# An API server has one address, and by default up to 600 requests in flight, each with its own connection.
_API_SERVER_CONNECTIONS = 640
# An API server sends a review without delay, and waits at most half a minute for the response.
_BODY_SECONDS, _BODY_RATE = 10.0, 256 * 1024
# The last response of each connection closes it; then requests in flight may take up to the API server's
# timeout.
_DRAIN = Drain(keepalive_seconds=1.0, grace_seconds=10.0)
_READINESS_SECONDS = 0.5
# API servers close an idle connection after 90 seconds. If the webhook closed it first, a review that is sent
# at that moment would fail and its pod would be refused, because the API server does not repeat it.
_KEEP_ALIVE_SECONDS = 120

Sockets = Mapping[str, socket.socket]
_FIRST_WAIT_SECONDS, _LAST_WAIT_SECONDS = 0.5, 15.0


def run(
    settings: WebhookSettings,
    environ: Mapping[str, str],
    clock: Clock = system,
    *,
    policy: "RotationPolicy | None" = None,
) -> None:
    """Run the webhook until a termination signal; `policy` replaces the default rotation policy.

    Raises BadKubeconfig, PortInUse, before any component starts.
    """
    import uvloop

    raise_file_limit()
    disable_core_dumps()
    log.configure(level=_LEVELS[settings.log_level])
    target = find_api_server(settings, environ)
    with ExitStack() as stack:
        sockets = _listen(settings, stack)
        process = WebhookProcess(settings, target, sockets, clock, policy)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(process.serve())


def _listen(settings: WebhookSettings, stack: ExitStack) -> dict[str, socket.socket]:
    addresses = {
        "webhook": ("--webhook-addr", settings.webhook_addr),
        "metrics": ("--metrics-addr", settings.metrics_addr),
        "health": ("--health-addr", settings.health_addr),
    }
    return {
        name: stack.enter_context(contextlib.closing(listen(flag, text)))
        for name, (flag, text) in addresses.items()
        if text != DISABLED_ADDRESS
    }


@dataclass(slots=True)
class _State:
    """The facts for the readiness check that belong to the process and to no single component."""

    draining: bool = False
    version: str = "the version of the API server is not known yet"
    port: PortCheck | None = None
    server: RunningServer | None = None


class WebhookProcess:
    """The components of the webhook process, and the order in which they start and stop."""

    def __init__(
        self,
        settings: WebhookSettings,
        target: Target,
        sockets: Sockets,
        clock: Clock,
        policy: "RotationPolicy | None",
    ) -> None:
        self._settings = settings
        self._sockets = sockets
        self._clock = clock
        self._state = _State()
        self._client = KubeClient(target)
        self._metrics = AdmissionMetrics(lambda namespace: self._accounts.has_namespace(namespace))
        self._accounts = ServiceAccountCache(self._client, on_lookup=self._metrics.count_lookup)
        self._certificate = create_certificate_source(settings, self._client, clock, policy)
        self._loop_lag = LoopLag()
        self.ready = probes.Probe(name="readyz", checks=self._build_checks())

    def _build_checks(self) -> dict[str, probes.Check]:
        state = self._state
        return {
            "shutdown": lambda: "it is shutting down" if state.draining else "",
            "version": lambda: state.version,
            "certificate": lambda: self._certificate.not_ready_reason(),
            "accounts": lambda: self._accounts.not_ready_reason(),
            "handshake": lambda: (
                "nothing is served yet" if state.port is None else state.port.not_ready_reason()
            ),
        }

    async def serve(self) -> None:
        """Serve until a termination signal, then shut down."""
        addresses = {name: format_address(sock) for name, sock in self._sockets.items()}
        facts = {"version": __version__, "server": self._client.server, **addresses}
        _log.info("webhook_starting", extra=facts)
        if not is_tenant(tenant := self._settings.tenant_id):
            _log.warning("default_tenant_malformed", extra={"tenant_id": tenant})
        with ShutdownSignal() as shutdown:
            async with AsyncExitStack() as probe_stack:
                await self._start_probes(probe_stack)
                async with AsyncExitStack() as stack:
                    await shutdown.wait_after(self._start(stack))
                    assert shutdown.number is not None
                    _log.info("shutdown_requested", extra={"signal": shutdown.number.name})
                    self._state.draining = True
                    await self._delay_shutdown()
        _log.info("webhook_stopped")

    async def _start_probes(self, stack: AsyncExitStack) -> None:
        """Serve probes and metrics."""
        alive = probes.Probe(name="healthz", checks={"ping": lambda: ""})
        state = self._state
        sources = metrics.MetricsSources(
            admission=self._metrics,
            accounts=self._accounts,
            certificate=self._certificate,
            loop_lag=self._loop_lag,
            in_flight=lambda: 0 if state.server is None else state.server.in_flight,
            ready=lambda: not self.ready.not_ready_reason(),
        )
        apps = {
            "health": probes.create_app(alive, self.ready),
            "metrics": metrics.create_app(sources),
        }
        for name, app in apps.items():
            if name in self._sockets:
                server = serving(app, self._sockets[name], limits=PROBE_LIMITS)
                await stack.enter_async_context(server)
        await stack.enter_async_context(self._loop_lag.measuring())
        await stack.enter_async_context(self._reporting_readiness())

    async def _start(self, stack: AsyncExitStack) -> None:
        """Serve pods as soon as all dependencies of a correct response are ready."""
        state = self._state
        enter = stack.enter_async_context
        await enter(self._client)
        await enter(self._accounts)
        native = await detect_native_sidecars(self._client, self._on_version_failure)
        state.version = ""
        certificate = await enter(self._certificate)
        app = await self._create_app(replace(self._settings, native_sidecar=native), stack)
        sock = self._sockets["webhook"]
        port = PortCheck(sock, certificate.context)
        limits = Limits(
            connections=limit_connections(_CONNECTIONS),
            source_connections=source_share(
                _CONNECTIONS, memory_limit(), _CONNECTIONS, least=_API_SERVER_CONNECTIONS
            ),
            body_seconds=_BODY_SECONDS,
            body_rate=_BODY_RATE,
            keep_alive_seconds=_KEEP_ALIVE_SECONDS,
        )
        server = serving(
            app,
            sock,
            certificate.context,
            limits=limits,
            drain=_DRAIN,
        )
        state.server = await enter(server)
        await enter(port.checking())
        state.port = port
        await self._accounts.wait_ready()
        # These objects exist until the process exits, so the garbage collector need not traverse them again.
        gc.collect()
        gc.freeze()

    async def _create_app(self, settings: WebhookSettings, stack: AsyncExitStack) -> App:
        events = None
        if settings.refusal_events:
            events = await stack.enter_async_context(RefusalRecorder(self._client, self._clock))
        accounts = self._accounts
        if not settings.otlp_endpoint:
            return create_app(settings, accounts, metrics=self._metrics, events=events)
        from podpass.servers.webhook.traces import TraceExporter

        traces = TraceExporter(settings.otlp_endpoint, self._metrics, self._clock)
        await stack.enter_async_context(traces.exporting())
        app = create_app(settings, accounts, metrics=traces, events=events)
        return traces.wrap(app)

    def _on_version_failure(self, why: str) -> None:
        self._state.version = f"the version of the API server is unknown: {why}"

    async def _delay_shutdown(self) -> None:
        """Keep serving while not ready, until no Endpoints route requests to this replica."""
        if self._state.port is not None:
            _log.info("webhook_draining", extra={"seconds": self._settings.shutdown_delay_seconds})
            await asyncio.sleep(self._settings.shutdown_delay_seconds)

    @contextlib.asynccontextmanager
    async def _reporting_readiness(self) -> AsyncIterator[None]:
        """Log each change of readiness with its reason, until the context ends."""
        async with background_task(self._report_readiness(), "readiness"):
            yield

    async def _report_readiness(self) -> None:
        logged = ""
        while True:
            reason = self.ready.not_ready_reason()
            if reason and reason != logged:
                _log.warning("webhook_not_ready", extra={"reason": reason})
            elif not reason and logged != "ready":
                _log.info("webhook_ready", extra={"accounts": self._accounts.count})
            logged = reason or "ready"
            await asyncio.sleep(_READINESS_SECONDS)


def find_api_server(settings: WebhookSettings, environ: Mapping[str, str]) -> Target:
    """Return the API server of the kubeconfig in the settings, otherwise that of the pod's own cluster.

    Raises BadKubeconfig.
    """
    if settings.kubeconfig:
        return read_kubeconfig(Path(settings.kubeconfig))
    return in_cluster(environ)


async def detect_native_sidecars(client: KubeClient, on_failure: Callable[[str], None]) -> bool:
    """Return whether the API server supports native sidecars; retry until it answers.

    `on_failure` is called with the reason of each failed attempt.
    """
    back_off = BackOff(_FIRST_WAIT_SECONDS, _LAST_WAIT_SECONDS)
    while True:
        try:
            version = str((await client.get("/version")).get("gitVersion"))
            native = sidecar.supports_native_sidecars(version)
        except (KubeError, sidecar.UnknownVersion) as exc:
            on_failure(exc.message)
            _log.error("kubernetes_version_unknown", extra={"cause": exc.message, "hint": exc.hint})
            await back_off.wait()
        else:
            _log.info(
                "kubernetes_version_read", extra={"version": version, "native_sidecars": native}
            )
            return native


class CertificateSource(ServingCertificate, Protocol):
    """A ServingCertificate that is used as a context and updates itself in the background."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def create_certificate_source(
    settings: WebhookSettings,
    client: KubeClient,
    clock: Clock,
    policy: "RotationPolicy | None" = None,
) -> CertificateSource:
    """Create the source that the settings select; `policy` replaces the default rotation policy."""
    if settings.disable_cert_rotation:
        return CertificateFiles(
            Path(settings.cert_dir), tls_min_version=settings.tls_min_version, clock=clock
        )
    # Imported here, because the code that creates certificates needs megabytes of memory.
    from podpass.admission.certificates import CertificateRotator, RotationPolicy

    return CertificateRotator(
        client,
        namespace=settings.namespace,
        configurations=(names.WEBHOOK_CONFIGURATION,),
        clock=clock,
        tls_min_version=settings.tls_min_version,
        policy=policy or RotationPolicy(),
    )
