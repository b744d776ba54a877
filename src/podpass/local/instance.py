"""The parts of one instance, and how they are connected; `run` starts and stops them.

The parts communicate over HTTPS on loopback, as in production: the webhook and the kubelet through the
Kubernetes API, the authority and the vault through published keys.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from podpass import names
from podpass.clock import Clock
from podpass.local import administrator, azure_apis, ca, kubeconfig
from podpass.local.control_queries import InstanceQueries
from podpass.local.datadir import DataDir, InstanceConfig
from podpass.local.environment import pod_environment
from podpass.local.pod_access import PodAccess
from podpass.local.start_limit import limit_start
from podpass.settings.local import KUBE_APISERVER

if TYPE_CHECKING:
    from podpass.directory.store.directory import Directory
    from podpass.http.fetcher import Fetcher
    from podpass.http.server import App
    from podpass.local.control_plane.plane import ControlPlane
    from podpass.local.direct_tls import DirectTls
    from podpass.resource.store import SecretStore
    from podpass.settings import LocalSettings

_log = logging.getLogger(__name__)

Progress = Callable[[str, str], None]


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
    ) -> None:
        self.data_dir = data_dir
        self._config = config
        self._sockets = sockets
        self._settings = settings
        self._environ = environ
        self._clock = clock
        self._plane: ControlPlane | None = None
        self.status_changed: Callable[[], None] = lambda: None
        self._directory: Directory
        self._secret_store: SecretStore
        self._direct: DirectTls

    async def start(self, stack: AsyncExitStack, progress: Progress) -> None:
        """Start all parts in order; each started part is pushed on the exit stack."""
        self._stack = stack
        await self._open_database()
        steps = {
            "certificates and keys": self._secrets,
            "kubernetes": self._cluster,
            "issuer": self._issuer,
            "directory": self._open_directory,
            "authority": self._authority,
            "vault": self._vault,
            "webhook": self._webhook,
            "resource manager and graph": self._apis,
            "kubelet": self._kubelet,
            "gateway": self._gateway,
        }
        for part, step in steps.items():
            progress(part, "")
            async with limit_start(part, self.data_dir.root):
                detail = await step()
            progress(part, detail)
            _log.info("part_started", extra={"part": part})

    # ------------------------------------------------------------------ parts, in start order

    async def _open_database(self) -> None:
        """Open the database that directory, authority and vault share."""
        from podpass.database import Database

        database = Database(f"sqlite:///{self.data_dir.path('directory.db')}")
        self._database = await self._stack.enter_async_context(database)

    async def _secrets(self) -> str:
        """Create or read certificates and keys; RSA keys are generated in parallel, because that is slow."""
        from podpass.assertion.keys import KeyRing
        from podpass.exchange.signing.key_set import AuthorityKeys

        keys = self.data_dir.path("keys")
        ring = asyncio.create_task(asyncio.to_thread(KeyRing.open, keys / "issuer"))
        # The sealing key of the token service is stored outside the database with the sealed keys.
        opening = AuthorityKeys.open(self._database, keys / "authority.key", self._clock)
        authority = asyncio.create_task(opening)
        self._write_certificates()
        self._ring, self._authority_keys = await ring, await authority
        return str(self.data_dir.ca_file)

    def _write_certificates(self) -> None:
        from podpass.local import trust

        ca.ensure_certificates(self.data_dir, self._clock)
        trust.write_stores(self.data_dir, self._environ)
        kubeconfig.write_all(self.data_dir, self._config.url("kubernetes"))

    async def _cluster(self) -> str:
        if self._settings.kubernetes == KUBE_APISERVER:
            return await self._control_plane()
        from podpass.kubernetes.cluster import ClusterConfig, EmbeddedCluster

        cluster = await self._stack.enter_async_context(
            EmbeddedCluster(
                ClusterConfig(
                    database=self.data_dir.path("kubernetes.db"),
                    issuer=self._config.issuer,
                    signer=self._ring,
                    ca_file=self.data_dir.ca_file,
                    tokens={},
                    kubelet_tls=ca.client_context(self.data_dir, ca.KUBELET_CLIENT),
                    clock=self._clock,
                )
            )
        )
        url = await self._serve("kubernetes", cluster.app, clients=True)
        # Open watch requests would delay the stop of the server until its timeout.
        self._stack.callback(cluster.drain)
        return url

    async def _control_plane(self) -> str:
        """Start a real control plane on the reserved port."""
        from podpass.local.control_plane import programs
        from podpass.local.control_plane.plane import ControlPlane, ControlPlaneConfig

        found = programs.find(self._environ)
        self._sockets["kubernetes"].close()
        config = ControlPlaneConfig(
            programs=found,
            data_dir=self.data_dir,
            issuer=self._config.issuer,
            port=self._config.ports["kubernetes"],
            on_restart=lambda: self.status_changed(),
        )
        self._plane = await self._stack.enter_async_context(ControlPlane(config))
        controllers = "" if found.controllers else ", without controllers"
        return f"{self._config.url('kubernetes')}, {found.api_server}{controllers}"

    async def _issuer(self) -> str:
        from podpass.assertion.app import create_app

        await self._serve("issuer", create_app(self._config.issuer, self._ring))
        return self._config.issuer

    @property
    def _direct_vault(self) -> str:
        return f"https://{names.DIRECT_VAULT_SUFFIX}:{self._config.ports['vault']}"

    async def _open_directory(self) -> str:
        from podpass.directory.model import ResourcePrincipal, Tenant
        from podpass.directory.resources import GRAPH_APP_ID, VAULT_APP_ID
        from podpass.directory.store.directory import Directory

        vault = ResourcePrincipal(
            app_id=VAULT_APP_ID,
            uris=(self._direct_vault, self._config.direct_origin("vault")),
            display_name="Azure Key Vault, without gateway",
            token_version=1,
        )
        graph = ResourcePrincipal(
            app_id=GRAPH_APP_ID,
            uris=(self._config.direct_origin("azure"),),
            display_name="Microsoft Graph, without gateway",
            token_version=1,
        )
        self._directory = await self._stack.enter_async_context(
            Directory(self._database, (vault, graph), self._clock)
        )
        domain = self._config.admin_username.partition("@")[2]
        await self._directory.create_tenant(
            Tenant(
                id=self._config.tenant_id, display_name=azure_apis.TENANT_NAME, domains=(domain,)
            )
        )
        self._admin = await administrator.ensure_administrator(self._directory, self._config)
        return f"tenant {self._config.tenant_id}"

    async def _authority(self) -> str:
        from podpass.exchange.app import create_app
        from podpass.settings import AuthoritySettings

        origins = [f"https://{alias}" for alias in names.LOGIN_ALIASES]
        settings = AuthoritySettings(
            origins=(
                *origins,
                self._config.direct_origin("authority"),
                self._config.url("authority"),
            ),
            pages_origin=self._config.direct_origin("authority"),
            administrators=(self._admin.id,),
            propagation_seconds=self._settings.propagation_seconds,
            assertion_algorithms=tuple(self._settings.assertion_algorithms.split(",")),
        )
        keys = await self._stack.enter_async_context(self._authority_keys.running())
        app = create_app(settings, self._directory, self._fetcher(), keys, self._clock)
        await self._serve("authority", app)
        self._sign_az_in()
        return self._config.direct_origin("authority")

    def _sign_az_in(self) -> None:
        from podpass.exchange.sign_in import refresh_tokens
        from podpass.exchange.sign_in.well_known_clients import AZURE_CLI
        from podpass.local import azure_config

        seal, admin, clock = self._authority_keys.token_sealer, self._admin, self._clock
        azure_config.sign_in_administrator(
            self.data_dir.path("azure"),
            azure_config.AzAccount(
                tenant_id=self._config.tenant_id,
                tenant_name=azure_apis.TENANT_NAME,
                user_id=admin.id,
                user_name=admin.name,
                subscription_id=self._config.subscription_id,
                subscription_name=azure_apis.SUBSCRIPTION_NAME,
            ),
            mint=lambda: refresh_tokens.issue(seal, admin, AZURE_CLI, clock=clock),
            works=lambda token: refresh_tokens.is_valid(seal, token, admin, clock=clock),
            clock=clock,
        )

    async def _vault(self) -> str:
        from podpass.resource.app import create_app
        from podpass.resource.authority_keys import PublishedKeys
        from podpass.resource.purge_job import PurgeJob
        from podpass.resource.store import SecretStore
        from podpass.settings import AZURE_VAULTS, VaultOrigin, VaultSettings

        # The sealing key of the vault is stored outside the database with the sealed values.
        store = SecretStore(self._database, self.data_dir.path("keys", "vault.key"))
        self._secret_store = await self._stack.enter_async_context(store)
        direct = VaultOrigin(
            suffix=names.DIRECT_VAULT_SUFFIX,
            authority=self._config.direct_origin("authority"),
            resource=self._direct_vault,
        )
        settings = VaultSettings(origins=(AZURE_VAULTS, direct))
        self._keys = PublishedKeys(self._fetcher(), settings.keys_url, self._clock)
        purge_job = PurgeJob(self._directory, store, self._clock)
        await self._stack.enter_async_context(purge_job)
        app = create_app(settings, self._directory, store, self._keys, self._clock)
        await self._serve("vault", app)
        return f"https://*.{names.VAULT_SUFFIX}"

    async def _webhook(self) -> str:
        from podpass.admission.events import RefusalRecorder
        from podpass.admission.handler import create_app
        from podpass.admission.service_accounts import ServiceAccountCache
        from podpass.kubernetes.client import KubeClient
        from podpass.local.managed_cluster import ManagedCluster
        from podpass.local.registration import apply_rbac, runs_native_sidecars
        from podpass.settings import WebhookSettings

        url = self._config.url("webhook") + names.WEBHOOK_PATH
        enter = self._stack.enter_async_context
        async with KubeClient.from_kubeconfig(self.data_dir.admin_kubeconfig) as admin:
            await apply_rbac(admin)
            version = str((await admin.get("/version"))["gitVersion"])
        client = await enter(KubeClient.from_kubeconfig(self.data_dir.path("webhook.kubeconfig")))
        accounts = await enter(ServiceAccountCache(client))
        events = await enter(RefusalRecorder(client, self._clock))
        native = await runs_native_sidecars(client)
        settings = WebhookSettings(tenant_id=self._config.tenant_id, native_sidecar=native)
        app = create_app(settings, accounts, events=events)
        await self._serve("webhook", app)
        self._managed = ManagedCluster(
            self.data_dir,
            issuer=self._config.issuer,
            server=self._config.url("kubernetes"),
            version=version,
            webhook_url=url,
        )
        enabled = await azure_apis.is_workload_identity_enabled(self._directory, self._config)
        await self._managed.set_workload_identity(enabled)
        return url if enabled else f"{url}, disabled"

    async def _kubelet(self) -> str:
        from podpass.directory.store.session import TOPIC
        from podpass.kubernetes.kubelet.kubelet import Kubelet, KubeletConfig
        from podpass.local.direct_tls import run_direct_tls
        from podpass.local.image_source import IMAGES_FILE, InstanceImages
        from podpass.local.samples.builds import SampleBuilds
        from podpass.local.samples.cache import SampleCache, cache_folder

        direct = run_direct_tls(self.data_dir.path("hosts"), self._config, self._directory)
        self._direct = await self._stack.enter_async_context(direct)
        self._database.subscribe(TOPIC, self._direct.hosts.changed)
        ports, path = self._config.ports, self._environ.get("PATH", os.defpath)
        samples = SampleCache(cache_folder(self._environ), path)
        builds = await self._stack.enter_async_context(SampleBuilds(samples, self._environ))
        runtime = Kubelet(
            KubeletConfig(
                kubeconfig=self.data_dir.path("runtime.kubeconfig"),
                node_name=ca.NODE_NAME,
                folder=self.data_dir.path("pods"),
                images=InstanceImages(self.data_dir.path(IMAGES_FILE), samples, builds),
                environment=pod_environment(self.data_dir, ports["gateway"]),
                path=path,
                port=ports["kubelet"],
                hosts_file=self._direct.hosts.path,
                hidden=self.data_dir.root,
                shown=self.data_dir.public_files,
                clock=self._clock,
            )
        )
        await self._serve("kubelet", runtime.app, clients=True)
        await self._stack.enter_async_context(runtime)
        self._pods = PodAccess(
            runtime.sandbox, runtime.pod_network, served=self._direct.socket is not None
        )
        return f"node {ca.NODE_NAME}, {runtime.sandbox}"

    async def _apis(self) -> str:
        app = azure_apis.create_app(
            self._directory,
            self._managed,
            self._keys,
            self._config,
            self._clock,
            authority=self._config.direct_origin("authority"),
            graph_origin=self._config.direct_origin("azure"),
            vault_suffix=self._direct_vault.removeprefix("https://"),
        )
        await self._serve("azure", app)
        return f"https://{names.ARM_HOST}, https://{names.GRAPH_HOST}"

    async def _gateway(self) -> str:
        from podpass.local import control, gateway

        self.queries = InstanceQueries(
            self.data_dir,
            self._config,
            self._directory,
            self._secret_store,
            settings=self._settings,
            pids=self._pids,
            pods=self._pods,
            clock=self._clock,
        )
        await self._serve("control", control.create_app(self.queries, self._config.control_token))
        table = gateway.routes(self._config.ports)
        running = gateway.run_gateway(
            self._sockets["gateway"],
            table,
            direct=self._direct.socket,
            vault_exists=self._has_vault,
        )
        await self._stack.enter_async_context(running)
        return f"{self._config.gateway}; {self._pods.note}"

    # ---------------------------------------------------------------------- helpers of the parts

    def _pids(self) -> dict[str, int]:
        return {"podpass": os.getpid(), **(self._plane.pids if self._plane else {})}

    async def _has_vault(self, name: str) -> bool:
        return await self._directory.find_vault(name) is not None

    async def _serve(self, service: str, app: "App", *, clients: bool = False) -> str:
        from podpass.http.server import server_tls, serving

        tls = server_tls(
            str(self.data_dir.certificate("leaf")),
            str(self.data_dir.key("leaf")),
            client_ca=str(self.data_dir.ca_file) if clients else None,
        )
        await self._stack.enter_async_context(serving(app, self._sockets[service], tls))
        return self._config.url(service)

    def _fetcher(self) -> "Fetcher":
        from podpass.http.fetcher import Fetcher, FetchRules
        from podpass.local.gateway import routes

        hosts = routes(self._config.ports)
        return Fetcher(FetchRules(hosts=hosts, ca_file=self.data_dir.ca_file))
