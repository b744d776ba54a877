"""The admin process: Graph and Resource Manager for the authority's directory, on a separate address.

Every request needs an access token of this authority for one of the two APIs, even a request that needs no
token in Azure. The APIs then authorize the request. `podpass authority seed` creates the first
administrators.
"""

import contextlib
import logging
import socket
from ipaddress import ip_network

import orjson

from podpass.clock import Clock, system
from podpass.crypto import jose
from podpass.database import DatabaseFailed
from podpass.directory.management_app import create_app as create_management_app
from podpass.directory.model import Tenant
from podpass.directory.resources import GRAPH_APP_ID, MANAGER_APP_ID, audiences
from podpass.exchange.sign_in.passwords import hash_password
from podpass.exchange.signing.key_set import AuthorityKeys
from podpass.http.server import (
    JSON,
    App,
    Headers,
    Limits,
    Receive,
    Scope,
    Send,
    header_values,
    respond,
    serving,
)
from podpass.http.tls import ReloadingTls
from podpass.resource.api_callers import admit_with
from podpass.resource.guard import Guard, KeysUnavailable, TokenRefused
from podpass.servers.authority import metrics, resources
from podpass.servers.authority.console import AuthorityConsole
from podpass.servers.authority.heartbeat import Heartbeat
from podpass.servers.authority.resources import AuthorityResources, Settings
from podpass.servers.authority.shared_status import ProcessState
from podpass.servers.authority.worker import WorkerEnv, drain_settings, run_process

_log = logging.getLogger(__name__)

_CONNECTIONS = 256
_NO_DOMAIN = "tenant.invalid"


class LocalKeys:
    """The keys of this authority, which its own guard reads without a fetch."""

    def __init__(self, keys: AuthorityKeys) -> None:
        self._keys = keys

    async def find(self, kid: str) -> jose.PublicKey | None:
        """Return the published key with an ID, or None."""
        for key in self._keys.published:
            if key.kid == kid:
                return jose.PublicKey(kid=kid, algs=frozenset({"RS256"}), key=key.public)
        return None


async def run_admin(
    env: WorkerEnv, lifeline: int, clock: Clock = system, *, hops: socket.socket | None = None
) -> int:
    """Serve the admin APIs until SIGTERM; return the exit code.

    `hops` receives the hops of the workers; without it, there is no console.
    """
    return await run_process(
        env, lifeline, lambda stack, heartbeat: _start(stack, env, heartbeat, clock, hops)
    )


async def _start(
    stack: contextlib.AsyncExitStack,
    env: WorkerEnv,
    heartbeat: Heartbeat,
    clock: Clock,
    hops: socket.socket | None,
) -> None:
    process = env.settings.process
    tls = ReloadingTls(process.tls_certificate, process.tls_key, clock)
    metrics.CertificateMetrics(metrics.create_registry("admin"), tls)
    await stack.enter_async_context(tls.watching(process.tls_poll_seconds))
    heartbeat.reload = tls.reload
    opened = await stack.enter_async_context(
        resources.open_resources(
            env.settings,
            clock,
            lambda reason: heartbeat.set_state(reason=reason),
            heartbeat.shutdown.requested.set,
        )
    )
    app: App = AdminApp(env.settings, opened, clock)
    console: AuthorityConsole | None = None
    if hops is not None:
        app = console = AuthorityConsole(env.settings, opened, hops, clock, otherwise=app)
    await stack.enter_async_context(
        serving(
            app,
            env.sock,
            tls.context,
            limits=Limits(connections=_CONNECTIONS, source_connections=_CONNECTIONS // 4),
            proxies=tuple(map(ip_network, process.trusted_proxies)),
            drain=drain_settings(process),
        )
    )
    if console is not None:
        stack.callback(console.close)
    heartbeat.set_state(ProcessState.READY)


class AdminApp:
    """The ASGI application: both APIs behind one guard."""

    def __init__(self, settings: Settings, opened: AuthorityResources, clock: Clock) -> None:
        process = settings.process
        own = [process.admin_origin] if process.admin_origin else []
        self._settings = settings
        self._opened = opened
        self._clock = clock
        self._graph = audiences(GRAPH_APP_ID, own)
        self._manager = audiences(MANAGER_APP_ID)
        self._guard = self._create_guard(self._graph | self._manager)
        self._apis: App | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._guard.admit(header_values(scope, b"authorization"))
        except TokenRefused as exc:
            _log.info(
                "admin_refused", extra={"reason": exc.check.value, "source": _source_address(scope)}
            )
            challenge: Headers = (JSON, (b"www-authenticate", exc.challenge.encode("latin-1")))
            await respond(send, 401, _error_body("Unauthorized", exc.message), challenge)
        except KeysUnavailable as exc:
            await respond(send, 503, _error_body("ServiceUnavailable", exc.message))
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            apis = self._apis or await self._open()
        except DatabaseFailed as exc:
            after: Headers = (JSON, (b"retry-after", str(exc.retry_after_seconds).encode()))
            await respond(send, 503, _error_body("ServiceUnavailable", exc.message), after)
            return
        await apis(scope, receive, send)

    async def _open(self) -> App:
        """Create the APIs at the first valid token, because the tenant and its name are known then."""
        from podpass.directory.graph.app import create_app as create_graph_app
        from podpass.directory.resource_manager.app import create_app as create_manager_app
        from podpass.directory.resource_manager.model import SubscriptionContext

        process, directory = self._settings.process, self._opened.directory
        tenant = await directory.find_tenant(process.tenant_id) or Tenant(
            id=process.tenant_id, display_name="podpass"
        )
        domain = tenant.domains[0] if tenant.domains else _NO_DOMAIN
        subscription = SubscriptionContext(
            tenant_id=tenant.id,
            tenant_name=tenant.display_name,
            domain=domain,
            subscription_id=process.subscription,
            subscription_name="podpass",
            authority=self._settings.exchange.origins[0],
        )
        self._apis = create_management_app(
            create_manager_app(
                directory, admit_with(self._create_guard(self._manager)), subscription, self._clock
            ),
            create_graph_app(
                directory,
                admit_with(self._create_guard(self._graph)),
                tenant.id,
                domain,
                self._clock,
                hash_password=hash_password,
                administrators=self._settings.exchange.administrators,
            ),
        )
        return self._apis

    def _create_guard(self, accepted: frozenset[str]) -> Guard:
        return Guard(
            tenant_id=self._settings.process.tenant_id,
            audiences=accepted,
            authorities=(),  # tokens for Azure's own APIs have version 1
            keys=LocalKeys(self._opened.keys),
            clock=self._clock,
        )


def _source_address(scope: Scope) -> str:
    return str(scope["client"][0]) if scope.get("client") else ""


def _error_body(code: str, message: str) -> bytes:
    return orjson.dumps({"error": {"code": code, "message": message}})
