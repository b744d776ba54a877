"""Run `podpass authority`: bind the sockets, fork the child processes, supervise them."""

import gc
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from podpass import files, log
from podpass.clock import system
from podpass.database import Database
from podpass.http.tls import read_pair
from podpass.servers.authority import metrics
from podpass.servers.authority.heartbeat import Heartbeat
from podpass.servers.authority.resources import Settings, has_console
from podpass.servers.authority.shared_status import SharedStatus
from podpass.servers.authority.supervisor import ChildProcess, Supervisor, Timeouts
from podpass.servers.file_limits import disable_core_dumps, raise_file_limit
from podpass.servers.listen import format_address, listen

_log = logging.getLogger(__name__)

OnReady = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _ProcessPlan:
    """The objects that every child process inherits."""

    settings: Settings
    shared: SharedStatus
    sockets: Mapping[str, socket.socket]
    metrics_directory: Path
    hops: tuple[socket.socket, socket.socket] | None


def run(settings: Settings, *, ready: OnReady) -> None:
    """Run the token service until a signal ends it.

    `ready` is called once with addresses and process IDs, when all processes are ready. Raises PortInUse,
    DatabaseUnusable, CertificateInvalid, before any process is started; NeverReady.
    """
    process = settings.process
    # Read here too, so that this process reports an error immediately.
    Database(process.database)
    read_pair(process.tls_certificate, process.tls_key)
    raise_file_limit()
    disable_core_dumps()
    with ExitStack() as stack:
        sockets = _bind(settings, stack)
        directory = stack.enter_context(metrics.metrics_directory())
        shared = SharedStatus(process.workers + 2)
        plan = _ProcessPlan(
            settings=settings,
            shared=shared,
            sockets=sockets,
            metrics_directory=directory,
            hops=_create_hop_sockets(settings, stack),
        )
        _import_all(settings)
        log.configure(level=process.log_level)
        for path in (process.sealing_key_file, process.tls_key):
            if files.is_world_accessible(path):
                _log.warning("key_file_world_accessible", extra={"file": str(path)})
        addresses = _format_addresses(sockets)
        Supervisor(
            _build_children(plan),
            shared,
            Timeouts(
                start=process.start_seconds + process.stuck_seconds,
                stuck=process.stuck_seconds,
                drain=process.drain_seconds,
                delay=process.shutdown_delay_seconds,
            ),
            on_ready=lambda pids: ready(_build_facts(addresses, pids)),
            on_drain=lambda: _close(sockets, except_for=""),
        ).run()
        _log.info("authority_stopped")


def _create_hop_sockets(
    settings: Settings, stack: ExitStack
) -> tuple[socket.socket, socket.socket] | None:
    """Return the sockets through which the workers show their hops to the console, if it is served."""
    if not has_console(settings):
        return None
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for each in pair:
        each.setblocking(False)
        stack.enter_context(each)
    return pair


def _bind(settings: Settings, stack: ExitStack) -> dict[str, socket.socket]:
    process = settings.process
    wanted = {
        "service": ("--listen", process.listen),
        "health": ("--health-listen", process.health_listen),
        "admin": ("--admin-listen", process.admin_listen),
    }
    sockets = {name: listen(flag, text) for name, (flag, text) in wanted.items() if text}
    stack.callback(_close, sockets, except_for="")
    return sockets


def _build_children(plan: _ProcessPlan) -> list[ChildProcess]:
    workers = plan.settings.process.workers
    children = [
        ChildProcess(name=f"worker {number}", run=lambda line, n=number: _run_worker(plan, n, line))  # type: ignore[misc]
        for number in range(workers)
    ]
    if "admin" in plan.sockets:
        children.append(
            ChildProcess(name="admin", run=lambda line: _run_admin(plan, workers + 1, line))
        )
    health = ChildProcess(
        name="health", run=lambda line: _run_health(plan, workers, line), first=False
    )
    return [*children[:workers], health, *children[workers:]]


def _run_worker(plan: _ProcessPlan, number: int, lifeline: int) -> int:
    from podpass.servers.authority.worker import WorkerEnv, run_worker

    sock = _keep_socket(plan, "service", {"worker": number})
    if plan.hops is not None:
        log.copy_hops_to(plan.hops[1])
    env = WorkerEnv(number=number, sock=sock, shared=plan.shared, settings=plan.settings)
    return _run(run_worker(env, lifeline))


def _run_health(plan: _ProcessPlan, number: int, lifeline: int) -> int:
    from podpass.servers.authority.health_checks import HealthChecker
    from podpass.servers.authority.health_server import run_health_server

    sock = _keep_socket(plan, "health", {"worker": "health"})
    process = plan.settings.process
    checker = HealthChecker(
        shared=plan.shared, workers=process.workers, stuck_seconds=process.stuck_seconds
    )
    return _run(
        run_health_server(
            Heartbeat(plan.shared, number), lifeline, sock, checker, plan.metrics_directory
        )
    )


def _run_admin(plan: _ProcessPlan, number: int, lifeline: int) -> int:
    from podpass.servers.authority.admin import run_admin
    from podpass.servers.authority.worker import WorkerEnv

    sock = _keep_socket(plan, "admin", {"worker": "admin"})
    env = WorkerEnv(number=number, sock=sock, shared=plan.shared, settings=plan.settings)
    return _run(run_admin(env, lifeline, hops=plan.hops[0] if plan.hops else None))


def _keep_socket(plan: _ProcessPlan, name: str, facts: Mapping[str, object]) -> socket.socket:
    """Return one socket and close the others: clients would hang on a socket that no process accepts from."""
    _close(plan.sockets, except_for=name)
    log.configure(level=plan.settings.process.log_level, always=facts)
    return plan.sockets[name]


def _run(main: Coroutine[Any, Any, int]) -> int:
    import asyncio

    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def _import_all(settings: Settings) -> None:
    """Import the modules of all children before the first fork, so that the children share the memory."""
    import importlib

    names = ["asyncio", "uvloop", "aiohttp", "prometheus_client", "prometheus_client.multiprocess"]
    names += ["podpass.servers.authority.worker", "podpass.servers.authority.health_server"]
    if settings.process.database.startswith("postgresql"):
        names.append("psycopg")
    for name in names:
        importlib.import_module(name)
    # A garbage collection writes to every tracked object, and would copy the shared pages.
    gc.collect()
    gc.freeze()


def _format_addresses(sockets: Mapping[str, socket.socket]) -> dict[str, str]:
    schemes = {name: "http" if name == "health" else "https" for name in sockets}
    return {name: f"{schemes[name]}://{format_address(sock)}" for name, sock in sockets.items()}


def _build_facts(addresses: Mapping[str, str], pids: Mapping[str, int]) -> dict[str, Any]:
    workers = [pid for name, pid in pids.items() if name.startswith("worker")]
    others = {name: pid for name, pid in pids.items() if not name.startswith("worker")}
    return {
        "ready": True,
        **addresses,
        "pid": os.getpid(),
        "workers": workers,
        "others": others,
        "started": system(),
    }


def _close(sockets: Mapping[str, socket.socket], *, except_for: str) -> None:
    for name, sock in sockets.items():
        if name != except_for:
            sock.close()
