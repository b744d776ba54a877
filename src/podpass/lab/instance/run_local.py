"""Run one instance: lock the data directory, start all parts, wait for a signal, stop all parts.

The ports are opened first. Each part is a context manager on one exit stack, so a failed start and a shutdown
stop the started parts in reverse order.
"""

import asyncio
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

from podpass import files, log
from podpass.clock import Clock, system
from podpass.lab.data import disk_errors, finish_restore, ports
from podpass.lab.data.datadir import DataDir, initialise, save_ports
from podpass.lab.data.lock import hold_lock
from podpass.lab.instance.context import Progress
from podpass.lab.instance.local_instance import Instance
from podpass.servers.file_limits import raise_file_limit
from podpass.servers.shutdown_signal import ShutdownSignal
from podpass.settings import LocalSettings
from podpass.tasks import close_in_time

if TYPE_CHECKING:
    from podpass.lab.instance.harness import Harness

_log = logging.getLogger(__name__)

Ready = Callable[[str], None]
"""Called once when all parts are ready, with a one-time link of the console."""

_STOP_SECONDS = 15.0


def run(
    data_dir: DataDir,
    *,
    settings: LocalSettings,
    seed: tuple[str, str] | None,
    environ: Mapping[str, str],
    progress: Progress,
    ready: Ready,
    clock: Clock = system,
    harness: "Harness | None" = None,
) -> None:
    """Run an instance in a prepared data directory until a signal stops it.

    `seed` is the text of a seed and the name of its file; with `harness`, the instance is for tests, and also
    stops when no process uses it. Raises KeyboardInterrupt after a Ctrl-C before it was ready;
    AlreadyRunning, LockRemoved, PortInUse, DataDirError, DiskNotWritable, and errors of the parts about their
    data.
    """
    with disk_errors.translate_disk_errors():
        _run(data_dir, settings, seed, environ, progress, ready, clock, harness)


def _run(
    data_dir: DataDir,
    settings: LocalSettings,
    seed: tuple[str, str] | None,
    environ: Mapping[str, str],
    progress: Progress,
    ready: Ready,
    clock: Clock,
    harness: "Harness | None",
) -> None:
    problem = f"an instance is already running in {data_dir.root}"
    hint = "check it with `podpass status`, or stop it with `podpass down`"
    with hold_lock(data_dir.lock_file, problem, hint):
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
                instance = Instance(
                    data_dir,
                    config,
                    sockets,
                    settings,
                    environ=environ,
                    clock=clock if harness is None else harness.clock,
                    harness=harness,
                )
                ended_by = runner.run(_run_until_signal(instance, seed, progress, ready))
        finally:
            ports.close_all(sockets)
            data_dir.status_file.unlink(missing_ok=True)
    if ended_by == signal.SIGINT:
        raise KeyboardInterrupt


def _create_runner() -> asyncio.Runner:
    import uvloop

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


async def _run_until_signal(
    instance: Instance, seed: tuple[str, str] | None, progress: Progress, ready: Ready
) -> int | None:
    """Start, wait for a signal, stop; return the signal if it arrived during the start."""

    async def start() -> None:
        await _start(instance, stack, seed, progress)
        ready(instance.create_link())

    stack = AsyncExitStack()
    with ShutdownSignal(_handled_signals(), on_repeat=_exit_on_interrupt) as shutdown:
        instance.on_unused(shutdown.requested.set)
        try:
            return None if await shutdown.wait_after(start()) else shutdown.number
        finally:
            _log.info("instance_stopping")
            await _stop(stack)
            _log.info("instance_stopped")


def _handled_signals() -> list[signal.Signals]:
    handled = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        handled.append(signal.SIGHUP)  # do not handle SIGHUP if nohup ignores it
    return handled


def _exit_on_interrupt(number: signal.Signals) -> None:
    """Exit immediately if Ctrl-C is the second signal."""
    if number == signal.SIGINT:
        os._exit(130)


async def _start(
    instance: Instance, stack: AsyncExitStack, seed: tuple[str, str] | None, progress: Progress
) -> None:
    began = time.monotonic()
    await instance.start(stack, progress)
    if seed is not None:
        progress("seed", "")
        changed = await instance.queries.apply(*seed)
        progress("seed", f"{len(changed)} changes from {seed[1]}")
    await instance.take_baseline()
    _write_status(instance)
    instance.status_changed = partial(_write_status, instance)
    _log.info("instance_ready", extra={"took_ms": round((time.monotonic() - began) * 1000)})


def _write_status(instance: Instance) -> None:
    """Write the status file, which commands read without a request."""
    status = json.dumps(instance.queries.status(), indent=2) + "\n"
    files.write_private(instance.data_dir.status_file, status.encode())


async def _stop(stack: AsyncExitStack) -> None:
    if not await close_in_time(stack, _STOP_SECONDS):
        # The exit of the process frees ports and lock; `podpass down` must not wait longer for slow pods.
        _log.error("instance_stop_timed_out", extra={"seconds": _STOP_SECONDS})


def _configure_logging(data_dir: DataDir) -> None:
    """Write the logs of podpass and asyncio to the log file of the data directory."""
    log.configure(file=data_dir.log_file)
    loops = logging.getLogger("asyncio")
    loops.handlers[:] = logging.getLogger("podpass").handlers
    loops.propagate = False
