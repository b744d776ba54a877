"""Run the cloud half alone: lock the data directory, start all parts, wait for a signal, stop all parts."""

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from podpass.clock import Clock, system
from podpass.lab.data import disk_errors, ports
from podpass.lab.data.datadir import DataDir, prepare
from podpass.lab.data.lock import hold_lock
from podpass.lab.instance.cloud_instance import CloudInstance
from podpass.lab.instance.context import Progress
from podpass.lab.names.trust_folder import check_folder
from podpass.servers.file_limits import raise_file_limit
from podpass.servers.listen import listen, listen_for_queries
from podpass.servers.shutdown_signal import ShutdownSignal
from podpass.settings import CloudSettings
from podpass.tasks import close_in_time

if TYPE_CHECKING:
    import socket

_log = logging.getLogger(__name__)

Ready = Callable[[dict[str, Any]], None]
"""Called once when all parts are ready, with the status document."""

_STOP_SECONDS = 10.0


def run(
    data_dir: DataDir,
    *,
    settings: CloudSettings,
    seed: tuple[str, str] | None,
    environ: Mapping[str, str],
    progress: Progress,
    ready: Ready,
    clock: Clock = system,
) -> None:
    """Run the cloud half until a signal stops it.

    `seed` is the text of a seed and the name of its file. Raises TrustFolderRefused, AlreadyRunning,
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
                    cloud = CloudInstance(data_dir, settings, opened, environ=environ, clock=clock)
                    runner.run(_run_until_signal(cloud, seed, progress, ready))
            finally:
                ports.close_all(opened)
                data_dir.status_file.unlink(missing_ok=True)


def _open(settings: CloudSettings) -> "dict[str, socket.socket]":
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
    cloud: CloudInstance, seed: tuple[str, str] | None, progress: Progress, ready: Ready
) -> None:
    async def start() -> None:
        began = time.monotonic()
        status = await cloud.start(stack, seed, progress)
        # These objects exist until the process exits, so that a collection after a reset is quick.
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
