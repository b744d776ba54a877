"""The parts of one instance that make up its cluster: API server, issuer, webhook and kubelet."""

import asyncio
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from podpass import names
from podpass.cloud import azure_apis, ca
from podpass.cloud.ports import LOOPBACK
from podpass.local.context import InstanceContext
from podpass.local.environment import container_environment
from podpass.local.pod_access import PodAccess
from podpass.settings.local import KUBE_APISERVER

if TYPE_CHECKING:
    from kubeling.api import Api
    from kubeling.cluster import EmbeddedCluster

    from podpass.database import Database
    from podpass.directory.store.directory import Directory
    from podpass.http.server import App
    from podpass.kubernetes.client import KubeClient
    from podpass.local.control_plane.plane import ControlPlane
    from podpass.local.direct_tls import DirectTls
    from podpass.local.managed_cluster import ManagedCluster, Rotations
    from podpass.resource.guard import KeySource

_NO_ROTATION = (
    "Keys and certificates of a real control plane cannot be rotated while it runs, because its programs read"
    " them at their start. Use `podpass up` without `--kubernetes kube-apiserver`"
)


class ClusterParts:
    """Starts the parts of the cluster half. The methods are called in this order."""

    def __init__(self, context: InstanceContext, on_restart: Callable[[], None]) -> None:
        self._context = context
        self._config, self._data_dir = context.config, context.data_dir
        self._stack, self._clock = context.stack, context.clock
        self._on_restart = on_restart
        self._plane: ControlPlane | None = None
        self.cluster: EmbeddedCluster | None = None
        self._webhook_client: KubeClient
        self.managed: ManagedCluster
        self.direct: DirectTls
        self.pod_gateway: socket.socket

    @property
    def pids(self) -> dict[str, int]:
        """Return the processes of a real control plane."""
        return dict(self._plane.pids) if self._plane else {}

    async def open_keys(self) -> None:
        """Open or create the keys of the cluster's issuer; RSA keys are generated in a thread."""
        from podpass.assertion.keys import KeyRing

        folder = self._data_dir.path("keys", "issuer")
        self.ring = await asyncio.to_thread(KeyRing.open, folder, self._clock)

    async def start_api_server(self, entra_keys: "KeySource") -> str:
        """Serve the Kubernetes API; return its URL.

        `entra_keys` verify Entra tokens. A real control plane does not accept these tokens.
        """
        from podpass.local.kubeling_adapters import write_log_of_kubeling

        write_log_of_kubeling()  # also of the kubelet, which serves a real control plane too
        if self._context.settings.kubernetes == KUBE_APISERVER:
            return await self._start_control_plane()
        from kubeling.cluster import ClusterConfig, EmbeddedCluster

        from podpass.files import is_durable
        from podpass.http.websocket_scopes import websocket_scopes
        from podpass.local.entra_tokens import EntraTokens
        from podpass.local.kubeling_adapters import RingSigner, podpass_errors

        config = ClusterConfig(
            database=self._data_dir.path("kubernetes.db"),
            issuer=self._config.issuer,
            signer=RingSigner(self.ring),
            ca_file=self._data_dir.ca_file,
            other_tokens=EntraTokens(self._config.tenant_id, entra_keys, self._clock),
            is_durable=is_durable(),
            clock=self._clock,
        )
        with podpass_errors():
            self.cluster = cluster = await self._stack.enter_async_context(EmbeddedCluster(config))
        url = await self._context.serve("kubernetes", websocket_scopes(cluster.app), clients=True)
        # Open watch requests would delay the stop of the server until its timeout.
        self._stack.callback(cluster.drain)
        return url

    async def _start_control_plane(self) -> str:
        """Start a real control plane on the reserved port."""
        from podpass.local.control_plane import programs
        from podpass.local.control_plane.plane import ControlPlane, ControlPlaneConfig

        found = programs.find(self._context.environ)
        self._context.sockets["kubernetes"].close()
        config = ControlPlaneConfig(
            programs=found,
            data_dir=self._data_dir,
            issuer=self._config.issuer,
            port=self._config.ports["kubernetes"],
            on_restart=self._on_restart,
        )
        self._plane = await self._stack.enter_async_context(ControlPlane(config))
        controllers = "" if found.controllers else ", without controllers"
        return f"{self._config.url('kubernetes')}, {found.api_server}{controllers}"

    async def start_issuer(self) -> str:
        """Serve the discovery document and the keys; return the issuer."""
        from podpass.assertion.app import create_app

        await self._context.serve("issuer", create_app(self._config.issuer, self.ring))
        return self._config.issuer

    async def start_webhook(self, directory: "Directory") -> str:
        """Serve the webhook and register it, unless it is left out; return its URL."""
        from podpass.admission.events import RefusalRecorder
        from podpass.admission.handler import create_app
        from podpass.admission.service_accounts import ServiceAccountCache
        from podpass.kubernetes.client import KubeClient
        from podpass.local.managed_cluster import ManagedCluster
        from podpass.local.registration import (
            apply_rbac,
            build_webhook_settings,
            runs_native_sidecars,
        )

        chosen = self._context.settings
        url = "" if chosen.no_webhook else self._config.url("webhook") + names.WEBHOOK_PATH
        enter = self._stack.enter_async_context
        async with KubeClient.from_kubeconfig(self._data_dir.admin_kubeconfig) as admin:
            await apply_rbac(admin)
            version = str((await admin.get("/version"))["gitVersion"])
        client = await enter(KubeClient.from_kubeconfig(self._data_dir.path("webhook.kubeconfig")))
        self._webhook_client = client
        if url:
            accounts = await enter(ServiceAccountCache(client))
            events = await enter(RefusalRecorder(client, self._clock))
            native = await runs_native_sidecars(client)
            settings = build_webhook_settings(
                self._config.tenant_id, native_sidecar=native, **chosen.custom_endpoint()
            )
            await self._context.serve("webhook", create_app(settings, accounts, events=events))
        else:
            self._context.sockets["webhook"].close()
        self.managed = ManagedCluster(
            self._data_dir,
            issuer=self._config.issuer,
            server=self._config.url("kubernetes"),
            version=version,
            webhook_url=url,
            rotations=self._rotations(),
            tenant_id="" if self.cluster is None else self._config.tenant_id,
        )
        enabled = await azure_apis.is_workload_identity_enabled(directory, self._config)
        await self.managed.set_workload_identity(enabled)
        if not url:
            return "left out by --no-webhook"
        return url if enabled else f"{url}, disabled"

    def _rotations(self) -> "Rotations":
        from podpass.local.certificate_rotation import CertificateRotation, RotationHooks
        from podpass.local.managed_cluster import Rotations

        rotation = CertificateRotation(
            self._data_dir,
            self._context.tls,
            RotationHooks(
                accept=self._accept_clients, follow=self._follow_ca, withdraw=self._end_watches
            ),
            environ=self._context.environ,
            clock=self._clock,
        )
        refused = "" if self._plane is None else _NO_ROTATION
        return Rotations(ring=self.ring, certificates=rotation, refused=refused)

    async def _follow_ca(self, ca_pem: bytes) -> None:
        """Use a new CA, and the client certificates that it has signed. Raises KubeError."""
        assert self.cluster is not None
        await self.managed.use_ca(ca_pem)
        self.cluster.publish_ca(ca_pem)
        self._webhook_client.reload()

    def _accept_clients(self, cas: bytes) -> None:
        assert self.cluster is not None
        self.cluster.accept_client_cas(cas)

    def _end_watches(self) -> None:
        assert self.cluster is not None
        self.cluster.end_watches()

    async def _kubelet_api(self) -> "Api":
        """Return the kubelet's requests to the API server: in this process, or over HTTPS to a real one."""
        from kubeling.cluster import UserInfo

        from podpass.kubernetes.client import KubeClient
        from podpass.local.kubeling_adapters import HttpApi

        if self.cluster is not None:
            groups = ("system:nodes", "system:authenticated")
            user = UserInfo(name=ca.CLIENTS[ca.RUNTIME][0], groups=groups)
            return self.cluster.api(user, self._config.url("kubernetes"))
        kubeconfig = self._data_dir.path("runtime.kubeconfig")
        client = KubeClient.from_kubeconfig(kubeconfig)
        return HttpApi(await self._stack.enter_async_context(client))

    async def _serve_kubelet(self, app: "App") -> None:
        from kubeling.kubelet.server import require_api_server

        from podpass.http.websocket_scopes import websocket_scopes

        if self.cluster is not None:
            self.cluster.kubelets[ca.NODE_NAME] = app
            self._context.sockets["kubelet"].close()
        else:
            served = websocket_scopes(require_api_server(app))
            await self._context.serve("kubelet", served, clients=True)

    async def start_kubelet(self, database: "Database", directory: "Directory") -> str:
        """Start the kubelet; return its node and how it isolates pods."""
        from kubeling.kubelet.kubelet import Kubelet, KubeletConfig

        from podpass.directory.store.session import TOPIC
        from podpass.http.server import bind
        from podpass.local.direct_tls import run_direct_tls
        from podpass.local.image_source import IMAGES_FILE, InstanceImages
        from podpass.local.kubeling_adapters import podpass_errors
        from podpass.local.outdated_pods import OutdatedPods
        from podpass.local.pod_access import pod_network
        from podpass.local.samples.builds import SampleBuilds
        from podpass.local.samples.cache import SampleCache, cache_folder
        from podpass.settings.storage import parse_services

        served = parse_services(self._context.settings.azurite)
        direct = run_direct_tls(self._data_dir.path("hosts"), self._config, directory, served)
        self.direct = await self._stack.enter_async_context(direct)
        database.subscribe(TOPIC, self.direct.hosts.changed)
        self.pod_gateway = bind(LOOPBACK, 0)
        self._stack.callback(self.pod_gateway.close)
        ports, path = self._config.ports, self._context.environ.get("PATH", os.defpath)
        samples = SampleCache(cache_folder(self._context.environ), path)
        builds = await self._stack.enter_async_context(SampleBuilds(samples, self._context.environ))
        runtime = Kubelet(
            KubeletConfig(
                node_name=ca.NODE_NAME,
                folder=self._data_dir.path("pods"),
                images=InstanceImages(self._data_dir.path(IMAGES_FILE), samples, builds),
                environment=partial(container_environment, self._data_dir, ports["gateway"]),
                path=path,
                port=ports["kubelet"],
                hosts_file=self.direct.hosts.path,
                hidden=self._data_dir.root,
                shown=self._data_dir.public_files,
                own_networks=True,
                network=pod_network(
                    ports,
                    self.direct.address,
                    self.pod_gateway.getsockname()[1],
                    self._context.settings.token_proxy,
                ),
                clock=self._clock,
            ),
            await self._kubelet_api(),
        )
        await self._serve_kubelet(runtime.app)
        with podpass_errors():
            await self._stack.enter_async_context(runtime)
        self.direct.hosts.on_update = runtime.update_hosts
        outdated = OutdatedPods(
            self._webhook_client, self._config.tenant_id, self._on_restart, self._clock
        )
        await self._stack.enter_async_context(outdated)
        self.pods = PodAccess(
            runtime.sandbox,
            runtime.pod_network,
            served=self.direct.socket is not None,
            find_outdated=outdated.describe,
            stopped_containers=runtime.stopped_containers,
        )
        return f"node {ca.NODE_NAME}, {runtime.sandbox}"
