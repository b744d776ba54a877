"""What all parts of one instance share: data directory, configuration, sockets, and the exit stack."""

import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from podpass import names
from podpass.clock import Clock
from podpass.local.datadir import DataDir, InstanceConfig
from podpass.local.served_tls import ServedTls

if TYPE_CHECKING:
    from podpass.http.fetcher import Fetcher
    from podpass.http.server import App
    from podpass.local.faults import FaultInjector
    from podpass.settings import LocalSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceContext:
    """The context in which parts start; each started part is pushed on `stack`.

    Shapes:  only an instance for tests has `faults`.
    """

    data_dir: DataDir
    config: InstanceConfig
    sockets: Mapping[str, socket.socket]
    settings: "LocalSettings"
    environ: Mapping[str, str]
    clock: Clock
    stack: AsyncExitStack
    tls: ServedTls
    faults: "FaultInjector | None" = None

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

        Shapes:  with `clients`, a client may present a certificate of the instance's CA.
        """
        from podpass.http.server import serving

        if self.faults is not None:
            app = self.faults.wrap(service, app)
        tls = self.tls.create_context(clients=clients)
        running = serving(app, self.sockets[service], tls)
        self.tls.add_server(await self.stack.enter_async_context(running), clients=clients)
        return self.config.url(service)

    def create_fetcher(self) -> "Fetcher":
        """Create a fetcher that reaches the Azure hosts of this instance."""
        from podpass.http.fetcher import Fetcher, FetchRules
        from podpass.local.gateway import routes

        hosts = routes(self.config.ports)
        fetcher = Fetcher(FetchRules(hosts=hosts, ca_file=self.data_dir.ca_file))
        self.tls.add_fetcher(fetcher)
        return fetcher
