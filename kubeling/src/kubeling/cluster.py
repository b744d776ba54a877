"""The embedded cluster: builds the API server and the controllers, opens them, and closes them in order."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from kubeling.api import Api
from kubeling.apiserver import bootstrap
from kubeling.apiserver.admission.webhook_dispatcher import ServiceOrigins, WebhookDispatcher
from kubeling.apiserver.auth.authentication import (
    AuthConfig,
    Authenticator,
    InvalidBearerToken,
)
from kubeling.apiserver.auth.rbac import RbacAuthorizer
from kubeling.apiserver.handler import ApiServer
from kubeling.apiserver.local_api import LocalApi
from kubeling.apiserver.read.discovery import DiscoveryHandler
from kubeling.apiserver.read.watch import WatchHandler
from kubeling.apiserver.registry.aggregation import Aggregator
from kubeling.apiserver.registry.deletion import DeletionHandler
from kubeling.apiserver.registry.kubelets import PodLogHandler
from kubeling.apiserver.registry.pod_proxy import PodStreamHandler, ProxyHandler
from kubeling.apiserver.registry.store import Registry
from kubeling.apiserver.release import NEWEST
from kubeling.apiserver.request import UserInfo
from kubeling.apiserver.storage.storage import ObjectStore
from kubeling.apiserver.websocket_streams import WebSocketStreams
from kubeling.asgi import App
from kubeling.controllers.controller_manager import ControllerManager
from kubeling.tasks import cancel_all

__all__ = ["ClusterConfig", "EmbeddedCluster", "InvalidBearerToken", "UserInfo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig(AuthConfig):
    """Configuration of an embedded cluster.

    `services` maps `NAMESPACE/NAME:PORT` of a Service that webhook configurations and APIServices name to its
    origin; the JWKS is below the issuer if `jwks_uri` is empty; `release` is the Kubernetes release, such as
    `1.35`. Without a `database`, objects are in memory only; with `is_durable`, a write is on the disk before
    it is acknowledged. Without `controllers`, only those of the API server itself run.
    """

    database: Path | None
    ca_file: Path
    services: ServiceOrigins = field(default_factory=dict)
    jwks_uri: str = ""
    is_durable: bool = True
    release: str = NEWEST
    controllers: bool = True


class EmbeddedCluster:
    """An embedded Kubernetes API server with controllers; use it as a context manager and serve `app`.

    `kubelets` are the applications of the kubelets in this process by node name; the embedder adds them.

    Clients authenticate with a client certificate that TLS has verified (CN is the user, O its groups),
    with a static token, with a ServiceAccount token, or with a token that `other_tokens` accepts.

    Raises:
        UnknownRelease
    """

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config
        self.store = ObjectStore(config.database, is_durable=config.is_durable)
        self._webhooks = WebhookDispatcher(self.store, config.services)
        self._rbac = RbacAuthorizer(self.store)
        self.registry = Registry(
            self.store,
            self._rbac,
            self._webhooks,
            config.clock,
            config.release,
            has_controllers=config.controllers,
        )
        self.deletion_handler = DeletionHandler(self.registry)
        self.kubelets: dict[str, App] = {}
        self._logs = PodLogHandler(self.store, self.kubelets)
        self._streams = PodStreamHandler(self.registry, self.kubelets)
        self._aggregator = Aggregator(self.store, config.services)
        self._websockets = WebSocketStreams()
        self._tasks: list[asyncio.Task[None]] = []
        self._watches: WatchHandler | None = None
        self._app: ApiServer | None = None
        self._authenticator: Authenticator | None = None
        self._controllers: ControllerManager | None = None

    @property
    def app(self) -> App:
        """Return the ASGI application; the cluster must be open."""
        assert self._app is not None
        return self._app

    async def __aenter__(self) -> Self:
        config, store = self._config, self.store
        store.open()
        try:
            controllers = ControllerManager(
                self.registry, self.deletion_handler, config.ca_file, full=config.controllers
            )
            with store.one_transaction():
                bootstrap.create_defaults(store, config.clock)
                controllers.prepare()
        except BaseException:
            store.close()
            raise
        self._watches = WatchHandler(store, config.clock)
        self._authenticator = Authenticator(config, store)
        self._controllers = controllers
        self._app = ApiServer(
            registry=self.registry,
            authenticator=self._authenticator,
            auth_config=config,
            rbac=self._rbac,
            discovery=DiscoveryHandler(
                config, config.jwks_uri, self.registry.kinds, store.check_database
            ),
            watches=self._watches,
            websockets=self._websockets,
            aggregator=self._aggregator,
            kubelet_requests={
                "log": self._logs.open,
                "proxy": ProxyHandler(self.registry, self.kubelets).open,
                **dict.fromkeys(("attach", "exec", "portforward"), self._streams.open),
            },
        )
        self._tasks.append(asyncio.create_task(controllers.run()))
        return self

    def api(self, user: UserInfo, server: str) -> Api:
        """Return the requests of a user in this process; `server` is the URL of the API server for pods."""
        assert self._app is not None, "the cluster is not open"
        return LocalApi(self._app, self.registry, user, server)

    def create_namespace(self, name: str) -> None:
        """Create a namespace with its default objects, without admission."""
        assert self._controllers is not None, "the cluster is not open"
        bootstrap.create_namespace(self.store, name, self._config.clock)
        self._controllers.prepare()

    def publish_ca(self, ca_pem: bytes) -> None:
        """Publish a CA bundle for pods in every namespace."""
        assert self._controllers is not None, "the cluster is not open"
        self._controllers.use_ca(ca_pem.decode())

    def accept_client_cas(self, cas: bytes) -> None:
        """Accept client certificates of these CAs (PEM) only, also on open connections."""
        assert self._authenticator is not None, "the cluster is not open"
        self._authenticator.accept_client_cas(cas)

    def end_watches(self) -> None:
        """End every open watch; its client sends the request again, with a credential that is valid now."""
        assert self._watches is not None, "the cluster is not open"
        self._watches.restart()

    def drain(self) -> None:
        """End every watch and stream, so that a server that stops does not wait for its clients."""
        self._streams.stop()
        self._websockets.stop()
        if self._watches is not None:
            self._watches.stop()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.drain()
        with contextlib.suppress(asyncio.CancelledError):
            await cancel_all(self._tasks)
        await self._webhooks.close()
        await self._aggregator.close()
        self.store.close()
