"""`podpass webhook` from settings to end: probes first, pods when everything is there, then the drain.

Probes and metrics answer from the first moment, so that whoever waits can see for what. Nothing that may
pass, an API server that is away or a Secret that is empty, ends the process: a new start would bring
neither. It is told in the log and by `/readyz`, and tried again.
"""

import asyncio
import contextlib
import gc
import logging
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from podpass import __version__, log
from podpass.admission.events import Events
from podpass.admission.handler import create_app
from podpass.admission.metrics import Meter
from podpass.admission.service_accounts import ClusterAccounts
from podpass.admission.warnings import is_tenant
from podpass.clock import Clock, system
from podpass.http.server import App, Drain, Limits, Serving, serving
from podpass.kubernetes.client import KubeClient, Target
from podpass.servers.file_limits import affordable, leave_no_core, raise_file_limit
from podpass.servers.webhook import cluster, metrics, probes
from podpass.servers.webhook.certificate import keeper
from podpass.servers.webhook.listen import listen
from podpass.servers.webhook.loop_latency import Stalls
from podpass.servers.webhook.self_check import OwnPort
from podpass.servers.webhook.signals import Stop
from podpass.settings.webhook import NOWHERE, WebhookSettings
from podpass.tasks import beside

if TYPE_CHECKING:
    from podpass.admission.certificates import Plan

_log = logging.getLogger(__name__)

_LEVELS = {"": "warning", "info": "info", "debug": "debug", "trace": "debug", "all": "debug"}
_CONNECTIONS = 4096
# An API server sends a review at once, and waits for half a minute at most.
_BODY_SECONDS, _BODY_RATE = 10.0, 256 * 1024
# Probes and scrapes come from a few addresses, one at a time.
_SIDE_LIMITS = Limits(connections=64, head_bytes=16 * 1024)
# The last answer of each connection says so; then what is under way has until the API server gives up.
_DRAIN = Drain(linger=1.0, patience=10.0)
_LOOK_SECONDS = 0.5
# API servers let go of an idle connection after 90. Were we first, a pod whose review is written at that very
# moment would be refused: nothing tells its sender that it was not read.
_KEEP_ALIVE_SECONDS = 120

Sockets = Mapping[str, socket.socket]


def run(
    settings: WebhookSettings,
    environ: Mapping[str, str],
    clock: Clock = system,
    *,
    plan: "Plan | None" = None,
) -> None:
    """Run the webhook until a signal ends it; `plan` says how fast its certificate is rotated.

    Errors:  BadKubeconfig, PortInUse, before anything is started.
    """
    import uvloop

    raise_file_limit()
    leave_no_core()
    log.configure(level=_LEVELS[settings.log_level])
    target = cluster.target(settings, environ)
    with ExitStack() as stack:
        sockets = _listen(settings, stack)
        process = Process(settings, target, sockets, clock, plan)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(process.live())


def _listen(settings: WebhookSettings, stack: ExitStack) -> dict[str, socket.socket]:
    wanted = {
        "webhook": ("--webhook-addr", settings.webhook_addr),
        "metrics": ("--metrics-addr", settings.metrics_addr),
        "health": ("--health-addr", settings.health_addr),
    }
    return {
        name: stack.enter_context(contextlib.closing(listen(flag, text)))
        for name, (flag, text) in wanted.items()
        if text != NOWHERE
    }


@dataclass(slots=True)
class _State:
    """What readiness looks at beside the parts themselves."""

    draining: bool = False
    version: str = "the API server has not said its version yet"
    port: OwnPort | None = None
    server: Serving | None = None


class Process:
    """The parts of one webhook, and the order in which they begin and end."""

    def __init__(
        self,
        settings: WebhookSettings,
        target: Target,
        sockets: Sockets,
        clock: Clock,
        plan: "Plan | None",
    ) -> None:
        self._settings = settings
        self._sockets = sockets
        self._clock = clock
        self._state = _State()
        self._client = KubeClient(target)
        self._meter = Meter(lambda namespace: self._accounts.has_namespace(namespace))
        self._accounts = ClusterAccounts(self._client, asked=self._meter.asked)
        self._certificate = keeper(settings, self._client, clock, plan)
        self._stalls = Stalls()
        self.ready = probes.Probe(name="readyz", checks=self._checks())

    def _checks(self) -> dict[str, probes.Check]:
        state = self._state
        return {
            "shutdown": lambda: "it is shutting down" if state.draining else "",
            "version": lambda: state.version,
            "certificate": lambda: self._certificate.trouble(),
            "accounts": lambda: self._accounts.trouble(),
            "handshake": lambda: (
                "nothing is served yet" if state.port is None else state.port.trouble()
            ),
        }

    async def live(self) -> None:
        """Serve until told to stop."""
        where = {name: "{}:{}".format(*sock.getsockname()) for name, sock in self._sockets.items()}
        facts = {"version": __version__, "server": self._client.server, **where}
        _log.info("webhook_starting", extra=facts)
        if not is_tenant(tenant := self._settings.tenant_id):
            _log.warning("own_tenant_malformed", extra={"tenant_id": tenant})
        with Stop() as stop:
            async with AsyncExitStack() as sides:
                await self._begin_sides(sides)
                async with AsyncExitStack() as stack:
                    await stop.until(self._begin(stack))
                    self._state.draining = True
                    await self._linger()
        _log.info("webhook_stopped")

    async def _begin_sides(self, stack: AsyncExitStack) -> None:
        """Answer probes and scrapes."""
        alive = probes.Probe(name="healthz", checks={"ping": lambda: ""})
        state, meter = self._state, self._meter
        sources = metrics.Sources(
            meter=meter,
            accounts=self._accounts,
            certificate=self._certificate,
            stalls=self._stalls,
            in_flight=lambda: 0 if state.server is None else state.server.under_way,
            ready=lambda: not self.ready.trouble(),
        )
        apps = {
            "health": probes.create_app(alive, self.ready),
            "metrics": metrics.create_app(sources),
        }
        for name, app in apps.items():
            if name in self._sockets:
                server = serving(app, self._sockets[name], limits=_SIDE_LIMITS)
                await stack.enter_async_context(server)
        await stack.enter_async_context(self._stalls.watching())
        await stack.enter_async_context(self._telling())

    async def _begin(self, stack: AsyncExitStack) -> None:
        """Serve pods, as soon as everything is there that a right verdict needs."""
        state = self._state
        enter = stack.enter_async_context
        await enter(self._client)
        await enter(self._accounts)
        native = await cluster.runs_native_sidecars(self._client, self._untold)
        state.version = ""
        certificate = await enter(self._certificate)
        app = await self._app(replace(self._settings, native_sidecar=native), stack)
        sock = self._sockets["webhook"]
        port = OwnPort(sock, certificate.context)
        limits = Limits(
            connections=affordable(_CONNECTIONS),
            body_seconds=_BODY_SECONDS,
            body_rate=_BODY_RATE,
        )
        server = serving(
            app,
            sock,
            certificate.context,
            keep_alive_seconds=_KEEP_ALIVE_SECONDS,
            limits=limits,
            drain=_DRAIN,
        )
        state.server = await enter(server)
        await enter(port.watching())
        state.port = port
        await self._accounts.wait_ready()
        # What is here now stays: the collector need not walk through it again and again.
        gc.collect()
        gc.freeze()

    async def _app(self, settings: WebhookSettings, stack: AsyncExitStack) -> App:
        events = None
        if settings.refusal_events:
            events = await stack.enter_async_context(Events(self._client, self._clock))
        accounts = self._accounts
        if not settings.otlp_endpoint:
            return create_app(settings, accounts, observe=self._meter, events=events)
        from podpass.servers.webhook.traces import Traces

        traces = Traces(settings.otlp_endpoint, self._meter, self._clock)
        await stack.enter_async_context(traces.sending())
        app = create_app(settings, accounts, observe=traces, events=events)
        return traces.around(app)

    def _untold(self, why: str) -> None:
        self._state.version = f"the API server has not said its version: {why}"

    async def _linger(self) -> None:
        """Serve on while endpoints still lead here, unready."""
        if self._state.port is not None:
            _log.info("webhook_draining", extra={"seconds": self._settings.shutdown_delay_seconds})
            await asyncio.sleep(self._settings.shutdown_delay_seconds)

    @contextlib.asynccontextmanager
    async def _telling(self) -> AsyncIterator[None]:
        """Log whenever readiness changes, and why."""
        async with beside(self._tell(), "telling"):
            yield

    async def _tell(self) -> None:
        said = ""
        while True:
            trouble = self.ready.trouble()
            if trouble and trouble != said:
                _log.warning("not_ready", extra={"reason": trouble})
            elif not trouble and said != "ready":
                _log.info("ready", extra={"accounts": self._accounts.count})
            said = trouble or "ready"
            await asyncio.sleep(_LOOK_SECONDS)
