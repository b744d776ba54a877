"""What all parts of one instance share: data directory, configuration, sockets, and the exit stack."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from podpass import names
from podpass.clock import Clock
from podpass.lab.data.datadir import DataDir, InstanceConfig
from podpass.lab.data.served_tls import ServedTls
from podpass.lab.gateway.tunnel_sources import TunnelSources

if TYPE_CHECKING:
    from podpass.directory.claims_expression import KubernetesIssuers
    from podpass.exchange.client_auth.issuer_discovery import ClusterIssuer
    from podpass.http.fetcher import Fetcher
    from podpass.http.server import App, Receive, Scope, Send
    from podpass.settings import LocalSettings
    from podpass.settings.azure import AzureSettings


class ServiceWrapper(Protocol):
    """Changes the applications of an instance for tests."""

    def wrap(self, service: str, app: "App") -> "App": ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudContext:
    """The context in which parts start; each started part is pushed on `stack`.

    Only an instance for tests has `faults`; `login` is the origin of the sign-in page for browsers.
    """

    data_dir: DataDir
    config: InstanceConfig
    sockets: Mapping[str, socket.socket]
    settings: "AzureSettings"
    environ: Mapping[str, str]
    clock: Clock
    stack: AsyncExitStack
    tls: ServedTls
    login: str
    cluster: "ClusterIssuer | None" = None
    sources: TunnelSources = field(default_factory=TunnelSources)
    faults: ServiceWrapper | None = None

    @property
    def cluster_issuer(self) -> str:
        """Return the issuer of the cluster's tokens; empty if no cluster is known."""
        return "" if self.cluster is None else self.cluster.issuer

    @property
    def expressions(self) -> "KubernetesIssuers":
        """Return the cluster that expressions of flexible credentials may name, if the user allows it."""
        from podpass.directory.claims_expression import KubernetesIssuers

        issuers = {self.cluster_issuer} - {""} if self.settings.flexible_kubernetes else ()
        return KubernetesIssuers(issuers=frozenset(issuers), allow_wide=self.settings.allow_wide)

    @property
    def direct_vault(self) -> str:
        """Return the origin of the vaults for clients without the gateway."""
        return f"https://{names.DIRECT_VAULT_SUFFIX}:{self.config.ports['vault']}"

    @property
    def apis(self) -> str:
        """Return the origin of Resource Manager for clients that use the gateway."""
        return f"https://{names.ARM_HOST}"

    @property
    def storage_services(self) -> tuple[str, ...]:
        """Return the services of storage accounts that are served."""
        from podpass.settings.storage import parse_services

        return tuple(parse_services(self.settings.azurite))

    def refetch_seconds(self, usual: int) -> int:
        """Return the interval of fetches for an unknown key ID; tests rotate keys more often."""
        return usual if self.faults is None else 0

    async def serve_http(self, service: str, app: "App") -> None:
        """Serve an application without TLS on the socket of a service."""
        from podpass.http.server import serving
        from podpass.servers.file_limits import shared_limits

        running = serving(app, self.sockets[service], limits=shared_limits())
        await self.stack.enter_async_context(running)

    async def serve(self, service: str, app: "App", *, clients: bool = False) -> str:
        """Serve an application on the socket of a service; return its URL.

        With `clients`, a client may present a certificate of the instance's CA.
        """
        from podpass.http.server import serving
        from podpass.servers.file_limits import shared_limits

        if self.faults is not None:
            app = self.faults.wrap(service, app)
        tls = self.tls.create_context(clients=clients)
        running = serving(
            app,
            self.sockets[service],
            tls,
            limits=shared_limits(),
            find_client=self.sources.find,
        )
        self.tls.add_server(await self.stack.enter_async_context(running), clients=clients)
        return self.config.url(service)

    def create_fetcher(self) -> "Fetcher":
        """Create a fetcher that reaches the Azure hosts of this instance, and the keys of its cluster."""
        return self._create_fetcher((), None)

    def create_issuer_fetcher(self) -> "Fetcher":
        """Create the same fetcher for the keys of issuers, which the user may allow private addresses."""
        ca_file = self.settings.issuer_ca_file
        return self._create_fetcher(
            self.settings.private_issuer_names, Path(ca_file) if ca_file else None
        )

    def _create_fetcher(self, private: tuple[str, ...], private_ca_file: Path | None) -> "Fetcher":
        from podpass.http.fetcher import Fetcher, FetchRules, TrustedUrls
        from podpass.lab.gateway.gateway import routes

        rules = FetchRules(
            hosts=routes(self.config.ports),
            ca_file=self.data_dir.ca_file,
            private=private,
            private_ca_file=private_ca_file,
            trusted=self.cluster.trusted if self.cluster else TrustedUrls(),
        )
        fetcher = Fetcher(rules)
        self.tls.add_fetcher(fetcher)
        return fetcher


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceContext(CloudContext):
    """The context of a local instance, which also has a cluster half.

    A part whose state in the status document changes sets `status_changed`.
    """

    settings: "LocalSettings"
    status_changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def cluster_issuer(self) -> str:
        """Return the issuer of the instance's own cluster."""
        return self.config.issuer

    @property
    def apis(self) -> str:
        """Return the origin of Resource Manager for clients of this machine, with or without the gateway."""
        return self.config.direct_origin("azure")


A = TypeVar("A", bound="App")


class LazyApp(Generic[A]):
    """An ASGI application that is loaded and created with the first request; `app` is None before.

    Most programs only exchange tokens and read secrets, so an instance starts without the other applications.
    """

    def __init__(self, load: Callable[[], object], create: Callable[[], A]) -> None:
        self.app: A | None = None
        self._load, self._create = load, create
        self._creating = asyncio.Lock()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        app = self.app or await self._open()
        await app(scope, receive, send)

    async def _open(self) -> A:
        async with self._creating:
            if self.app is None:
                # In a thread: the import takes a tenth of a second or more.
                await asyncio.to_thread(self._load)
                self.app = self._create()
        return self.app
