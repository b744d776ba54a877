"""The parts of one instance and how they are joined; `up` decides when they live.

Parts meet over HTTPS on loopback, as their production namesakes do: the webhook and the runtime through the
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
from podpass.local.control_queries import Answers
from podpass.local.datadir import DataDir, Facts
from podpass.local.environment import pod_environment
from podpass.settings.local import KUBE_APISERVER

if TYPE_CHECKING:
    import ssl

    from podpass.directory.store.directory import Directory
    from podpass.http.fetcher import Fetcher
    from podpass.http.server import App
    from podpass.local.control_plane.plane import ControlPlane
    from podpass.resource.store import SecretStore
    from podpass.settings import LocalSettings

_log = logging.getLogger(__name__)

Progress = Callable[[str, str], None]


class Loop:
    """Every part of an instance, in one event loop."""

    def __init__(
        self,
        data_dir: DataDir,
        facts: Facts,
        sockets: Mapping[str, socket.socket],
        settings: "LocalSettings",
        *,
        environ: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self.data_dir = data_dir
        self._facts = facts
        self._sockets = sockets
        self._settings = settings
        self._environ = environ
        self._clock = clock
        self._sandbox = "rewrite"
        self._plane: ControlPlane | None = None
        self.status_changed: Callable[[], None] = lambda: None
        self._directory: Directory
        self._secret_store: SecretStore

    async def start(self, stack: AsyncExitStack, progress: Progress) -> None:
        """Start every part in its order; what stands is on the stack, whatever happens next."""
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
            "runtime": self._runtime,
            "gateway": self._gateway,
        }
        for part, step in steps.items():
            progress(part, "")
            progress(part, await step())
            _log.info("part_started", extra={"part": part})

    # ------------------------------------------------------------------ parts, in the order they start

    async def _open_database(self) -> None:
        """Open the one file that directory, authority and vault share."""
        from podpass.database import Database

        database = Database(f"sqlite:///{self.data_dir.path('directory.db')}")
        self._database = await self._stack.enter_async_context(database)

    async def _secrets(self) -> str:
        """Make or read certificates and keys; generating RSA keys is the slowest thing on a first start."""
        from podpass.assertion.keys import KeyRing
        from podpass.exchange.signing.key_set import AuthorityKeys

        keys = self.data_dir.path("keys")
        ring = asyncio.create_task(asyncio.to_thread(KeyRing.open, keys / "issuer"))
        # What seals the keys of the token service lies apart from the database that holds them.
        opening = AuthorityKeys.open(
            self._database, keys / "authority.key", self._clock, files=keys / "authority"
        )
        authority = asyncio.create_task(opening)
        self._write_certificates()
        self._ring, self._authority_keys = await ring, await authority
        return str(self.data_dir.ca_file)

    def _write_certificates(self) -> None:
        from podpass.local import trust

        ca.ensure(self.data_dir, self._clock)
        trust.write_stores(self.data_dir, self._environ)
        kubeconfig.write_all(self.data_dir, self._facts.url("kubernetes"))

    async def _cluster(self) -> str:
        if self._settings.kubernetes == KUBE_APISERVER:
            return await self._control_plane()
        from podpass.kubernetes.cluster import Cluster, ClusterConfig

        cluster = await self._stack.enter_async_context(
            Cluster(
                ClusterConfig(
                    database=self.data_dir.path("kubernetes.db"),
                    issuer=self._facts.issuer,
                    signer=self._ring,
                    ca_file=self.data_dir.ca_file,
                    tokens={},
                    kubelet_tls=self._client_tls(ca.KUBELET_CLIENT),
                    clock=self._clock,
                )
            )
        )
        url = await self._serve("kubernetes", cluster.app, clients=True)
        # Clients that watch would keep the server from stopping until its patience ends.
        self._stack.callback(cluster.drain)
        return url

    async def _control_plane(self) -> str:
        """Start the real one; the port was only kept free for it."""
        from podpass.local.control_plane import programs
        from podpass.local.control_plane.plane import ControlPlane, ControlPlaneConfig

        found = programs.find(self._environ)
        self._sockets["kubernetes"].close()
        config = ControlPlaneConfig(
            programs=found,
            data_dir=self.data_dir,
            issuer=self._facts.issuer,
            port=self._facts.ports["kubernetes"],
            started_again=lambda: self.status_changed(),
        )
        self._plane = await self._stack.enter_async_context(ControlPlane(config))
        controllers = "" if found.controllers else ", without controllers"
        return f"{self._facts.url('kubernetes')}, {found.api_server}{controllers}"

    async def _issuer(self) -> str:
        from podpass.assertion.app import create_app

        await self._serve("issuer", create_app(self._facts.issuer, self._ring))
        return self._facts.issuer

    @property
    def _direct_vault(self) -> str:
        return f"https://{names.DIRECT_VAULT_SUFFIX}:{self._facts.ports['vault']}"

    async def _open_directory(self) -> str:
        from podpass.directory.model import ResourcePrincipal, Tenant
        from podpass.directory.resources import GRAPH_APP_ID, VAULT_APP_ID
        from podpass.directory.store.directory import Directory

        vault = ResourcePrincipal(
            app_id=VAULT_APP_ID,
            uris=(self._direct_vault, self._facts.direct("vault")),
            display_name="Azure Key Vault, asked directly",
            token_version=1,
        )
        graph = ResourcePrincipal(
            app_id=GRAPH_APP_ID,
            uris=(self._facts.direct("azure"),),
            display_name="Microsoft Graph, asked directly",
            token_version=1,
        )
        self._directory = await self._stack.enter_async_context(
            Directory(self._database, (vault, graph), self._clock)
        )
        domain = self._facts.admin_username.partition("@")[2]
        await self._directory.create_tenant(
            Tenant(id=self._facts.tenant_id, display_name=azure_apis.TENANT_NAME, domains=(domain,))
        )
        self._admin = await administrator.ensure(self._directory, self._facts)
        return f"tenant {self._facts.tenant_id}"

    async def _authority(self) -> str:
        from podpass.exchange.app import create_app
        from podpass.settings import AuthoritySettings

        origins = [f"https://{alias}" for alias in names.LOGIN_ALIASES]
        settings = AuthoritySettings(
            origins=(*origins, self._facts.direct("authority"), self._facts.url("authority")),
            pages_origin=self._facts.direct("authority"),
            administrators=(self._admin.id,),
            propagation_seconds=self._settings.propagation_seconds,
            assertion_algorithms=tuple(self._settings.assertion_algorithms.split(",")),
        )
        keys = await self._stack.enter_async_context(self._authority_keys.running())
        app = create_app(settings, self._directory, self._fetcher(), keys, self._clock)
        await self._serve("authority", app)
        self._sign_az_in()
        return self._facts.direct("authority")

    def _sign_az_in(self) -> None:
        from podpass.exchange.sign_in import refresh_tokens
        from podpass.exchange.sign_in.well_known_clients import AZURE_CLI
        from podpass.local import azure_config

        seal, admin, clock = self._authority_keys.seal, self._admin, self._clock
        azure_config.write(
            self.data_dir.path("azure"),
            azure_config.Account(
                tenant_id=self._facts.tenant_id,
                tenant_name=azure_apis.TENANT_NAME,
                user_id=admin.id,
                user_name=admin.name,
                subscription_id=self._facts.subscription_id,
                subscription_name=azure_apis.SUBSCRIPTION_NAME,
            ),
            mint=lambda: refresh_tokens.mint(seal, admin, AZURE_CLI, clock=clock),
            works=lambda token: refresh_tokens.works(seal, token, admin, clock=clock),
            clock=clock,
        )

    async def _vault(self) -> str:
        from podpass.local.legacy_vault import take_over
        from podpass.resource.app import create_app
        from podpass.resource.authority_keys import PublishedKeys
        from podpass.resource.purge_job import Housekeeping
        from podpass.resource.store import SecretStore
        from podpass.settings import AZURE_VAULTS, VaultOrigin, VaultSettings

        await take_over(self._database, self.data_dir.path("vault.db"))
        # The key that values are sealed with lies apart from the database it opens.
        store = SecretStore(self._database, self.data_dir.path("keys", "vault.key"))
        self._secret_store = await self._stack.enter_async_context(store)
        direct = VaultOrigin(
            suffix=names.DIRECT_VAULT_SUFFIX,
            authority=self._facts.direct("authority"),
            resource=self._direct_vault,
        )
        settings = VaultSettings(origins=(AZURE_VAULTS, direct))
        self._keys = PublishedKeys(self._fetcher(), settings.keys_url, self._clock)
        keeping = Housekeeping(self._directory, store, self._clock)
        await self._stack.enter_async_context(keeping)
        app = create_app(settings, self._directory, store, self._keys, self._clock)
        await self._serve("vault", app)
        return f"https://*.{names.VAULT_SUFFIX}"

    async def _webhook(self) -> str:
        from podpass.admission.events import Events
        from podpass.admission.handler import create_app
        from podpass.admission.service_accounts import ClusterAccounts
        from podpass.kubernetes.client import KubeClient
        from podpass.local.managed_cluster import ManagedCluster
        from podpass.local.registration import grant_rights, runs_native_sidecars
        from podpass.settings import WebhookSettings

        url = self._facts.url("webhook") + names.WEBHOOK_PATH
        enter = self._stack.enter_async_context
        async with KubeClient.from_kubeconfig(self.data_dir.admin_kubeconfig) as admin:
            await grant_rights(admin)
            version = str((await admin.get("/version"))["gitVersion"])
        client = await enter(KubeClient.from_kubeconfig(self.data_dir.path("webhook.kubeconfig")))
        accounts = await enter(ClusterAccounts(client))
        events = await enter(Events(client, self._clock))
        native = await runs_native_sidecars(client)
        settings = WebhookSettings(tenant_id=self._facts.tenant_id, native_sidecar=native)
        app = create_app(settings, accounts, events=events)
        await self._serve("webhook", app)
        self._managed = ManagedCluster(
            self.data_dir,
            issuer=self._facts.issuer,
            server=self._facts.url("kubernetes"),
            version=version,
            webhook_url=url,
        )
        wanted = await azure_apis.wants_workload_identity(self._directory, self._facts)
        await self._managed.set_workload_identity(wanted)
        return url if wanted else f"{url}, switched off"

    async def _runtime(self) -> str:
        from podpass.kubernetes.kubelet.kubelet import Runtime, RuntimeConfig
        from podpass.local.image_source import IMAGES_FILE, InstanceImages
        from podpass.local.samples.cache import SampleCache, cache_folder

        ports, path = self._facts.ports, self._environ.get("PATH", os.defpath)
        runtime = Runtime(
            RuntimeConfig(
                kubeconfig=self.data_dir.path("runtime.kubeconfig"),
                node_name=ca.NODE_NAME,
                folder=self.data_dir.path("pods"),
                images=InstanceImages(
                    self.data_dir.path(IMAGES_FILE), SampleCache(cache_folder(self._environ), path)
                ),
                environment=pod_environment(self.data_dir, ports["gateway"]),
                path=path,
                port=ports["kubelet"],
                hidden=self.data_dir.root,
                shown=self.data_dir.public_files,
                clock=self._clock,
            )
        )
        await self._serve("kubelet", runtime.app, clients=True)
        await self._stack.enter_async_context(runtime)
        self._sandbox = runtime.sandbox
        return f"node {ca.NODE_NAME}, {runtime.sandbox}"

    async def _apis(self) -> str:
        app = azure_apis.create_app(
            self._directory,
            self._managed,
            self._keys,
            self._facts,
            self._clock,
            authority=self._facts.direct("authority"),
            graph_origin=self._facts.direct("azure"),
            vault_suffix=self._direct_vault.removeprefix("https://"),
        )
        await self._serve("azure", app)
        return f"https://{names.ARM_HOST}, https://{names.GRAPH_HOST}"

    async def _gateway(self) -> str:
        from podpass.local import control, gateway

        self.answers = Answers(
            self.data_dir,
            self._facts,
            self._directory,
            self._secret_store,
            settings=self._settings,
            pids=self._pids,
            sandbox=self._sandbox,
            clock=self._clock,
        )
        await self._serve("control", control.create_app(self.answers, self._facts.control_token))
        table = gateway.routes(self._facts.ports)
        running = gateway.running(self._sockets["gateway"], table, knows_vault=self._has_vault)
        await self._stack.enter_async_context(running)
        return self._facts.gateway

    # ---------------------------------------------------------------------- what the parts are joined by

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
        return self._facts.url(service)

    def _client_tls(self, user: str) -> "ssl.SSLContext":
        import ssl

        context = ssl.create_default_context(cafile=str(self.data_dir.ca_file))
        context.load_cert_chain(self.data_dir.certificate(user), self.data_dir.key(user))
        return context

    def _fetcher(self) -> "Fetcher":
        from podpass.http.fetcher import Fetcher, FetchRules
        from podpass.local.gateway import routes

        hosts = routes(self._facts.ports)
        return Fetcher(FetchRules(hosts=hosts, ca_file=self.data_dir.ca_file))
