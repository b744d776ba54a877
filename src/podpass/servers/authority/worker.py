"""A worker process: the token service on the listening socket that all workers share."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any

from podpass.clock import Clock, system
from podpass.crypto import jose
from podpass.crypto.multibuffer import library as multibuffer
from podpass.database import DatabaseFailed
from podpass.errors import Error
from podpass.exchange.app import create_app
from podpass.exchange.metrics import ExchangeMetrics
from podpass.exchange.rate_limits import Rate, RateLimiter, RateLimits
from podpass.exchange.sign_in.codes import DEVICE_SECONDS
from podpass.exchange.signing import schedule
from podpass.exchange.signing.signer import Signer
from podpass.http.fetcher import Fetcher
from podpass.http.proxy_headers import Network, is_trusted
from podpass.http.server import Drain, Limits, RunningServer, serving
from podpass.http.tls import ReloadingTls
from podpass.servers.authority import metrics, resources
from podpass.servers.authority.heartbeat import Heartbeat
from podpass.servers.authority.resources import AuthorityResources, Settings
from podpass.servers.authority.shared_status import ProcessState, ProcessStatus, SharedStatus
from podpass.servers.authority.supervisor import CONFIGURATION_ERROR
from podpass.servers.file_limits import limit_connections, memory_limit, source_share
from podpass.settings import AuthorityProcessSettings
from podpass.settings.authority_process import ANY_MULTIBUFFER, NO_MULTIBUFFER
from podpass.tasks import background_task

_log = logging.getLogger(__name__)

_CHECK_SECONDS = 2.0
_KEEPALIVE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerEnv:
    """The objects that a process inherits from the supervisor: number, socket, shared status, settings."""

    number: int
    sock: socket.socket
    shared: SharedStatus
    settings: Settings


Start = Callable[[contextlib.AsyncExitStack, Heartbeat], Coroutine[Any, Any, None]]


async def run_worker(env: WorkerEnv, lifeline: int, clock: Clock = system) -> int:
    """Serve tokens until SIGTERM; return the exit code."""
    return await run_process(
        env, lifeline, lambda stack, heartbeat: _start(stack, env, heartbeat, clock)
    )


async def run_process(env: WorkerEnv, lifeline: int, start: Start) -> int:
    """Start, serve until SIGTERM, and return the exit code; report errors in the shared status."""
    heartbeat = Heartbeat(env.shared, env.number)
    with heartbeat.running(lifeline):
        try:
            async with contextlib.AsyncExitStack() as stack:
                await heartbeat.shutdown.wait_after(start(stack, heartbeat))
                heartbeat.set_state(ProcessState.DRAINING)
        except Error as exc:
            # The start has already retried temporary errors.
            reason = f"{exc.message}; {exc.hint}" if exc.hint else exc.message
            heartbeat.set_state(reason=reason)
            return CONFIGURATION_ERROR
    return 0


async def _start(
    stack: contextlib.AsyncExitStack, env: WorkerEnv, heartbeat: Heartbeat, clock: Clock
) -> None:
    settings = env.settings
    process = settings.process
    registry = metrics.create_registry(f"worker{env.number}")
    meter, gauges = ExchangeMetrics(registry), metrics.WorkerGauges(registry)
    tls = ReloadingTls(process.tls_certificate, process.tls_key, clock)
    metrics.CertificateMetrics(registry, tls)
    await stack.enter_async_context(tls.watching(process.tls_poll_seconds))
    heartbeat.reload = tls.reload

    def report_waiting(reason: str) -> None:
        heartbeat.set_state(ProcessState.STARTING, reason)

    opened = await stack.enter_async_context(
        resources.open_resources(settings, clock, report_waiting, heartbeat.shutdown.requested.set)
    )
    networks = tuple(ip_network(text) for text in process.trusted_proxies)
    limiter = create_rate_limiter(process, clock=asyncio.get_running_loop().time)
    app = create_app(
        settings.exchange,
        opened.directory,
        CountingFetcher(resources.create_fetcher(settings), meter),
        opened.keys,
        clock,
        limiter=limiter,
        observe=meter,
        signer=Signer(
            open_multibuffer(process.multibuffer, await opened.keys.current(), heartbeat), meter
        ),
    )
    server = await stack.enter_async_context(
        serving(
            app,
            env.sock,
            tls.context,
            limits=_create_limits(process),
            proxies=networks,
            connection_filter=RateLimitFilter(limiter, networks, meter),
            drain=drain_settings(process),
        )
    )
    heartbeat.measure = lambda status: _add_load(status, server, tls)
    heartbeat.set_database(is_up=True)  # the database is up: the keys were read from it
    heartbeat.set_state(ProcessState.READY)
    await stack.enter_async_context(
        _monitoring(heartbeat, opened, gauges, clock, process.tenant_id)
    )


def open_multibuffer(
    wanted: str, key: jose.SigningKey, heartbeat: Heartbeat
) -> multibuffer.MultiBufferLibrary | None:
    """Open and test the library that signs several tokens together, if it is enabled and installed.

    Raises MultiBufferUnusable, WrongSignature, if the setting names a file.
    """
    if wanted == NO_MULTIBUFFER:
        return None
    # This reason is visible only if the process crashes here: the library is compiled code.
    heartbeat.set_state(
        reason="the process opened the multi-buffer library; `--multibuffer none` disables it"
    )
    is_required = wanted != ANY_MULTIBUFFER
    try:
        library = multibuffer.open_library(wanted) if is_required else multibuffer.find_library()
        library.load(key.key).sign([b"test"] * multibuffer.LANES)
    except (multibuffer.MultiBufferUnusable, multibuffer.WrongSignature) as exc:
        if is_required:
            raise
        # `auto` does not ask for the library. One that computes wrong signatures is a fault all the same.
        is_fault = isinstance(exc, multibuffer.WrongSignature)
        level = logging.WARNING if is_fault else logging.DEBUG
        _log.log(level, "multibuffer_not_loaded", extra={"reason": exc.message})
        return None
    finally:
        heartbeat.set_state()
    _log.info("multibuffer_loaded", extra={"library": library.file})
    return library


def _create_limits(process: AuthorityProcessSettings) -> Limits:
    """Return this worker's share of the limits of connections."""
    share = source_share(process.source_connections, memory_limit(), process.connections)
    return Limits(
        connections=limit_connections(worker_share(process.connections, process.workers)),
        source_connections=worker_share(share, process.workers),
    )


def drain_settings(process: AuthorityProcessSettings) -> Drain:
    """Divide the drain time between the last requests of idle connections and requests in flight."""
    keepalive = min(_KEEPALIVE_SECONDS, process.drain_seconds / 4)
    grace = max(process.drain_seconds - keepalive - 0.5, 0.1)
    return Drain(keepalive_seconds=keepalive, grace_seconds=grace)


def create_rate_limiter(process: AuthorityProcessSettings, clock: Clock) -> RateLimiter:
    """Create the rate limiter of this worker, which enforces an equal share of the total limit."""
    workers = process.workers

    def rate(per_second: float, burst: float) -> Rate:
        return Rate(per_second=per_second / workers, burst=max(burst / workers, 1))

    rules = RateLimits(
        client=rate(process.client_rate, process.client_burst),
        source=rate(process.source_rate, process.source_burst),
        refused=rate(process.refused_rate, process.refused_burst),
        devices=rate(process.source_device_codes / DEVICE_SECONDS, process.source_device_codes),
        penalty_seconds=process.penalty_seconds if process.refused_rate else 0,
    )
    return RateLimiter(rules, clock, on_block=_log_blocked)


def worker_share(total: int, workers: int) -> int:
    """Return one worker's share of a limit, rounded up; 0 stays 0."""
    return -(-total // workers)


class RateLimitFilter:
    """Applies the rate limiter to peers before TLS; trusted proxies are exempt."""

    def __init__(
        self, limiter: RateLimiter, proxies: Sequence[Network], meter: ExchangeMetrics
    ) -> None:
        self._limiter = limiter
        self._proxies = proxies
        self._meter = meter
        self.on_dropped = meter.count_dropped_connection

    def allow_connection(self, source: str) -> bool:
        """Return whether a new connection is accepted; count a dropped one."""
        if self._limiter.allow_connection(source) or is_trusted(source, self._proxies):
            return True
        self._meter.count_dropped_connection()
        return False

    def allow_request(self, source: str) -> bool:
        """Return whether the next request of a connection is read; count a dropped one."""
        if self._limiter.allow_request(source) or is_trusted(source, self._proxies):
            return True
        self._meter.count_dropped_connection()
        return False

    def on_unused(self, source: str) -> None:
        """Count a connection without a request as a refused request: its handshake costs the same."""
        if not is_trusted(source, self._proxies):
            self._limiter.on_rejection(source)


class CountingFetcher:
    """A fetcher that counts its requests."""

    def __init__(self, fetcher: Fetcher, meter: ExchangeMetrics) -> None:
        self._fetcher = fetcher
        self._meter = meter

    async def get_json(self, url: str) -> dict[str, Any]:
        """Fetch one JSON object, and count the result."""
        try:
            document = await self._fetcher.get_json(url)
        except Error:
            self._meter.count_issuer_fetch("failed")
            raise
        self._meter.count_issuer_fetch("ok")
        return document


@contextlib.asynccontextmanager
async def _monitoring(
    heartbeat: Heartbeat,
    opened: AuthorityResources,
    gauges: metrics.WorkerGauges,
    clock: Clock,
    tenant_id: str,
) -> AsyncIterator[None]:
    """Check database and tenant, and update the metrics of the signing keys, at an interval."""

    async def monitor() -> None:
        error: DatabaseFailed | None = None
        has_tenant = True
        while True:
            before, error = error, await _check_database(opened)
            if error is not None and before is None:
                _log.warning("database_check_failed", extra=error.facts)
            elif error is None and before is not None:
                _log.info("database_check_recovered")
            heartbeat.set_database(is_up=error is None)
            if error is None and tenant_id:
                found = await _has_tenant(opened, tenant_id, has_tenant)
                if found != has_tenant:
                    _report_tenant(heartbeat, tenant_id, is_missing=not found)
                has_tenant = found
            age, next_rotation = _read_key_times(opened, clock())
            gauges.key_age.set(age)
            gauges.damaged.set(len(opened.keys.damaged))
            gauges.next_rotation.set(next_rotation)
            await asyncio.sleep(_CHECK_SECONDS)

    async with background_task(monitor(), "database checks"):
        yield


async def _check_database(opened: AuthorityResources) -> DatabaseFailed | None:
    try:
        await opened.database.ping()
    except DatabaseFailed as exc:
        return exc
    return None


async def _has_tenant(opened: AuthorityResources, tenant_id: str, before: bool) -> bool:
    try:
        return await opened.directory.find_tenant(tenant_id) is not None
    except Error:
        return before  # the check of the database reports the cause


def _report_tenant(heartbeat: Heartbeat, tenant_id: str, *, is_missing: bool) -> None:
    """Log that the database lacks the tenant of the settings, or has it again, and show it in /readyz."""
    if not is_missing:
        _log.info("tenant_found", extra={"tenant_id": tenant_id})
        heartbeat.set_state()
        return
    warning = f"the database (--database) has no tenant {tenant_id} (--tenant-id)"
    fix = f"check both, or run `podpass authority seed --tenant-id {tenant_id}`"
    _log.warning("tenant_missing", extra={"tenant_id": tenant_id, "cause": warning, "fix": fix})
    heartbeat.set_state(reason=warning)


def _read_key_times(opened: AuthorityResources, now: float) -> tuple[float, float]:
    """Return the age of the active key in seconds, and when the next key becomes active."""
    if not (slots := opened.keys.slots):
        return 0.0, 0.0
    active, following = schedule.active_key(slots, now), schedule.next_key(slots, now)
    return max(now - active.activates, 0.0), 0.0 if following is None else following.activates


def _add_load(status: ProcessStatus, server: RunningServer, tls: ReloadingTls) -> ProcessStatus:
    return replace(
        status,
        connections=server.connections,
        in_flight=server.in_flight,
        certificate_expired=tls.is_expired,
    )


def _log_blocked(network: str) -> None:
    _log.warning("source_blocked", extra={"source": network})
