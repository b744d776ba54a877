"""Resource Manager, Microsoft Graph and the portal's API of an instance, on one port."""

import asyncio
import importlib
from typing import TYPE_CHECKING

from podpass.clock import Clock
from podpass.directory.management_app import create_app as create_management_app
from podpass.directory.resources import GRAPH_APP_ID, MANAGER_APP_ID, PORTAL_APP_ID, audiences
from podpass.lab.data.datadir import InstanceConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from podpass.directory.access import Admit
    from podpass.directory.resource_manager.cluster_backend import ClusterBackend
    from podpass.directory.store.directory import Directory
    from podpass.http.server import App, Receive, Scope, Send
    from podpass.resource.guard import KeySource

TENANT_NAME = "podpass local"
SUBSCRIPTION_NAME = "podpass"
_APPS = (
    "podpass.directory.graph.app",
    "podpass.directory.portal.app",
    "podpass.directory.resource_manager.app",
)


async def is_workload_identity_enabled(directory: "Directory", config: InstanceConfig) -> bool:
    """Return whether workload identity is enabled on the cluster; it is enabled by default."""
    from podpass.directory.resource_manager import cluster_wire

    clusters = await directory.clusters.page(config.subscription_id, limit=1)
    return cluster_wire.is_workload_identity_enabled(clusters[0].document if clusters else {})


class AzureApis:
    """The ASGI application of the APIs, which is imported and created with the first request.

    Most programs only exchange tokens and read secrets, so an instance starts without it.
    """

    def __init__(self, create: "Callable[[], App]") -> None:
        self._create = create
        self._app: App | None = None
        self._creating = asyncio.Lock()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        app = self._app or await self._open()
        await app(scope, receive, send)

    async def _open(self) -> "App":
        async with self._creating:
            if self._app is None:
                # In a thread: the import takes a tenth of a second.
                await asyncio.to_thread(_import_apps)
                self._app = self._create()
        return self._app


def _import_apps() -> None:
    for name in _APPS:
        importlib.import_module(name)


def create_app(
    directory: "Directory",
    cluster: "ClusterBackend",
    keys: "KeySource",
    config: InstanceConfig,
    clock: Clock,
    *,
    authority: str,
    graph_origin: str,
    vault_suffix: str,
) -> "App":
    """Create the application that serves the APIs on one port.

    `authority`, `graph_origin` and `vault_suffix` are for clients without the gateway.
    """
    from podpass.directory.graph.app import create_app as create_graph_app
    from podpass.directory.portal.app import create_app as create_portal_app
    from podpass.directory.resource_manager.app import create_app as create_manager_app
    from podpass.directory.resource_manager.model import SubscriptionContext
    from podpass.exchange.sign_in.passwords import hash_password

    domain = config.admin_username.partition("@")[2]
    place = SubscriptionContext(
        tenant_id=config.tenant_id,
        tenant_name=TENANT_NAME,
        domain=domain,
        subscription_id=config.subscription_id,
        subscription_name=SUBSCRIPTION_NAME,
        authority=authority,
        vault_suffix=vault_suffix,
    )
    arm = _create_admit(config, keys, clock, audiences(MANAGER_APP_ID))
    msgraph = _create_admit(config, keys, clock, audiences(GRAPH_APP_ID, [graph_origin]))
    portal = _create_admit(config, keys, clock, audiences(PORTAL_APP_ID))
    return create_management_app(
        create_manager_app(directory, arm, place, cluster, clock),
        create_graph_app(
            directory, msgraph, config.tenant_id, domain, clock, hash_password=hash_password
        ),
        create_portal_app(directory, portal, config.tenant_id),
    )


def _create_admit(
    config: InstanceConfig, keys: "KeySource", clock: Clock, accepted: frozenset[str]
) -> "Admit":
    from podpass.resource.api_callers import admit_with
    from podpass.resource.guard import Guard

    return admit_with(
        Guard(
            tenant_id=config.tenant_id,
            audiences=accepted,
            authorities=(),  # Azure's own APIs accept version 1 tokens only, never those of applications
            keys=keys,
            clock=clock,
        )
    )
