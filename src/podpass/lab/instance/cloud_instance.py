"""The parts of the cloud half alone, and the order in which they start; `process` starts and stops them."""

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from podpass import files, names
from podpass.clock import Clock
from podpass.errors import Error
from podpass.http.limits import PROBE_LIMITS
from podpass.http.server import Receive, serving
from podpass.imds.identity_headers import parse_headers
from podpass.kubernetes.client import KubeClient
from podpass.kubernetes.client.config import in_cluster
from podpass.kubernetes.service_account.names import MOUNT_PATH
from podpass.lab.data import ca, ports
from podpass.lab.data.datadir import DataDir, initialise, save_ports
from podpass.lab.data.served_tls import ServedTls
from podpass.lab.gateway import gateway
from podpass.lab.instance import control, health, signing_keys
from podpass.lab.instance.container_services import ContainerServices
from podpass.lab.instance.context import CloudContext, Progress
from podpass.lab.instance.identity_secret import IdentitySecret
from podpass.lab.instance.in_cluster import ClusterServices, ClusterSockets
from podpass.lab.instance.parts import CloudParts
from podpass.lab.instance.queries import CloudQueries
from podpass.lab.instance.reset import CloudReset
from podpass.lab.instance.start_limit import limit_start
from podpass.lab.instance.surrounding_cluster import SurroundingCluster, find_cluster
from podpass.settings import CloudSettings
from podpass.settings.storage import parse_services
from podpass.tasks import background_task

_log = logging.getLogger(__name__)

SERVICES = ("gateway", "authority", "azure", "vault", "control")
# The signing keys rotate every few weeks, and the next key exists long before it signs.
_COPY_SECONDS = 3600.0


class CloudInstance:
    """All parts of the cloud half, in one event loop.

    `opened` are the listening sockets for other hosts, `tls` and `health`; the process that opened them
    closes them.
    """

    def __init__(
        self,
        data_dir: DataDir,
        settings: CloudSettings,
        opened: Mapping[str, socket.socket],
        *,
        environ: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self._data_dir, self._settings, self._opened = data_dir, settings, opened
        self._environ, self._clock = environ, clock
        self._cluster = find_cluster(environ)
        self._headers = parse_headers(
            environ.get(names.ENV_IDENTITY_HEADERS, ""), names.ENV_IDENTITY_HEADERS
        )
        self._storage = tuple(parse_services(settings.azurite))
        self._is_ready = False

    async def start(
        self, stack: AsyncExitStack, seed: tuple[str, str] | None, progress: Progress
    ) -> dict[str, Any]:
        """Start all parts in order; return the status document."""
        app = health.create_app(lambda: self._is_ready)
        await stack.enter_async_context(serving(app, self._opened["health"], limits=PROBE_LIMITS))
        containers = ContainerServices(self._settings, self._opened, self._headers, self._clock)
        client = await self._connect(stack)
        secret = self._secret(client)
        copied = await secret.restore(self._data_dir) if secret else b""
        context = self._create_context(stack)
        parts = CloudParts(context)
        queries = await self._start_parts(context, parts, copied, progress)
        containers.write_trust(self._data_dir.ca_file)
        await self._start_control(context, parts, queries, secret, seed)
        if seed is not None:
            progress("seed", "")
            changed = await queries.apply(*seed)
            progress("seed", f"{len(changed)} changes from {seed[1]}")
        if secret is not None:
            await self._keep_identity(stack, secret, parts)
        await containers.serve_identities(stack, parts, context.config)
        await containers.serve_resolver(stack, self._served_names(), parts)
        if client is not None and self._settings.service:
            progress("resolver and trust webhook", "")
            progress("resolver and trust webhook", await self._serve_cluster(client, stack, parts))
        status = queries.status()
        files.write_private(self._data_dir.status_file, json.dumps(status, indent=2).encode())
        self._is_ready = True
        return status

    async def _connect(self, stack: AsyncExitStack) -> KubeClient | None:
        if not (self._settings.identity_secret or self._settings.service):
            return None
        return await stack.enter_async_context(KubeClient(in_cluster(self._environ)))

    def _secret(self, client: KubeClient | None) -> IdentitySecret | None:
        name = self._settings.identity_secret
        return IdentitySecret(client, _own_namespace(), name) if client and name else None

    async def _serve_cluster(
        self, client: KubeClient, stack: AsyncExitStack, parts: CloudParts
    ) -> str:
        services = ClusterServices(
            client,
            _own_namespace(),
            self._settings.service,
            ca=self._data_dir.ca_file.read_bytes(),
            served=self._served_names(),
            upstream=self._settings.find_upstream(),
            clock=self._clock,
        )
        sockets = ClusterSockets(
            dns_udp=self._opened["dns_udp"],
            dns_tcp=self._opened["dns_tcp"],
            webhook=self._opened["webhook"],
        )
        look_up = parts.directory.dns_zones.look_up
        return await services.start(stack, sockets, parts.has_host, look_up)

    def _create_context(self, stack: AsyncExitStack) -> CloudContext:
        config = initialise(self._data_dir, tenant_id=self._settings.tenant_id.lower())
        services = (*SERVICES, *((ports.STORAGE,) if self._storage else ()))
        sockets = ports.bind_all(0, config.ports, services)
        stack.callback(ports.close_all, sockets)
        return CloudContext(
            data_dir=self._data_dir,
            config=save_ports(self._data_dir, config, ports.port_numbers(sockets)),
            sockets=sockets,
            settings=self._settings,
            clock=self._clock,
            stack=stack,
            tls=ServedTls(self._data_dir),
            # Its clients are in other containers, which cannot reach a loopback port of this one.
            login=f"https://{names.LOGIN_HOST}",
            cluster=self._cluster,
        )

    async def _start_parts(
        self, context: CloudContext, parts: CloudParts, copied: bytes, progress: Progress
    ) -> CloudQueries:
        await parts.open_database()
        surrounding = SurroundingCluster(self._cluster)
        steps: dict[str, Callable[[], Awaitable[str]]] = {
            "certificates and keys": lambda: self._open_keys(parts, copied),
            "directory": parts.open_directory,
            "authority": parts.start_authority,
            "vault": parts.start_vault,
            **({"storage": partial(self._start_storage, parts)} if self._storage else {}),
            "resource manager and graph": lambda: parts.start_apis(surrounding),
            "gateway": lambda: self._start_gateway(context, parts),
        }
        for part, step in steps.items():
            progress(part, "")
            async with limit_start(part, self._data_dir.root):
                detail = await step()
            progress(part, detail)
            _log.info("part_started", extra={"part": part})
        return CloudQueries(
            self._data_dir,
            context.config,
            parts.directory,
            parts.secret_store,
            issuer=self._cluster.issuer if self._cluster else None,
            clock=self._clock,
            # ServiceAccounts name client IDs, and a pod with an empty folder applies the seed again.
            stable_ids=True,
            listens=self._settings.listens,
        )

    async def _start_control(
        self,
        context: CloudContext,
        parts: CloudParts,
        queries: CloudQueries,
        secret: IdentitySecret | None,
        seed: tuple[str, str] | None,
    ) -> None:
        """Serve the control API to the commands that run in this pod."""
        store = None if secret is None else partial(self._store_identity, secret, parts)
        reset = CloudReset(
            parts,
            queries,
            self._data_dir.root,
            seed=seed,
            store_identity=store,
            clock=self._clock,
        )

        async def handle_reset(_query: control.Query, _receive: Receive) -> dict[str, Any]:
            return await reset.run()

        async def handle_sign_in(_query: control.Query, _receive: Receive) -> dict[str, Any]:
            return {
                "account": asdict(parts.az_account),
                "refresh_token": await parts.issue_refresh_token(),
                "published_keys": [each.kid for each in parts.authority_keys.published],
            }

        async def handle_remove(query: control.Query, _receive: Receive) -> dict[str, Any]:
            return {"removed": await queries.remove_demo(query.get("name", ""))}

        async def handle_storage(_query: control.Query, _receive: Receive) -> dict[str, Any]:
            return await parts.describe_storage()

        more = {
            "/storage": ("GET", handle_storage),
            "/reset": ("POST", handle_reset),
            "/sign-in": ("POST", handle_sign_in),
            "/demo/remove": ("POST", handle_remove),
        }
        app = control.create_app(queries, context.config.control_token, more=more)
        await context.serve("control", app)

    async def _store_identity(self, secret: IdentitySecret, parts: CloudParts) -> None:
        await secret.store(self._data_dir, await signing_keys.copy_out(parts.database))

    async def _open_keys(self, parts: CloudParts, copied: bytes) -> str:
        ca.ensure_certificates(self._data_dir, self._clock)
        if copied:
            await signing_keys.copy_in(parts.database, copied)
        await parts.open_keys()
        return str(self._data_dir.ca_file)

    async def _start_storage(self, parts: CloudParts) -> str:
        accounts = self._environ.get(names.ENV_AZURITE_ACCOUNTS, "")
        return await parts.start_storage(self._settings.azurite, accounts)

    def _served_names(self) -> tuple[str, ...]:
        return gateway.list_served_names(self._storage)

    async def _start_gateway(self, context: CloudContext, parts: CloudParts) -> str:
        running = gateway.run_gateway(
            context.sockets["gateway"],
            gateway.routes(context.config.ports, storage=self._storage),
            direct=self._opened["tls"],
            vault_exists=parts.has_vault,
            sources=context.sources,
            clock=self._clock,
        )
        await context.stack.enter_async_context(running)
        return self._settings.listen

    async def _keep_identity(
        self, stack: AsyncExitStack, secret: IdentitySecret, parts: CloudParts
    ) -> None:
        """Store the identity of this cloud in its Secret now, and again after the signing keys rotate."""

        async def keep() -> None:
            while True:
                await asyncio.sleep(_COPY_SECONDS)
                try:
                    await self._store_identity(secret, parts)
                except Error as exc:
                    _log.warning("identity_store_failed", extra={"cause": exc.message})

        await self._store_identity(secret, parts)
        await stack.enter_async_context(background_task(keep(), "identity secret"))


def _own_namespace() -> str:
    return Path(MOUNT_PATH, "namespace").read_text().strip()
