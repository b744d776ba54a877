"""Run one instance: lock the data directory, start all parts, wait for a signal, stop all parts.

The ports are opened first. Each part is a context manager on one exit stack, so a failed start and a shutdown
stop the started parts in reverse order.

The parts communicate over HTTPS on loopback, as in production: the webhook through the Kubernetes API, the
authority and the vault through published keys. The kubelet calls the embedded API in the same process, and a
real API server over HTTPS.
"""

import asyncio
import importlib
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from podpass import log
from podpass.clock import Clock, system
from podpass.lab import services
from podpass.lab.data import ca, ca_rotation, disk_errors, finish_restore, kubeconfig, ports
from podpass.lab.data.datadir import DataDir, initialise, save_ports
from podpass.lab.data.lock import hold_lock
from podpass.lab.data.served_tls import ServedTls
from podpass.lab.instance.cloud_parts import (
    CloudHalf,
    CloudKeys,
    open_cloud_keys,
    open_database,
    start_apis,
    start_cloud_half,
    start_gateway,
)
from podpass.lab.instance.cluster_parts import (
    open_issuer_keys,
    start_api_server,
    start_issuer,
    start_kubelet,
    start_webhook,
)
from podpass.lab.instance.context import InstanceContext
from podpass.lab.instance.data_files import DataFiles
from podpass.lab.instance.queries import InstanceQueries
from podpass.lab.instance.start import PartStarter, Progress, SeedFile
from podpass.servers.file_limits import raise_file_limit
from podpass.servers.shutdown_signal import ShutdownSignal
from podpass.settings import LocalSettings
from podpass.settings.local import KUBE_APISERVER
from podpass.tasks import background_task, close_in_time

if TYPE_CHECKING:
    from podpass.assertion.keys import KeyRing
    from podpass.console.model import ConsoleSource
    from podpass.database import Database
    from podpass.lab.cluster.pod_access import PodAccess
    from podpass.lab.instance.control import Handler
    from podpass.lab.instance.harness import Harness

_log = logging.getLogger(__name__)

CreateLink = Callable[[], str]
Ready = Callable[[str], None]
"""Called once when all parts are ready, with a one-time link of the console."""

_STOP_SECONDS = 15.0
# The modules with the longest imports of the steps after the keys.
_MODULES = (
    "podpass.directory.store.directory",
    "podpass.exchange.app",
    *(each.longest_import for each in services.SERVICES if each.longest_import),
    "kubeling.kubelet.kubelet",
)
_ALL_MODULES = (*_MODULES, "kubeling.cluster")


def run(
    data_dir: DataDir,
    *,
    settings: LocalSettings,
    seed: SeedFile | None,
    environ: Mapping[str, str],
    progress: Progress,
    ready: Ready,
    clock: Clock = system,
    harness: "Harness | None" = None,
) -> None:
    """Run an instance in a prepared data directory until a signal stops it.

    With `harness`, the instance is for tests, and also stops when no process uses it. Raises
    KeyboardInterrupt after a Ctrl-C before it was ready; AlreadyRunning, LockRemoved, PortInUse,
    DataDirError, DiskNotWritable, and errors of the parts about their data.
    """
    problem = f"an instance is already running in {data_dir.root}"
    hint = "check it with `podpass status`, or stop it with `podpass down`"
    with (
        disk_errors.translate_disk_errors(),
        hold_lock(data_dir.lock_file, problem, hint),
    ):
        data_dir.status_file.unlink(missing_ok=True)
        finish_restore.finish(data_dir)
        config = initialise(data_dir)
        _configure_logging(data_dir)
        services = (*ports.SERVICES, *((ports.STORAGE,) if settings.azurite else ()))
        sockets = ports.bind_all(settings.port_base, config.ports, services, listen=settings.listen)
        config = save_ports(data_dir, config, ports.port_numbers(sockets))
        raise_file_limit()  # each tunnel needs descriptors, and the usual soft limit is 1024
        try:
            with _create_runner() as runner:
                context = InstanceContext(
                    data_dir=data_dir,
                    config=config,
                    sockets=sockets,
                    settings=settings,
                    environ=environ,
                    clock=clock if harness is None else harness.clock,
                    stack=AsyncExitStack(),
                    tls=ServedTls(data_dir),
                    login=config.direct_origin("authority"),
                    faults=None if harness is None else harness.faults,
                )
                ended_by = runner.run(_run_until_signal(context, seed, progress, ready, harness))
        finally:
            ports.close_all(sockets)
            data_dir.status_file.unlink(missing_ok=True)
    if ended_by == signal.SIGINT:
        raise KeyboardInterrupt


def _create_runner() -> asyncio.Runner:
    import uvloop

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


async def _run_until_signal(
    context: InstanceContext,
    seed: SeedFile | None,
    progress: Progress,
    ready: Ready,
    harness: "Harness | None",
) -> int | None:
    """Start, wait for a signal, stop; return the signal if it arrived during the start."""

    async def start() -> None:
        create_link = await _start(context, seed, progress, harness)
        ready(create_link())

    with ShutdownSignal(_handled_signals(), on_repeat=_exit_on_interrupt) as shutdown:
        if harness is not None:
            harness.watch_users(shutdown.requested.set)
        try:
            return None if await shutdown.wait_after(start()) else shutdown.number
        finally:
            _log.info("instance_stopping")
            if not await close_in_time(context.stack, _STOP_SECONDS):
                # The exit of the process frees ports and lock; `podpass down` must not wait longer for slow
                # pods.
                _log.error("instance_stop_timed_out", extra={"seconds": _STOP_SECONDS})
            _log.info("instance_stopped")


def _handled_signals() -> list[signal.Signals]:
    handled = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        handled.append(signal.SIGHUP)  # do not handle SIGHUP if nohup ignores it
    return handled


def _exit_on_interrupt(number: signal.Signals) -> None:
    """Exit immediately if Ctrl-C is the second signal."""
    if number == signal.SIGINT:
        # The table of the start hides the cursor of a terminal.
        cursor = "\x1b[?25h\n" if os.isatty(2) else ""
        os.write(2, f"{cursor}podpass: interrupted\n".encode())
        os._exit(130)


async def _start(
    context: InstanceContext,
    seed: SeedFile | None,
    progress: Progress,
    harness: "Harness | None",
) -> CreateLink:
    """Start all parts in order; return what creates a one-time link of the console."""
    began = time.monotonic()
    start = PartStarter(progress, context.data_dir.root)
    database = await open_database(context)
    ring, keys = await start("certificates and keys", _open_keys(context, database))
    api_server = await start("kubernetes", start_api_server(context, ring, keys.published))
    await start("issuer", start_issuer(context, ring))
    # Directory, authority, vault, storage.
    cloud = await start_cloud_half(context, start, database, keys)
    webhook = await start("webhook", start_webhook(context, ring, api_server, cloud))
    await start("resource manager and graph", start_apis(cloud, webhook.managed))
    pods = await start("kubelet", start_kubelet(context, api_server, webhook, cloud))
    addresses = f"{context.config.gateway}; {pods.access.note}"
    gateway = start_gateway(cloud, addresses, direct=pods.direct.socket, pods=pods.gateway)
    await start("gateway", gateway)
    queries = InstanceQueries(
        context,
        cloud,
        pids=lambda: {"podpass": os.getpid(), **api_server.pids},
        pods=pods.access,
    )
    data_files = DataFiles(context.data_dir, database, api_server.check_file)
    # Only the harness has paths for tests: faults, another clock, signatures of any claims.
    tests = (
        None if harness is None else await harness.attach(cloud, ring, api_server, webhook.managed)
    )
    routes = {"/vaults": ("GET", cloud.describe("vault"))}
    if tests is not None:
        routes |= tests.routes()
    create_link = await start(
        "console", _start_console(context, cloud, pods.access, queries, data_files, routes)
    )
    await queries.apply_at_start(seed, progress)
    if tests is not None:
        await tests.take_baseline()  # with the objects of the seed
    queries.write_status()
    await context.stack.enter_async_context(
        background_task(_keep_status(context, queries), "status")
    )
    _log.info("instance_ready", extra={"took_ms": round((time.monotonic() - began) * 1000)})
    return create_link


async def _open_keys(
    context: InstanceContext, database: "Database"
) -> tuple[tuple["KeyRing", CloudKeys], str]:
    """Create or read certificates and keys, in parallel, because generating RSA keys is slow."""
    ring = asyncio.create_task(open_issuer_keys(context))
    keys = asyncio.create_task(open_cloud_keys(context, database))
    try:
        # Threads generate the keys of a new instance while this thread works.
        await asyncio.sleep(0)
        _write_certificates(context)
        for name in _MODULES if context.settings.kubernetes == KUBE_APISERVER else _ALL_MODULES:
            importlib.import_module(name)
    finally:
        # Of several damaged files, only one is reported; asyncio would log the errors of the others.
        await asyncio.gather(ring, keys, return_exceptions=True)
    return (await ring, await keys), str(context.data_dir.ca_file)


def _write_certificates(context: InstanceContext) -> None:
    from podpass.lab.data import trust

    data_dir = context.data_dir
    ca_rotation.resume(data_dir)
    ca.ensure_certificates(data_dir, context.clock)
    trust.write_stores(data_dir, context.environ)
    kubeconfig.write_all(data_dir, context.config.url("kubernetes"))
    ca_rotation.complete(data_dir)


async def _start_console(
    context: InstanceContext,
    cloud: CloudHalf,
    pods: "PodAccess",
    queries: InstanceQueries,
    data_files: DataFiles,
    routes: Mapping[str, tuple[str, "Handler"]],
) -> tuple[CreateLink, str]:
    """Serve the console and the control API; return what creates the console's links, and its address."""
    from podpass.lab.instance import control
    from podpass.lab.instance.console import LocalConsole

    config, data_dir = context.config, context.data_dir

    def create_source(stack: AsyncExitStack) -> "ConsoleSource":
        from podpass.kubernetes.client import KubeClient
        from podpass.lab.instance.console_source import InstanceSource

        kube = KubeClient.from_kubeconfig(data_dir.admin_kubeconfig)
        stack.push_async_exit(kube)
        return InstanceSource(data_dir, config, cloud.directory, kube, pods.find_outdated)

    console = LocalConsole(config.console, create_source, context.clock)
    await context.stack.enter_async_context(console)
    await context.serve_http("console", console)
    context.stack.callback(console.drain)

    app = control.create_app(
        queries,
        config.control_token,
        console.create_link,
        {**routes, "/pipelines/jobs": ("POST", cloud.start_job)},
        find_damaged=data_files.find_damaged,
    )
    await context.serve("control", app)
    return console.create_link, config.console


async def _keep_status(context: InstanceContext, queries: InstanceQueries) -> None:
    """Write the status file again when a part has changed."""
    while True:
        await context.status_changed.wait()
        context.status_changed.clear()
        try:
            queries.write_status()
        except OSError:  # the next change writes it again
            _log.exception("status_write_failed")


def _configure_logging(data_dir: DataDir) -> None:
    """Write the logs of podpass and asyncio to the log file of the data directory."""
    log.configure(file=data_dir.log_file)
    loops = logging.getLogger("asyncio")
    loops.handlers[:] = logging.getLogger("podpass").handlers
    loops.propagate = False
