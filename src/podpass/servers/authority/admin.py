"""Graph and Resource Manager over the authority's directory, by a process and on an address of their own.

Nothing answers without an access token of this authority for one of the two, not even what Azure tells
anyone; what its holder may do, the APIs then decide as they always do. `podpass authority seed` names the
first who may.
"""

import contextlib
import logging

import orjson

from podpass.clock import Clock, system
from podpass.crypto import jose
from podpass.database import DatabaseFailed
from podpass.directory.management_app import create_app as joined
from podpass.directory.model import Tenant
from podpass.directory.resources import GRAPH_APP_ID, MANAGER_APP_ID, audiences
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
from podpass.servers.authority.resources import Parts, Settings
from podpass.servers.authority.shared_status import State
from podpass.servers.authority.worker import Place, drain_of, live
from podpass.servers.authority.worker_status import Life

_log = logging.getLogger(__name__)

_CONNECTIONS = 256
# Of Resource Manager's table: a cluster of its own is what only the local loop has.
_ABSENT = "/microsoft.containerservice/"
_NO_DOMAIN = "tenant.invalid"


class OwnKeys:
    """This authority's keys, for its own guard: nothing has to be fetched."""

    def __init__(self, keys: AuthorityKeys) -> None:
        self._keys = keys

    async def find(self, kid: str) -> jose.PublicKey | None:
        """Find a published key by its name."""
        for key in self._keys.published:
            if key.kid == kid:
                return jose.PublicKey(kid=kid, algs=frozenset({"RS256"}), key=key.public)
        return None


class NoCluster:
    """Resource Manager's cluster, where there is none: what leads to it is not there either."""

    issuer = ""
    kubernetes_version = ""
    workload_identity = False

    def kubeconfig(self, name: str) -> bytes:
        raise NotImplementedError(name)

    async def set_workload_identity(self, on: bool) -> None:
        raise NotImplementedError(on)


async def manage(place: Place, lifeline: int, clock: Clock = system) -> int:
    """Serve the admin APIs until told to stop, and give the exit code."""
    return await live(place, lifeline, lambda stack, life: _start(stack, place, life, clock))


async def _start(stack: contextlib.AsyncExitStack, place: Place, life: Life, clock: Clock) -> None:
    process = place.settings.process
    tls = ReloadingTls(process.tls_certificate, process.tls_key, clock)
    metrics.Certificate(metrics.registry("admin"), tls)
    await stack.enter_async_context(tls.watching(process.tls_poll_seconds))
    life.reload = tls.reload
    found = await stack.enter_async_context(
        resources.opened(place.settings, clock, lambda why: life.tell(reason=why), life.stop.set)
    )
    await stack.enter_async_context(
        serving(
            Admin(place.settings, found, clock),
            place.sock,
            tls.context,
            limits=Limits(connections=_CONNECTIONS),
            drain=drain_of(process),
        )
    )
    life.tell(State.READY)


class Admin:
    """Both APIs behind one guard."""

    def __init__(self, settings: Settings, found: Parts, clock: Clock) -> None:
        process = settings.process
        own = [process.admin_origin] if process.admin_origin else []
        self._settings = settings
        self._found = found
        self._clock = clock
        self._graph = audiences(GRAPH_APP_ID, own)
        self._manager = audiences(MANAGER_APP_ID)
        self._guard = self._guarded(self._graph | self._manager)
        self._apis: App | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._guard.admit(header_values(scope, b"authorization"))
        except TokenRefused as exc:
            _log.info("admin_refused", extra={"reason": exc.check.value, "source": _source(scope)})
            challenge: Headers = (JSON, (b"www-authenticate", exc.challenge.encode("latin-1")))
            await respond(send, 401, _error("Unauthorized", exc.message), challenge)
        except KeysUnavailable as exc:
            await respond(send, 503, _error("ServiceUnavailable", exc.message))
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _ABSENT in f"{scope['path']}/".lower():
            await respond(
                send, 404, _error("NotFound", "This authority has no cluster of its own.")
            )
            return
        try:
            apis = self._apis or await self._open()
        except DatabaseFailed as exc:
            after: Headers = (JSON, (b"retry-after", str(exc.again_seconds).encode()))
            await respond(send, 503, _error("ServiceUnavailable", exc.message), after)
            return
        await apis(scope, receive, send)

    async def _open(self) -> App:
        """Make the APIs, once somebody has a token: the tenant is there then, and says what it is called."""
        from podpass.directory.graph.app import create_app as graph
        from podpass.directory.resource_manager.app import create_app as manager
        from podpass.directory.resource_manager.model import Place as Subscription

        process, directory = self._settings.process, self._found.directory
        tenant = await directory.find_tenant(process.tenant_id) or Tenant(
            id=process.tenant_id, display_name="podpass"
        )
        domain = tenant.domains[0] if tenant.domains else _NO_DOMAIN
        place = Subscription(
            tenant_id=tenant.id,
            tenant_name=tenant.display_name,
            domain=domain,
            subscription_id=process.subscription,
            subscription_name="podpass",
            authority=self._settings.exchange.origins[0],
        )
        self._apis = joined(
            manager(
                directory,
                admit_with(self._guarded(self._manager)),
                place,
                NoCluster(),
                self._clock,
            ),
            graph(
                directory,
                admit_with(self._guarded(self._graph)),
                tenant.id,
                domain,
                self._clock,
            ),
        )
        return self._apis

    def _guarded(self, accepted: frozenset[str]) -> Guard:
        return Guard(
            tenant_id=self._settings.process.tenant_id,
            audiences=accepted,
            authorities=(),  # tokens for Azure's own APIs are of version 1
            keys=OwnKeys(self._found.keys),
            clock=self._clock,
        )


def _source(scope: Scope) -> str:
    return str(scope["client"][0]) if scope.get("client") else ""


def _error(code: str, message: str) -> bytes:
    return orjson.dumps({"error": {"code": code, "message": message}})
