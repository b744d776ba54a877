"""The embedded cluster: builds the API server and the controllers, opens them, and closes them in order."""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from podpass.clock import Clock, system
from podpass.http.server import App
from podpass.kubernetes.apiserver import bootstrap
from podpass.kubernetes.apiserver.admission.webhook_dispatcher import (
    ServiceOrigins,
    WebhookDispatcher,
)
from podpass.kubernetes.apiserver.auth.authentication import AuthConfig, Authenticator
from podpass.kubernetes.apiserver.auth.rbac import RbacAuthorizer
from podpass.kubernetes.apiserver.handler import ApiServer
from podpass.kubernetes.apiserver.read.discovery import DiscoveryHandler
from podpass.kubernetes.apiserver.read.watch import WatchHandler
from podpass.kubernetes.apiserver.registry.deletion import DeletionHandler
from podpass.kubernetes.apiserver.registry.pod_logs import PodLogHandler
from podpass.kubernetes.apiserver.registry.pod_streams import PodStreamHandler
from podpass.kubernetes.apiserver.registry.store import Registry
from podpass.kubernetes.apiserver.request import UserInfo
from podpass.kubernetes.apiserver.storage.storage import ObjectStore
from podpass.kubernetes.apiserver.websocket_streams import WebSocketStreams
from podpass.kubernetes.controllers.controller_manager import ControllerManager
from podpass.kubernetes.service_account.signer import TokenSigner

__all__ = ["ClusterConfig", "EmbeddedCluster", "UserInfo"]

API_AUDIENCE = "https://kubernetes.default.svc"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """Configuration of an embedded cluster.

    Shapes:  `tokens` maps static bearer tokens to their users; `kubelet_tls` is a client context with
             the API server's client certificate, for logs and streams; `services` maps `NAMESPACE/NAME:PORT`
             of a Service that webhook configurations name to its origin; `signer` signs ServiceAccount
             tokens for `issuer`; `jwks_uri` is below the issuer if it is empty.
    """

    database: Path
    issuer: str
    signer: TokenSigner
    ca_file: Path
    tokens: Mapping[str, UserInfo] = field(default_factory=dict, repr=False)
    kubelet_tls: ssl.SSLContext | None = None
    services: ServiceOrigins = field(default_factory=dict)
    audiences: tuple[str, ...] = (API_AUDIENCE,)
    jwks_uri: str = ""
    clock: Clock = system


class EmbeddedCluster:
    """An embedded Kubernetes API server with controllers; use it as a context manager and serve `app`.

    Clients authenticate with a client certificate that TLS has verified (CN is the user, O its groups),
    with a static token, or with a ServiceAccount token.
    """

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config
        self.store = ObjectStore(config.database)
        self._webhooks = WebhookDispatcher(self.store, config.services)
        self._rbac = RbacAuthorizer(self.store)
        self.registry = Registry(self.store, self._rbac, self._webhooks, config.clock)
        self.deletion_handler = DeletionHandler(self.registry)
        self._logs = PodLogHandler(self.store, config.kubelet_tls)
        self._streams = PodStreamHandler(self.registry, config.kubelet_tls)
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
            bootstrap.create_defaults(store, config.clock)
            controllers = ControllerManager(self.registry, self.deletion_handler, config.ca_file)
            controllers.prepare()
        except BaseException:
            store.close()
            raise
        auth_config = AuthConfig(
            issuer=config.issuer,
            signer=config.signer,
            audiences=config.audiences,
            tokens=config.tokens,
            clock=config.clock,
        )
        self._watches = WatchHandler(store, config.clock)
        self._authenticator = Authenticator(auth_config, store)
        self._controllers = controllers
        self._app = ApiServer(
            registry=self.registry,
            authenticator=self._authenticator,
            auth_config=auth_config,
            rbac=self._rbac,
            discovery=DiscoveryHandler(auth_config, config.jwks_uri, self.registry.kinds),
            watches=self._watches,
            websockets=self._websockets,
            kubelet_requests={
                "log": self._logs.open,
                **dict.fromkeys(("attach", "exec", "portforward"), self._streams.open),
            },
        )
        self._tasks.append(asyncio.create_task(controllers.run()))
        return self

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
        for task in self._tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._webhooks.close()
        await self._logs.close()
        self.store.close()
