"""What all parts of one instance share: data directory, configuration, sockets, and the exit stack."""

import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from podpass import names
from podpass.clock import Clock
from podpass.lab.data.datadir import DataDir, InstanceConfig
from podpass.lab.data.served_tls import ServedTls
from podpass.lab.gateway.tunnel_sources import TunnelSources

if TYPE_CHECKING:
    from podpass.http.fetcher import Fetcher
    from podpass.http.server import App
    from podpass.settings import LocalSettings


Progress = Callable[[str, str], None]
"""Called twice for each part: with an empty string when it starts, with its address when it is ready."""


class TokenRules(Protocol):
    """The settings of the token service."""

    @property
    def propagation_seconds(self) -> int: ...

    @property
    def assertion_algorithms(self) -> str: ...


class ServiceWrapper(Protocol):
    """Changes the applications of an instance for tests."""

    def wrap(self, service: str, app: "App") -> "App": ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedCluster:
    """A cluster whose API server publishes the keys of its tokens.

    `issuer` is the exact `iss` of its tokens; `server` is the origin of the API server. The token in
    `token_file` is sent to that origin alone.
    """

    issuer: str
    server: str
    ca_file: Path
    token_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudContext:
    """The context in which parts start; each started part is pushed on `stack`.

    Only an instance for tests has `faults`; `login` is the origin of the sign-in page for browsers.
    """

    data_dir: DataDir
    config: InstanceConfig
    sockets: Mapping[str, socket.socket]
    settings: TokenRules
    clock: Clock
    stack: AsyncExitStack
    tls: ServedTls
    login: str
    cluster: TrustedCluster | None = None
    sources: TunnelSources = field(default_factory=TunnelSources)
    faults: ServiceWrapper | None = None

    @property
    def direct_vault(self) -> str:
        """Return the origin of the vaults for clients without the gateway."""
        return f"https://{names.DIRECT_VAULT_SUFFIX}:{self.config.ports['vault']}"

    async def serve_http(self, service: str, app: "App") -> None:
        """Serve an application without TLS on the socket of a service."""
        from podpass.http.server import serving

        await self.stack.enter_async_context(serving(app, self.sockets[service]))

    async def serve(self, service: str, app: "App", *, clients: bool = False) -> str:
        """Serve an application on the socket of a service; return its URL.

        With `clients`, a client may present a certificate of the instance's CA.
        """
        from podpass.http.server import serving

        if self.faults is not None:
            app = self.faults.wrap(service, app)
        tls = self.tls.create_context(clients=clients)
        running = serving(self.sources.wrap(app), self.sockets[service], tls)
        self.tls.add_server(await self.stack.enter_async_context(running), clients=clients)
        return self.config.url(service)

    def create_fetcher(self) -> "Fetcher":
        """Create a fetcher that reaches the Azure hosts of this instance, and the keys of its cluster."""
        from podpass.http.fetcher import Fetcher, FetchRules, TrustedUrls
        from podpass.lab.gateway.gateway import routes

        hosts = routes(self.config.ports)
        trusted = TrustedUrls(urls=frozenset())
        if self.cluster is not None:
            from podpass.exchange.client_auth.issuer_discovery import ClusterIssuer

            found = ClusterIssuer(issuer=self.cluster.issuer, server=self.cluster.server)
            trusted = TrustedUrls(
                urls=frozenset((found.document_url, found.jwks_url)),
                ca_file=self.cluster.ca_file,
                token_file=self.cluster.token_file,
            )
        rules = FetchRules(hosts=hosts, ca_file=self.data_dir.ca_file, trusted=trusted)
        fetcher = Fetcher(rules)
        self.tls.add_fetcher(fetcher)
        return fetcher


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceContext(CloudContext):
    """The context of a local instance, which also has a cluster half."""

    settings: "LocalSettings"
    environ: Mapping[str, str]
