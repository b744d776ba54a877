"""One instance: every part of the loop in one process, started in the order they need each other.

Ports are opened before anything else is touched. Each part is a context of its own, so a failure while
starting and a wish to stop take the same way out: backwards through what stands.
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

from podpass import files, log
from podpass.clock import Clock, system
from podpass.errors import Error
from podpass.local import disk_errors, finish_restore
from podpass.local import ports as loopback
from podpass.local.datadir import DataDir, initialise, remember_ports
from podpass.local.instance import Loop
from podpass.local.lock import Lock
from podpass.servers.file_limits import raise_file_limit
from podpass.settings import LocalSettings

_log = logging.getLogger(__name__)

Progress = Callable[[str, str], None]
"""Told twice of each part: with an empty text when it begins, with its address when it stands."""

_STOP_SECONDS = 15.0


class AlreadyRunning(Error):
    """Another process runs this instance."""

    code = "already_running"
    hint = "ask it with `podpass status`, stop it with `podpass down`"


def run(
    data_dir: DataDir,
    *,
    settings: LocalSettings,
    seed: tuple[str, str] | None,
    environ: Mapping[str, str],
    progress: Progress,
    ready: Callable[[], None],
    clock: Clock = system,
) -> None:
    """Run an instance on a prepared data dir until a signal ends it.

    Shapes:  `seed` is a seed's text and the name of its file.
    Errors:  KeyboardInterrupt for a Ctrl-C before it is ready, when nothing of it is left; AlreadyRunning,
             PortInUse, DataDirError, DiskUnfit, and what a part says of its own data.
    """
    with disk_errors.telling():
        _run(data_dir, settings, seed, environ, progress, ready, clock)


def _run(
    data_dir: DataDir,
    settings: LocalSettings,
    seed: tuple[str, str] | None,
    environ: Mapping[str, str],
    progress: Progress,
    ready: Callable[[], None],
    clock: Clock,
) -> None:
    lock = Lock(data_dir.lock_file)
    if not lock.acquire():
        raise AlreadyRunning(f"an instance runs on {data_dir.root} already")
    try:
        data_dir.status_file.unlink(missing_ok=True)
        finish_restore.finish(data_dir)
        facts = initialise(data_dir)
        _log_to(data_dir)
        sockets = loopback.bind_all(settings.port_base, facts.ports)
        facts = remember_ports(data_dir, facts, loopback.numbers(sockets))
        raise_file_limit()  # tunnels need many, and a login shell's usual limit is 1024
        try:
            with _runner() as runner:
                instance = Loop(data_dir, facts, sockets, settings, environ=environ, clock=clock)
                ended_by = runner.run(_live(instance, seed, progress, ready))
        finally:
            loopback.close_all(sockets)
            data_dir.status_file.unlink(missing_ok=True)
    finally:
        lock.release()
    if ended_by == signal.SIGINT:
        raise KeyboardInterrupt


def _runner() -> asyncio.Runner:
    import uvloop

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


async def _live(
    instance: Loop, seed: tuple[str, str] | None, progress: Progress, ready: Callable[[], None]
) -> int | None:
    """Start, wait for a signal, stop; give the signal that came while starting, which is stopped then."""
    wish = _Wish()
    stack = AsyncExitStack()
    try:
        starting = asyncio.ensure_future(_start(instance, stack, seed, progress))
        stopping = asyncio.ensure_future(wish.asked.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
        try:
            await starting
        except asyncio.CancelledError:
            return wish.by
        ready()
        await stopping
        return None
    finally:
        _log.info("instance_stopping")
        await _stop(stack)
        _log.info("instance_stopped")


async def _start(
    instance: Loop, stack: AsyncExitStack, seed: tuple[str, str] | None, progress: Progress
) -> None:
    began = time.monotonic()
    await instance.start(stack, progress)
    if seed is not None:
        progress("seed", "")
        changed = await instance.answers.apply(*seed)
        progress("seed", f"{len(changed)} changes from {seed[1]}")
    _tell(instance)
    instance.status_changed = partial(_tell, instance)
    _log.info("instance_ready", extra={"took_ms": round((time.monotonic() - began) * 1000)})


def _tell(instance: Loop) -> None:
    """Write where everything is, for commands that ask no further."""
    status = json.dumps(instance.answers.status(), indent=2) + "\n"
    files.write_private(instance.data_dir.status_file, status.encode())


async def _stop(stack: AsyncExitStack) -> None:
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await stack.aclose()
    except TimeoutError:
        # Ports and lock go with the process; better late pods than a `down` that never returns.
        _log.error("instance_stop_took_too_long", extra={"seconds": _STOP_SECONDS})


class _Wish:
    """The wish to stop, and the first signal that it came by."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.by: int | None = None
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)  # under nohup it is ignored, and stays so
        for number in numbers:
            loop.add_signal_handler(number, self._hear, number)

    def _hear(self, number: int) -> None:
        if self.asked.is_set() and number == signal.SIGINT:
            os._exit(130)  # asked twice at the keyboard: leave at once
        self.by = self.by or number
        self.asked.set()


def _log_to(data_dir: DataDir) -> None:
    """Log to the data dir, what asyncio has to say included."""
    log.configure(file=data_dir.log_file)
    loops = logging.getLogger("asyncio")
    loops.handlers[:] = logging.getLogger("podpass").handlers
    loops.propagate = False
