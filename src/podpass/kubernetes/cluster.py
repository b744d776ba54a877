"""The embedded cluster as one thing: its parts put together, opened, and closed in order."""

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
from podpass.kubernetes.apiserver.admission.webhook_dispatcher import Services, Webhooks
from podpass.kubernetes.apiserver.auth.authentication import Authenticator, Trust
from podpass.kubernetes.apiserver.auth.rbac import Rbac
from podpass.kubernetes.apiserver.handler import Api
from podpass.kubernetes.apiserver.read.discovery import Discovery
from podpass.kubernetes.apiserver.read.watch import Watches
from podpass.kubernetes.apiserver.registry.deletion import Deletions
from podpass.kubernetes.apiserver.registry.pod_logs import Logs
from podpass.kubernetes.apiserver.registry.store import Resources
from podpass.kubernetes.apiserver.request import User
from podpass.kubernetes.apiserver.storage.storage import Store
from podpass.kubernetes.controllers.controller_manager import Controllers

__all__ = ["Cluster", "ClusterConfig", "User"]

API_AUDIENCE = "https://kubernetes.default.svc"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """What a cluster is made from.

    Shapes:  `tokens` are static bearer tokens and their users; `kubelet_tls` a client context with the
             API server's client certificate, for `pods/log`; `services` origins of services that
             webhooks name, by `NAMESPACE/NAME:PORT`; `signer` signs tokens of ServiceAccounts in the
             name of `issuer`.
    """

    database: Path
    issuer: str
    signer: TokenSigner
    ca_file: Path
    tokens: Mapping[str, User] = field(default_factory=dict, repr=False)
    kubelet_tls: ssl.SSLContext | None = None
    services: Services = field(default_factory=dict)
    audiences: tuple[str, ...] = (API_AUDIENCE,)
    clock: Clock = system


class Cluster:
    """An embedded Kubernetes API; use it as a context and serve `app`.

    Clients are known by certificates that TLS has verified (CN the user, O its groups), by the static
    tokens, and by tokens of accounts.
    """

    def __init__(self, config: ClusterConfig) -> None:
        self._config = config
        self.store = Store(config.database)
        self._webhooks = Webhooks(self.store, config.services)
        self._rbac = Rbac(self.store)
        self.resources = Resources(self.store, self._rbac, self._webhooks, config.clock)
        self.deletions = Deletions(self.resources)
        self._logs = Logs(self.store, config.kubelet_tls)
        self._tasks: list[asyncio.Task[None]] = []
        self._watches: Watches | None = None
        self._app: Api | None = None

    @property
    def app(self) -> App:
        """The ASGI application, once the cluster is open."""
        assert self._app is not None
        return self._app

    async def __aenter__(self) -> Self:
        config, store = self._config, self.store
        store.open()
        try:
            bootstrap.fill(store, config.clock)
            controllers = Controllers(self.resources, self.deletions, config.ca_file)
            controllers.prepare()
        except BaseException:
            store.close()
            raise
        trust = Trust(
            issuer=config.issuer,
            signer=config.signer,
            audiences=config.audiences,
            tokens=config.tokens,
            clock=config.clock,
        )
        self._watches = Watches(store, config.clock)
        self._app = Api(
            resources=self.resources,
            authenticator=Authenticator(trust, store),
            trust=trust,
            rbac=self._rbac,
            discovery=Discovery(trust),
            watches=self._watches,
            logs=self._logs,
            clock=config.clock,
        )
        self._tasks.append(asyncio.create_task(controllers.run()))
        return self

    def drain(self) -> None:
        """End every watch, so that a server that stops need not wait for its clients."""
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
