"""Run the cloud half alone: lock the data directory, start all parts, wait for a signal, stop all parts."""

import asyncio
import gc
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from podpass import names
from podpass.clock import Clock, system
from podpass.crypto.secret import Secret
from podpass.database import Database
from podpass.directory import resource_ids
from podpass.errors import Error
from podpass.exchange.client_auth.issuer_discovery import ClusterIssuer
from podpass.http.limits import PROBE_LIMITS
from podpass.http.server import App, Receive, Scope, Send, respond, serving
from podpass.imds.identity_headers import parse_headers
from podpass.kubernetes.client import KubeClient
from podpass.kubernetes.client.config import in_cluster
from podpass.kubernetes.service_account.names import MOUNT_PATH
from podpass.lab import services
from podpass.lab.data import ca, disk_errors, ports
from podpass.lab.data.datadir import DataDir, initialise, prepare, save_ports
from podpass.lab.data.lock import hold_lock
from podpass.lab.data.served_tls import ServedTls
from podpass.lab.gateway import gateway
from podpass.lab.instance import control, identity_endpoint, identity_secret
from podpass.lab.instance.cloud_parts import (
    CloudHalf,
    CloudKeys,
    open_cloud_keys,
    open_database,
    start_apis,
    start_cloud_half,
    start_gateway,
)
from podpass.lab.instance.context import CloudContext
from podpass.lab.instance.data_files import DataFiles
from podpass.lab.instance.identity_secret import IdentitySecret
from podpass.lab.instance.queries import CloudQueries
from podpass.lab.instance.reset import reset_cloud
from podpass.lab.instance.start import PartStarter, Progress, SeedFile
from podpass.lab.instance.surrounding_cluster import (
    RESOLV_CONF,
    ClusterSockets,
    ResolvedNames,
    SurroundingCluster,
    find_cluster,
    read_resolv_conf,
    serve_cluster,
)
from podpass.lab.names.resolver import Upstream, run_resolver
from podpass.lab.names.trust_folder import check_folder, read_public_roots, write_folder
from podpass.servers.file_limits import raise_file_limit, shared_limits
from podpass.servers.listen import listen, listen_for_queries
from podpass.servers.shutdown_signal import ShutdownSignal
from podpass.settings import CloudSettings
from podpass.tasks import background_task, close_in_time

_log = logging.getLogger(__name__)

Ready = Callable[[dict[str, Any]], None]
"""Called once when all parts are ready, with the status document."""

StoreIdentity = Callable[[], Awaitable[object]]

_SERVICES = ("gateway", "authority", "azure", "vault", "control")
_STOP_SECONDS = 10.0
# The signing keys rotate every few weeks, and the next key exists long before it signs.
_COPY_SECONDS = 3600.0
_DNS_PORT = 53
_TEXT = ((b"content-type", b"text/plain; charset=utf-8"),)


def run(
    data_dir: DataDir,
    *,
    settings: CloudSettings,
    seed: SeedFile | None,
    environ: Mapping[str, str],
    progress: Progress,
    ready: Ready,
    clock: Clock = system,
) -> None:
    """Run the cloud half until a signal stops it.

    Raises TrustFolderRefused, AlreadyRunning,
    PortInUse, DataDirError, DiskNotWritable, IdentitySecretError, and errors of the parts about their data.
    """
    import uvloop

    if settings.trust_dir:
        check_folder(Path(settings.trust_dir))
    with disk_errors.translate_disk_errors():
        prepare(data_dir)
        problem = f"another process uses {data_dir.root}"
        hint = "stop that process, or use another folder with --data-dir D"
        with hold_lock(data_dir.lock_file, problem, hint):
            opened: dict[str, socket.socket] = {}
            try:
                opened |= _open(settings)
                raise_file_limit()
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    start = partial(
                        start_parts,
                        data_dir=data_dir,
                        settings=settings,
                        opened=opened,
                        seed=seed,
                        environ=environ,
                        progress=progress,
                        clock=clock,
                    )
                    runner.run(_run_until_signal(start, ready))
            finally:
                ports.close_all(opened)
                data_dir.status_file.unlink(missing_ok=True)


def _open(settings: CloudSettings) -> dict[str, socket.socket]:
    """Open the listening sockets for other hosts. Raises PortInUse."""
    opened = {
        "tls": listen("--listen", settings.listen),
        "health": listen("--health-listen", settings.health_listen),
    }
    if settings.managed_identity_listen:
        opened["managed_identity"] = listen(
            "--managed-identity-listen", settings.managed_identity_listen
        )
    if settings.service:
        opened["webhook"] = listen("--webhook-listen", settings.webhook_listen)
    if settings.resolver_address:
        opened["dns_udp"], opened["dns_tcp"] = listen_for_queries(
            "--dns-listen", settings.resolver_address
        )
    return opened


async def _run_until_signal(
    start_parts: Callable[[AsyncExitStack], Awaitable[dict[str, Any]]], ready: Ready
) -> None:
    async def start() -> None:
        began = time.monotonic()
        status = await start_parts(stack)
        # Exclude these long-lived objects from the garbage collection after each reset.
        gc.freeze()
        ready(status)
        _log.info("cloud_ready", extra={"took_ms": round((time.monotonic() - began) * 1000)})

    stack = AsyncExitStack()
    with ShutdownSignal() as shutdown:
        try:
            await shutdown.wait_after(start())
        finally:
            _log.info("cloud_stopping")
            if not await close_in_time(stack, _STOP_SECONDS):
                _log.error("cloud_stop_timed_out", extra={"seconds": _STOP_SECONDS})


async def start_parts(
    stack: AsyncExitStack,
    *,
    data_dir: DataDir,
    settings: CloudSettings,
    opened: Mapping[str, socket.socket],
    seed: SeedFile | None,
    environ: Mapping[str, str],
    progress: Progress,
    clock: Clock = system,
) -> dict[str, Any]:
    """Start all parts in order; return the status document.

    `opened` are the listening sockets for other hosts; the process that opened them closes them.
    """
    cluster = find_cluster(environ)
    headers = parse_headers(environ.get(names.ENV_IDENTITY_HEADERS, ""), names.ENV_IDENTITY_HEADERS)
    started: asyncio.Future[DataFiles] = asyncio.get_running_loop().create_future()
    probes = serving(_create_probes(started), opened["health"], limits=PROBE_LIMITS)
    await stack.enter_async_context(probes)
    client = None
    if settings.identity_secret or settings.service:
        client = await stack.enter_async_context(KubeClient(in_cluster(environ)))
    secret = None
    if client is not None and settings.identity_secret:
        secret = IdentitySecret(client, _own_namespace(), settings.identity_secret)
    copied = await secret.restore(data_dir) if secret else b""
    context = _create_context(stack, data_dir, settings, cluster, environ, clock)
    start = PartStarter(progress, data_dir.root)
    database = await open_database(context)
    keys = await start("certificates and keys", _open_keys(context, database, copied))
    # Directory, authority, vault, storage.
    cloud = await start_cloud_half(context, start, database, keys)
    await start("resource manager and graph", start_apis(cloud, SurroundingCluster(cluster)))
    await start("gateway", start_gateway(cloud, settings.listen, direct=opened["tls"]))
    if settings.trust_dir:
        _write_trust(Path(settings.trust_dir), data_dir.ca_file)
    data_files = DataFiles(data_dir, database)
    queries = CloudQueries(
        data_dir,
        context.config,
        cloud.directory,
        cloud.data,
        issuer=cluster.issuer if cluster else None,
        clock=clock,
        # ServiceAccounts name client IDs, and a pod with an empty folder applies the seed again.
        stable_ids=True,
        listens=settings.listens,
    )
    store = None if secret is None else partial(_store_identity, secret, cloud)
    await _serve_control(cloud, queries, data_files, seed, store)
    await queries.apply_at_start(seed, progress)
    if store is not None:
        await store()
        await stack.enter_async_context(background_task(_keep_identity(store), "identity secret"))
    if "managed_identity" in opened:
        await _serve_identities(cloud, settings, opened["managed_identity"], headers)
    if not settings.service and "dns_udp" in opened:
        await _serve_resolver(cloud, settings, opened["dns_udp"], opened["dns_tcp"])
    if client is not None and settings.service:
        progress("resolver and trust webhook", "")
        address = await _serve_cluster(cloud, settings, client, opened)
        progress("resolver and trust webhook", address)
    status = queries.write_status()
    started.set_result(data_files)
    return status


def _create_probes(started: asyncio.Future[DataFiles]) -> App:
    """Create the probes: `/healthz` is the process, `/readyz` also its parts and its database files."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path not in ("/healthz", "/readyz"):
            await respond(send, 404, b"", _TEXT)
        elif scope["method"] not in ("GET", "HEAD"):
            await respond(send, 405, b"", (*_TEXT, (b"allow", b"GET, HEAD")))
        elif path == "/readyz" and not started.done():
            await respond(send, 503, b"starting\n", _TEXT)
        elif path == "/readyz" and (damaged := await started.result().find_damaged()):
            lines = [f"{each['message']}\n{each['hint']}\n" for each in damaged]
            await respond(send, 503, "".join(lines).encode(), _TEXT)
        else:
            await respond(send, 200, b"ok\n", _TEXT)

    return app


def _create_context(
    stack: AsyncExitStack,
    data_dir: DataDir,
    settings: CloudSettings,
    cluster: ClusterIssuer | None,
    environ: Mapping[str, str],
    clock: Clock,
) -> CloudContext:
    config = initialise(data_dir, tenant_id=settings.tenant_id.lower())
    services = (*_SERVICES, *((ports.STORAGE,) if settings.azurite else ()))
    sockets = ports.bind_all(0, config.ports, services)
    stack.callback(ports.close_all, sockets)
    return CloudContext(
        data_dir=data_dir,
        config=save_ports(data_dir, config, ports.port_numbers(sockets)),
        sockets=sockets,
        settings=settings,
        environ=environ,
        clock=clock,
        stack=stack,
        tls=ServedTls(data_dir),
        # Its clients are in other containers, which cannot reach a loopback port of this one.
        login=f"https://{names.LOGIN_HOST}",
        cluster=cluster,
    )


async def _open_keys(
    context: CloudContext, database: Database, copied: bytes
) -> tuple[CloudKeys, str]:
    ca.ensure_certificates(context.data_dir, context.clock)
    if copied:
        await identity_secret.copy_in(database, copied)
    return await open_cloud_keys(context, database), str(context.data_dir.ca_file)


def _write_trust(folder: Path, ca_file: Path) -> None:
    """Write the CA into a folder for other containers.

    Raises BadBundle, NoPublicRoots, TrustFolderRefused.
    """
    write_folder(folder, read_public_roots(), ca_file.read_bytes())
    _log.info("trust_written", extra={"folder": str(folder)})


async def _serve_control(
    cloud: CloudHalf,
    queries: CloudQueries,
    data_files: DataFiles,
    seed: SeedFile | None,
    store: StoreIdentity | None,
) -> None:
    """Serve the control API to the commands that run in this pod."""

    async def reset(_query: control.Query, _receive: Receive) -> dict[str, Any]:
        return await reset_cloud(cloud, queries, seed, store)

    async def sign_in(_query: control.Query, _receive: Receive) -> dict[str, Any]:
        return {
            "account": asdict(cloud.az_account),
            "refresh_token": await cloud.issue_refresh_token(),
            "published_keys": [each.kid for each in cloud.keys.authority.published],
        }

    async def remove(query: control.Query, _receive: Receive) -> dict[str, Any]:
        name = query.get("name", "")
        removed = await queries.remove_demo(name)
        for part in cloud.parts.values():
            removed += await part.remove_demo(name)
        return {"removed": removed}

    more = {
        "/pipelines/jobs": ("POST", cloud.start_job),
        "/storage": ("GET", cloud.describe("storage")),
        "/vaults": ("GET", cloud.describe("vault")),
        "/reset": ("POST", reset),
        "/sign-in": ("POST", sign_in),
        "/demo/remove": ("POST", remove),
    }
    token, find_damaged = cloud.context.config.control_token, data_files.find_damaged
    app = control.create_app(queries, token, more=more, find_damaged=find_damaged)
    await cloud.context.serve("control", app)


async def _store_identity(secret: IdentitySecret, cloud: CloudHalf) -> None:
    await secret.store(cloud.context.data_dir, await identity_secret.copy_out(cloud.database))


async def _keep_identity(store: StoreIdentity) -> None:
    """Store the identity of this cloud again after the signing keys rotate."""
    while True:
        await asyncio.sleep(_COPY_SECONDS)
        try:
            await store()
        except Error as exc:
            _log.warning("identity_store_failed", extra={"cause": exc.message})


async def _serve_identities(
    cloud: CloudHalf, settings: CloudSettings, sock: socket.socket, headers: Mapping[str, Secret]
) -> None:
    """Serve the managed identity endpoint to containers without a cluster.

    `headers` maps the name of an identity to its secret header of App Service's protocol. A name in the
    settings is that of an identity in the seed's resource group, never in another group.
    """
    from podpass.seed.apply import GROUP

    config = cloud.context.config
    find_id = partial(resource_ids.identity_id, config.subscription_id, GROUP)
    app = identity_endpoint.create_app(
        cloud.directory,
        cloud.authority.managed_identities,
        config.tenant_id,
        cloud.context.clock,
        assigned=[find_id(name) for name in settings.assigned_identities],
        headers={find_id(name): value for name, value in headers.items()},
        hosts=settings.identity_hosts,
    )
    await cloud.context.stack.enter_async_context(serving(app, sock, limits=shared_limits()))


async def _serve_resolver(
    cloud: CloudHalf, settings: CloudSettings, udp: socket.socket, tcp: socket.socket
) -> None:
    """Serve the resolver to containers without a cluster; a cluster has its own."""
    upstream = settings.find_upstream() or find_system_upstream()
    if upstream is None:
        _log.warning("dns_upstream_missing", extra={"file": str(RESOLV_CONF)})
    resolver = _resolved_names(cloud, upstream).create_resolver(settings.find_addresses())
    await cloud.context.stack.enter_async_context(run_resolver(resolver, udp, tcp))


def find_system_upstream(path: Path = RESOLV_CONF) -> Upstream | None:
    """Return the first DNS server that this machine uses, None without one."""
    lines = read_resolv_conf(path)
    servers = [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
    return (servers[0], _DNS_PORT) if servers else None


async def _serve_cluster(
    cloud: CloudHalf,
    settings: CloudSettings,
    client: KubeClient,
    opened: Mapping[str, socket.socket],
) -> str:
    """Serve the resolver and the trust webhook to the cluster; return their address."""
    context = cloud.context
    sockets = ClusterSockets(
        dns_udp=opened["dns_udp"], dns_tcp=opened["dns_tcp"], webhook=opened["webhook"]
    )
    return await serve_cluster(
        context.stack,
        client,
        (_own_namespace(), settings.service),
        sockets,
        _resolved_names(cloud, settings.find_upstream()),
        context.data_dir.ca_file.read_bytes(),
        context.clock,
    )


def _resolved_names(cloud: CloudHalf, upstream: Upstream | None) -> ResolvedNames:
    return ResolvedNames(
        served=gateway.list_served_names(cloud.context.storage_services),
        host_exists=cloud.has_host,
        answer_name=services.answer_names(cloud.directory),
        upstream=upstream,
    )


def _own_namespace() -> str:
    return Path(MOUNT_PATH, "namespace").read_text().strip()
