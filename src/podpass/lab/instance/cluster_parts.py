"""The parts of one instance that make up its cluster: API server, issuer, webhook and kubelet.

Each part is a function that returns what other parts need, and the text for the progress. What it starts is
pushed on the exit stack of the context.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from podpass import names
from podpass.lab import services
from podpass.lab.cluster.pod_access import PodAccess
from podpass.lab.data import ca
from podpass.lab.data.environment import container_environment
from podpass.lab.data.ports import LOOPBACK
from podpass.lab.instance.cloud_parts import CloudHalf
from podpass.lab.instance.context import InstanceContext
from podpass.settings.local import KUBE_APISERVER

if TYPE_CHECKING:
    from kubeling.api import Api
    from kubeling.apiserver.storage.storage import ObjectStore
    from kubeling.cluster import EmbeddedCluster

    from podpass.assertion.keys import KeyRing
    from podpass.http.server import App
    from podpass.kubernetes.client import KubeClient
    from podpass.lab.cluster.control_plane.plane import ControlPlane
    from podpass.lab.cluster.managed_cluster import ManagedCluster, Rotations
    from podpass.lab.gateway.direct_tls import DirectTls
    from podpass.resource.guard import KeySource

_NO_ROTATION = (
    "Keys and certificates of a real control plane cannot be rotated while it runs, because its programs read"
    " them at their start. Use `podpass up` without `--kubernetes kube-apiserver`"
)

FollowCa = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class EmbeddedApiServer:
    """kubeling's API server, in this process. It accepts Entra tokens of one tenant."""

    context: InstanceContext
    cluster: "EmbeddedCluster"

    @property
    def store(self) -> "ObjectStore":
        return self.cluster.store

    @property
    def pids(self) -> Mapping[str, int]:
        return {}

    @property
    def entra_tenant(self) -> str:
        return self.context.config.tenant_id

    def check_file(self) -> None:
        """Check that the file of the objects can be read. Raises Error."""
        from podpass.lab.cluster.kubeling_adapters import podpass_errors

        with podpass_errors():
            self.cluster.store.check_file()

    async def connect_kubelet(self) -> "Api":
        """Return the kubelet's requests to the API server, in this process."""
        from kubeling.cluster import UserInfo

        groups = ("system:nodes", "system:authenticated")
        user = UserInfo(name=ca.CLIENTS[ca.RUNTIME][0], groups=groups)
        return self.cluster.api(user, self.context.config.url("kubernetes"))

    async def serve_kubelet(self, app: "App") -> None:
        """Connect the kubelet's API in this process."""
        self.cluster.kubelets[ca.NODE_NAME] = app
        self.context.sockets["kubelet"].close()

    def rotations(self, ring: "KeyRing", follow: FollowCa) -> "Rotations":
        """Return the rotations of keys and certificates.

        `follow` makes the other parts of the cluster use a new CA.
        """
        from podpass.lab.cluster.managed_cluster import Rotations
        from podpass.lab.data.certificate_rotation import CertificateRotation, RotationHooks

        async def follow_ca(ca_pem: bytes) -> None:
            await follow(ca_pem)
            self.cluster.publish_ca(ca_pem)

        hooks = RotationHooks(
            accept=self.cluster.accept_client_cas,
            follow=follow_ca,
            withdraw=self.cluster.end_watches,
        )
        context = self.context
        certificates = CertificateRotation(
            context.data_dir, context.tls, hooks, environ=context.environ, clock=context.clock
        )
        return Rotations(ring=ring, certificates=certificates)


@dataclass(frozen=True, slots=True)
class RealApiServer:
    """The API server of a real control plane. It does not accept Entra tokens."""

    context: InstanceContext
    plane: "ControlPlane"
    store: None = None
    entra_tenant: str = ""

    @property
    def pids(self) -> Mapping[str, int]:
        return self.plane.pids

    def check_file(self) -> None:
        """Check nothing: its API server reports the state of etcd itself."""

    async def connect_kubelet(self) -> "Api":
        """Return the kubelet's requests to the API server, over HTTPS."""
        from podpass.kubernetes.client import KubeClient
        from podpass.lab.cluster.kubeling_adapters import HttpApi

        client = KubeClient.from_kubeconfig(self.context.data_dir.path("runtime.kubeconfig"))
        return HttpApi(await self.context.stack.enter_async_context(client))

    async def serve_kubelet(self, app: "App") -> None:
        """Serve the kubelet's API over HTTPS."""
        from kubeling.kubelet.server import require_api_server

        from podpass.http.websocket_scopes import websocket_scopes

        served = websocket_scopes(require_api_server(app))
        await self.context.serve("kubelet", served, clients=True)

    def rotations(self, ring: "KeyRing", follow: FollowCa) -> str:  # noqa: ARG002 the protocol
        """Return why there are no rotations."""
        return _NO_ROTATION


ApiServer = EmbeddedApiServer | RealApiServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """The client of the webhook, and the cluster as Resource Manager manages it."""

    client: "KubeClient"
    managed: "ManagedCluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodServices:
    """How pods reach Azure's names.

    `gateway` listens for pods with their own network, `direct` for programs that ignore proxy variables.
    """

    gateway: socket.socket
    direct: "DirectTls"
    access: PodAccess


async def open_issuer_keys(context: InstanceContext) -> "KeyRing":
    """Open or create the keys of the cluster's issuer; RSA keys are generated in a thread."""
    from podpass.assertion.keys import KeyRing

    folder = context.data_dir.path("keys", "issuer")
    return await asyncio.to_thread(KeyRing.open, folder, context.clock)


async def start_api_server(
    context: InstanceContext, ring: "KeyRing", entra_keys: "KeySource"
) -> tuple[ApiServer, str]:
    """Serve the Kubernetes API; return it and its URL. `entra_keys` verify Entra tokens."""
    from podpass.lab.cluster.kubeling_adapters import write_log_of_kubeling

    write_log_of_kubeling()  # also of the kubelet, which serves a real control plane too
    if context.settings.kubernetes == KUBE_APISERVER:
        return await _start_control_plane(context)
    from kubeling.cluster import ClusterConfig, EmbeddedCluster

    from podpass.files import is_durable
    from podpass.http.websocket_scopes import websocket_scopes
    from podpass.lab.cluster.kubeling_adapters import EntraTokens, RingSigner, podpass_errors

    config = ClusterConfig(
        database=context.data_dir.path("kubernetes.db"),
        issuer=context.config.issuer,
        signer=RingSigner(ring),
        ca_file=context.data_dir.ca_file,
        other_tokens=EntraTokens(context.config.tenant_id, entra_keys, context.clock),
        is_durable=is_durable(),
        clock=context.clock,
    )
    with podpass_errors():
        cluster = await context.stack.enter_async_context(EmbeddedCluster(config))
    url = await context.serve("kubernetes", websocket_scopes(cluster.app), clients=True)
    # Open watch requests would delay the stop of the server until its timeout.
    context.stack.callback(cluster.drain)
    return EmbeddedApiServer(context, cluster), url


async def _start_control_plane(context: InstanceContext) -> tuple[RealApiServer, str]:
    """Start a real control plane on the reserved port."""
    from podpass.lab.cluster.control_plane import programs
    from podpass.lab.cluster.control_plane.plane import ControlPlane, ControlPlaneConfig

    found = programs.find(context.environ)
    context.sockets["kubernetes"].close()
    config = ControlPlaneConfig(
        programs=found,
        data_dir=context.data_dir,
        issuer=context.config.issuer,
        port=context.config.ports["kubernetes"],
        on_restart=context.status_changed.set,
    )
    plane = await context.stack.enter_async_context(ControlPlane(config))
    controllers = "" if found.controllers else ", without controllers"
    url = f"{context.config.url('kubernetes')}, {found.api_server}{controllers}"
    return RealApiServer(context, plane), url


async def start_issuer(context: InstanceContext, ring: "KeyRing") -> tuple[None, str]:
    """Serve the discovery document and the keys; return the issuer."""
    from podpass.assertion.app import create_app

    await context.serve("issuer", create_app(context.config.issuer, ring))
    return None, context.config.issuer


async def start_webhook(
    context: InstanceContext, ring: "KeyRing", api_server: ApiServer, cloud: CloudHalf
) -> tuple[Webhook, str]:
    """Serve the webhook and register it, unless it is left out; return it and its URL."""
    from podpass.admission.events import RefusalRecorder
    from podpass.admission.handler import create_app
    from podpass.admission.service_accounts import ServiceAccountCache
    from podpass.kubernetes.client import KubeClient
    from podpass.lab.cluster.managed_cluster import ManagedCluster
    from podpass.lab.cluster.registration import (
        apply_rbac,
        build_webhook_settings,
        publish_issuer,
        runs_native_sidecars,
    )

    chosen, data_dir, config = context.settings, context.data_dir, context.config
    url = "" if chosen.no_webhook else config.url("webhook") + names.WEBHOOK_PATH
    enter = context.stack.enter_async_context
    async with KubeClient.from_kubeconfig(data_dir.admin_kubeconfig) as admin:
        await apply_rbac(admin)
        await publish_issuer(admin, is_public=chosen.public_issuer)
        version = str((await admin.get("/version"))["gitVersion"])
    client = await enter(KubeClient.from_kubeconfig(data_dir.path("webhook.kubeconfig")))
    if url:
        accounts = await enter(ServiceAccountCache(client))
        events = await enter(RefusalRecorder(client, context.clock))
        native = await runs_native_sidecars(client)
        settings = build_webhook_settings(
            config.tenant_id, native_sidecar=native, **chosen.custom_endpoint()
        )
        await context.serve("webhook", create_app(settings, accounts, events=events))
    else:
        context.sockets["webhook"].close()

    async def follow_ca(ca_pem: bytes) -> None:
        """Use a new CA, and the client certificate that it has signed. Raises KubeError."""
        await managed.use_ca(ca_pem)
        client.reload()

    managed = ManagedCluster(
        data_dir,
        issuer=config.issuer,
        server=config.url("kubernetes"),
        version=version,
        webhook_url=url,
        rotations=api_server.rotations(ring, follow_ca),
        tenant_id=api_server.entra_tenant,
    )
    enabled = await services.is_webhook_enabled(cloud.directory, config.subscription_id)
    await managed.set_workload_identity(enabled)
    shown = f"{url}{'' if enabled else ', disabled'}" if url else "left out by --no-webhook"
    return Webhook(client=client, managed=managed), shown


async def start_kubelet(
    context: InstanceContext, api_server: ApiServer, webhook: Webhook, cloud: CloudHalf
) -> tuple[PodServices, str]:
    """Start the kubelet; return how its pods reach services, its node and how it isolates pods."""
    from kubeling.kubelet.kubelet import Kubelet, KubeletConfig

    from podpass.directory.store.session import TOPIC
    from podpass.http.server import bind
    from podpass.lab.cluster.image_source import IMAGES_FILE, InstanceImages
    from podpass.lab.cluster.kubeling_adapters import podpass_errors
    from podpass.lab.cluster.outdated_pods import OutdatedPods
    from podpass.lab.cluster.pod_access import pod_network
    from podpass.lab.cluster.samples.builds import SampleBuilds
    from podpass.lab.cluster.samples.cache import SampleCache, cache_folder
    from podpass.lab.gateway.direct_tls import run_direct_tls

    config, data_dir, clock = context.config, context.data_dir, context.clock
    enter = context.stack.enter_async_context
    hosts = data_dir.path("hosts")
    list_more = partial(
        services.list_hosts, cloud.directory, config.subscription_id, context.storage_services
    )
    direct = await enter(run_direct_tls(hosts, config, list_more))
    cloud.database.subscribe(TOPIC, direct.hosts.changed)
    gateway = bind(LOOPBACK, 0)
    context.stack.callback(gateway.close)
    ports, path = config.ports, context.environ.get("PATH", os.defpath)
    samples = SampleCache(cache_folder(context.environ), path)
    builds = await enter(SampleBuilds(samples, context.environ))
    kubelet = Kubelet(
        KubeletConfig(
            node_name=ca.NODE_NAME,
            folder=data_dir.path("pods"),
            images=InstanceImages(data_dir.path(IMAGES_FILE), samples, builds),
            environment=partial(container_environment, data_dir, ports["gateway"]),
            path=path,
            port=ports["kubelet"],
            hosts_file=direct.hosts.path,
            hidden=data_dir.root,
            shown=data_dir.public_files,
            own_networks=True,
            network=pod_network(
                ports, direct.address, gateway.getsockname()[1], context.settings.token_proxy
            ),
            clock=clock,
        ),
        await api_server.connect_kubelet(),
    )
    await api_server.serve_kubelet(kubelet.app)
    with podpass_errors():
        await enter(kubelet)
    direct.hosts.on_update = kubelet.update_hosts
    changed = context.status_changed.set
    outdated = await enter(OutdatedPods(webhook.client, config.tenant_id, changed, clock))
    access = PodAccess(
        kubelet.sandbox,
        kubelet.pod_network,
        served=direct.socket is not None,
        find_outdated=outdated.describe,
        stopped_containers=kubelet.stopped_containers,
    )
    detail = f"node {ca.NODE_NAME}, {kubelet.sandbox}"
    return PodServices(gateway=gateway, direct=direct, access=access), detail
