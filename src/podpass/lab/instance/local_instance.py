"""The parts of one instance, and the order in which they start; `run` starts and stops them.

The parts communicate over HTTPS on loopback, as in production: the webhook through the Kubernetes API, the
authority and the vault through published keys. The kubelet calls the embedded API in the same process, and a
real API server over HTTPS.
"""

import asyncio
import importlib
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from podpass import names
from podpass.clock import Clock
from podpass.lab.data import ca, ca_rotation, kubeconfig
from podpass.lab.data.datadir import DataDir, InstanceConfig
from podpass.lab.data.served_tls import ServedTls
from podpass.lab.instance.cluster_parts import ClusterParts
from podpass.lab.instance.context import InstanceContext, Progress
from podpass.lab.instance.control_queries import InstanceQueries
from podpass.lab.instance.parts import CloudParts
from podpass.lab.instance.start_limit import limit_start
from podpass.settings.local import KUBE_APISERVER

if TYPE_CHECKING:
    from podpass.console.model import ConsoleSource
    from podpass.lab.instance.harness import Harness
    from podpass.settings import LocalSettings

_log = logging.getLogger(__name__)

# Those with the longest imports of the steps after the keys.
_MODULES = (
    "podpass.directory.store.directory",
    "podpass.exchange.app",
    "podpass.resource.app",
    "kubeling.kubelet.kubelet",
)
_ALL_MODULES = (*_MODULES, "kubeling.cluster")


class Instance:
    """All parts of an instance, in one event loop."""

    def __init__(
        self,
        data_dir: DataDir,
        config: InstanceConfig,
        sockets: Mapping[str, socket.socket],
        settings: "LocalSettings",
        *,
        environ: Mapping[str, str],
        clock: Clock,
        harness: "Harness | None" = None,
    ) -> None:
        self.data_dir = data_dir
        self._config = config
        self._sockets = sockets
        self._settings = settings
        self._environ = environ
        self._clock = clock
        self._harness = harness
        self.status_changed: Callable[[], None] = lambda: None

    async def start(self, stack: AsyncExitStack, progress: Progress) -> None:
        """Start all parts in order; each started part is pushed on the exit stack."""
        context = InstanceContext(
            data_dir=self.data_dir,
            config=self._config,
            sockets=self._sockets,
            settings=self._settings,
            environ=self._environ,
            clock=self._clock,
            stack=stack,
            tls=ServedTls(self.data_dir),
            login=self._config.direct_origin("authority"),
            faults=None if self._harness is None else self._harness.faults,
        )
        cloud = CloudParts(context)
        cluster = ClusterParts(context, on_restart=lambda: self.status_changed())
        await cloud.open_database()
        steps: dict[str, Callable[[], Awaitable[str]]] = {
            "certificates and keys": lambda: self._secrets(cloud, cluster),
            "kubernetes": lambda: cluster.start_api_server(cloud.published_keys),
            "issuer": cluster.start_issuer,
            "directory": cloud.open_directory,
            "authority": cloud.start_authority,
            "vault": cloud.start_vault,
            **({"storage": partial(self._storage, cloud)} if self._settings.azurite else {}),
            "webhook": lambda: cluster.start_webhook(cloud.directory),
            "resource manager and graph": lambda: cloud.start_apis(cluster.managed),
            "kubelet": lambda: cluster.start_kubelet(cloud.database, cloud.directory),
            "gateway": lambda: self._gateway(context, cloud, cluster),
            "console": lambda: self._console(context, cloud, cluster),
        }
        for part, step in steps.items():
            progress(part, "")
            async with limit_start(part, self.data_dir.root):
                detail = await step()
            progress(part, detail)
            _log.info("part_started", extra={"part": part})

    async def take_baseline(self) -> None:
        """Store the state to which tests reset the instance, if it is for tests."""
        if self._harness is not None:
            await self._harness.take_baseline()

    def on_unused(self, stop: Callable[[], None]) -> None:
        """Call `stop` in the event loop when no process uses an instance for tests any more."""
        if self._harness is not None:
            self._harness.watch_users(stop)

    async def _secrets(self, cloud: CloudParts, cluster: ClusterParts) -> str:
        """Create or read certificates and keys, in parallel, because generating RSA keys is slow."""
        opening = [asyncio.create_task(each.open_keys()) for each in (cluster, cloud)]
        # Threads generate the keys of a new instance while this thread works.
        await asyncio.sleep(0)
        self._write_certificates()
        for name in _MODULES if self._settings.kubernetes == KUBE_APISERVER else _ALL_MODULES:
            importlib.import_module(name)
        for each in opening:
            await each
        return str(self.data_dir.ca_file)

    def _write_certificates(self) -> None:
        from podpass.lab.data import trust

        ca_rotation.resume(self.data_dir)
        ca.ensure_certificates(self.data_dir, self._clock)
        trust.write_stores(self.data_dir, self._environ)
        kubeconfig.write_all(self.data_dir, self._config.url("kubernetes"))
        ca_rotation.complete(self.data_dir)

    async def _storage(self, cloud: CloudParts) -> str:
        accounts = self._environ.get(names.ENV_AZURITE_ACCOUNTS, "")
        return await cloud.start_storage(self._settings.azurite, accounts)

    async def _gateway(
        self, context: InstanceContext, cloud: CloudParts, cluster: ClusterParts
    ) -> str:
        from podpass.lab.gateway import gateway
        from podpass.settings.storage import parse_services

        self.queries = InstanceQueries(
            self.data_dir,
            self._config,
            cloud.directory,
            cloud.secret_store,
            settings=self._settings,
            pids=lambda: {"podpass": os.getpid(), **cluster.pids},
            pods=cluster.pods,
            clock=self._clock,
        )
        if self._harness is not None:
            self._harness.attach(self.data_dir, self._config, cloud, cluster)
        served = parse_services(self._settings.azurite)
        table = gateway.routes(self._config.ports, storage=served)
        running = gateway.run_gateway(
            self._sockets["gateway"],
            table,
            pods=cluster.pod_gateway,
            direct=cluster.direct.socket,
            vault_exists=cloud.has_vault,
            sources=context.sources,
            clock=self._clock,
        )
        await context.stack.enter_async_context(running)
        return f"{self._config.gateway}; {cluster.pods.note}"

    async def _console(
        self, context: InstanceContext, cloud: CloudParts, cluster: ClusterParts
    ) -> str:
        """Serve the console and the control API, which creates its links; return the console's address."""
        from podpass.lab.instance import control
        from podpass.lab.instance.console import LocalConsole

        def create_source(stack: AsyncExitStack) -> "ConsoleSource":
            from podpass.kubernetes.client import KubeClient
            from podpass.lab.instance.console_source import InstanceSource

            kube = KubeClient.from_kubeconfig(self.data_dir.admin_kubeconfig)
            stack.push_async_exit(kube)
            return InstanceSource(
                self.data_dir,
                self._config,
                cloud.directory,
                kube,
                cluster.pods.find_outdated,
            )

        console = LocalConsole(self._config.console, create_source, self._clock)
        self.create_link = console.create_link
        await context.stack.enter_async_context(console)
        await context.serve_http("console", console)
        context.stack.callback(console.drain)
        # Only the harness has paths for tests: faults, another clock, signatures of any claims.
        routes = {} if self._harness is None else self._harness.routes()
        token = self._config.control_token
        app = control.create_app(self.queries, token, console.create_link, routes)
        await context.serve("control", app)
        return self._config.console
